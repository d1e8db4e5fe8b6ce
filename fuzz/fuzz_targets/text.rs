//! Bytes of other processes as text: what is promised of it holds for any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomtrace::event::text::{
    ancestor, comm, command_line, is_hidden, path, printable, strings, tty, utf8,
};

fuzz_target!(|bytes: &[u8]| {
    let text = utf8(bytes);
    match std::str::from_utf8(bytes) {
        Ok(valid) => assert_eq!(text, valid),
        Err(_) => assert!(text.contains("\\x")),
    }

    let name = comm(bytes);
    assert!(!name.contains('\0') && !tty(bytes).contains('\0'));
    assert!(text.starts_with(&name) || !text.is_ascii() || text.contains("\\x"));

    let safe = printable(&text);
    assert!(!safe.contains(is_hidden));
    assert_eq!(printable(&safe), safe);

    let args = strings(bytes);
    assert!(args.iter().all(|arg| !arg.contains('\0')));
    assert_eq!(args.is_empty(), bytes.is_empty());
    assert_eq!(as_a_shell(&command_line(&args)), args);

    a_path(&args, &path(bytes));
});

/// The path of these names; an empty one at the end says that others are missing.
fn a_path(names: &[String], whole: &str) {
    let (names, is_cut) = match names.split_last() {
        Some((last, names)) if last.is_empty() => (names, true),
        _ => (names, false),
    };
    assert!(whole.starts_with(if is_cut { "…" } else { "/" }));
    for up in 0..8 {
        if let Some(above) = ancestor(whole, up) {
            assert!(above == "/" || whole.starts_with(&above));
        }
    }
    // A name of the kernel's is never empty, and a slash is what parts it from the next.
    if names
        .iter()
        .all(|name| !name.is_empty() && !name.contains('/'))
    {
        let top = names.len() as u32;
        let root = (!is_cut).then(|| "/".to_owned());
        assert_eq!(ancestor(whole, top), root);
        assert_eq!(ancestor(whole, top + 1), None);
    }
}

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
