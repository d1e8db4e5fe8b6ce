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

/// A path from its names, the last one first.
#[must_use]
pub fn path(names: &[u8]) -> String {
    let names = strings(names);
    if names.is_empty() {
        return "/".to_owned();
    }
    names.iter().rev().fold(String::new(), |mut path, name| {
        path.push('/');
        path.push_str(name);
        path
    })
}

/// The part of a cgroup's path down to `depth` (0 is the root).
#[must_use]
pub fn cgroup_prefix(path: &str, depth: u32) -> String {
    let mut prefix = String::new();
    for name in path
        .split('/')
        .filter(|name| !name.is_empty())
        .take(depth as usize)
    {
        prefix.push('/');
        prefix.push_str(name);
    }
    if prefix.is_empty() {
        prefix.push('/');
    }
    prefix
}

/// Text that is safe on a terminal and stays on its line: control characters and those
/// that reorder text are written out.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let reorders = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || reorders {
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
        assert_eq!(cgroup_prefix("/a/b/c", 2), "/a/b");
        assert_eq!(cgroup_prefix("/a", 0), "/");
    }

    #[test]
    fn nothing_that_moves_the_cursor_reaches_a_terminal() {
        assert_eq!(printable("a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn a_command_line_reads_back() {
        let args = ["sh".into(), "-c".into(), "echo 'x'".into(), String::new()];
        assert_eq!(command_line(&args), r"sh -c 'echo '\''x'\''' ''");
    }
}
