//! Colours and lines of a terminal.

pub(super) const BOLD: &str = "\x1b[1m";
pub(super) const RED: &str = "\x1b[1;31m";
pub(super) const YELLOW: &str = "\x1b[33m";
pub(super) const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// `is_wanted`: the other end is a terminal that wants colours.
#[must_use]
pub(super) fn paint(is_wanted: bool, colour: &str, text: &str) -> String {
    if is_wanted {
        format!("{colour}{text}{RESET}")
    } else {
        text.to_owned()
    }
}

/// Breaks a text at its spaces into lines of at most so many characters; a longer word has a line
/// of its own.
#[must_use]
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_spaces_and_nothing_is_lost() {
        let text = "a bb ccc dddddddddddd e";
        let lines = wrap(text, 8);
        assert_eq!(lines, ["a bb ccc", "dddddddddddd", "e"]);
        assert_eq!(lines.join(" "), text);
        assert_eq!(wrap("", 8), [""]);
    }
}
