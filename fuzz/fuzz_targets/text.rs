//! Bytes of other processes as text: what is promised of it holds for any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomtrace::event::text::{cgroup_prefix, comm, command_line, path, printable, strings, utf8};

fuzz_target!(|bytes: &[u8]| {
    let text = utf8(bytes);
    match std::str::from_utf8(bytes) {
        Ok(valid) => assert_eq!(text, valid),
        Err(_) => assert!(text.contains("\\x")),
    }

    let name = comm(bytes);
    assert!(!name.contains('\0'));
    assert!(text.starts_with(&name) || !text.is_ascii() || text.contains("\\x"));

    let safe = printable(&text);
    assert!(!safe.contains(char::is_control));
    assert_eq!(printable(&safe), safe);

    let args = strings(bytes);
    assert!(args.iter().all(|arg| !arg.contains('\0')));
    assert_eq!(args.is_empty(), bytes.is_empty());
    assert_eq!(as_a_shell(&command_line(&args)), args);

    let whole = path(bytes);
    assert!(whole.starts_with('/'));
    let depth = bytes.first().map_or(0, |byte| u32::from(*byte));
    let prefix = cgroup_prefix(&whole, depth);
    assert!(prefix.starts_with('/'));
    assert_eq!(cgroup_prefix(&prefix, depth), prefix);
    if !whole.contains("//") && whole.len() > 1 && !whole.ends_with('/') {
        assert!(prefix == "/" || whole.starts_with(&prefix));
        assert_eq!(cgroup_prefix(&whole, u32::MAX), whole);
    }
});

/// The words of a line, by a shell's rules for single quotes and backslashes.
fn as_a_shell(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' => words.extend(word.take()),
            '\'' => {
                let quoted = word.get_or_insert_default();
                quoted.extend(chars.by_ref().take_while(|c| *c != '\''));
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    words
}
