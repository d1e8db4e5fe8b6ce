//! Bytes of other processes as text: always valid UTF-8, nothing lost.

use std::fmt::Write as _;

/// Text of bytes that should be UTF-8: what is not becomes `\xNN`.
#[must_use]
pub fn utf8(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// A task's name: ends at its first NUL, what stands behind is stale.
#[must_use]
pub fn comm(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    utf8(bytes.get(..end).unwrap_or_default())
}

/// A terminal's name as it stands under /dev: the kernel calls `pts/3` `pts3`.
#[must_use]
pub fn tty(bytes: &[u8]) -> String {
    let name = comm(bytes);
    match name.strip_prefix("pts") {
        Some(number) if number.starts_with(|c: char| c.is_ascii_digit()) => format!("pts/{number}"),
        _ => name,
    }
}

/// NUL-terminated strings. A last one without its NUL counts.
#[must_use]
pub fn strings(bytes: &[u8]) -> Vec<String> {
    let mut parts: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    if parts.last().is_some_and(|last| last.is_empty()) {
        parts.pop();
    }
    parts.into_iter().map(utf8).collect()
}

/// What a path starts with of which only the end is known.
const CUT: &str = "…";

/// A path from its names, the last one first. Where an empty one ends them, others are
/// missing: it starts with [`CUT`] then.
#[must_use]
pub fn path(names: &[u8]) -> String {
    let mut names = strings(names);
    let start = match names.pop() {
        None => return "/".to_owned(),
        Some(last) if last.is_empty() => CUT,
        Some(last) => {
            names.push(last);
            ""
        }
    };
    names.iter().rev().fold(start.to_owned(), |mut path, name| {
        path.push('/');
        path.push_str(name);
        path
    })
}

/// The path so many names further up; `None` where that lies above what is known.
#[must_use]
pub fn ancestor(path: &str, up: u32) -> Option<String> {
    // Each name has its slash before it, and the root has none.
    let mut path = if path == "/" { "" } else { path };
    for _ in 0..up {
        path = path.rsplit_once('/')?.0;
    }
    match path {
        CUT => None,
        "" => Some("/".to_owned()),
        path => Some(path.to_owned()),
    }
}

/// Whether a character does something to a terminal or to the characters around it, or
/// cannot be seen: control characters, line ends, marks that reorder or join text, tags.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Text that is safe on a terminal and stays on its line: what [`is_hidden`] is written
/// out.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            let _ = write!(safe, "{}", c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Arguments as one line that a shell would read back as they were.
#[must_use]
pub fn command_line(args: &[String]) -> String {
    let quoted: Vec<String> = args.iter().map(|arg| quote(arg)).collect();
    quoted.join(" ")
}

fn quote(arg: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@,+%^".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) {
        arg.to_owned()
    } else {
        format!("'{}'", arg.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_bytes_are_kept_as_escapes() {
        assert_eq!(utf8(b"a\xff\xfeb"), "a\\xff\\xfeb");
        assert_eq!(utf8("zoë".as_bytes()), "zoë");
    }

    #[test]
    fn a_comm_ends_at_its_first_nul() {
        assert_eq!(comm(b"sh\0shbash\0\0\0\0\0\0\0\0"), "sh");
        assert_eq!(comm(b"sixteen-bytes-xx"), "sixteen-bytes-xx");
    }

    #[test]
    fn a_terminal_is_named_as_under_dev() {
        assert_eq!(tty(b"pts3\0"), "pts/3");
        assert_eq!(tty(b"tty1\0"), "tty1");
        assert_eq!(tty(b"ptsx\0"), "ptsx");
    }

    #[test]
    fn arguments_may_be_empty_and_may_lack_the_last_nul() {
        assert_eq!(strings(b"sh\0-c\0\0"), ["sh", "-c", ""]);
        assert_eq!(strings(b"sh\0-c\0trunc"), ["sh", "-c", "trunc"]);
        assert!(strings(b"").is_empty());
    }

    #[test]
    fn paths_are_put_together_from_the_leaf() {
        assert_eq!(path(b"leaf\0slice\0"), "/slice/leaf");
        assert_eq!(path(b""), "/");
        assert_eq!(path(b"leaf\0slice\0\0"), "…/slice/leaf");
    }

    #[test]
    fn an_ancestor_is_known_as_far_as_its_path_is() {
        let of = |path, up| ancestor(path, up);
        assert_eq!(of("/a/b/c", 0).as_deref(), Some("/a/b/c"));
        assert_eq!(of("/a/b/c", 1).as_deref(), Some("/a/b"));
        assert_eq!(of("/a", 1).as_deref(), Some("/"));
        assert_eq!(of("/a", 2), None);
        assert_eq!(of("/", 0).as_deref(), Some("/"));
        assert_eq!(of("/", 1), None);
        assert_eq!(of("…/b/c", 1).as_deref(), Some("…/b"));
        assert_eq!(of("…/b/c", 2), None);
    }

    #[test]
    fn nothing_that_moves_the_cursor_reaches_a_terminal() {
        assert_eq!(printable("a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(printable("a\u{202e}b\u{9b}2J"), "a\\u{202e}b\\u{9b}2J");
        assert_eq!(printable("\u{61c}\u{e0041}"), "\\u{61c}\\u{e0041}");
        assert_eq!(printable("zoë 日本 שלום"), "zoë 日本 שלום");
    }

    #[test]
    fn a_command_line_reads_back() {
        let args = ["sh".into(), "-c".into(), "echo 'x'".into(), String::new()];
        assert_eq!(command_line(&args), r"sh -c 'echo '\''x'\''' ''");
    }
}
