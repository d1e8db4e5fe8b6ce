//! What is written of a death, whatever its processes call themselves: a record is one line
//! of JSON, and nothing in either output moves a cursor.

use oomtrace::{
    event::{Argv, Process, text},
    provenance::record::Record,
    sinks::{Sink as _, json::Json, pretty::Pretty},
};
use proptest::{collection::vec, prelude::*, sample};
use serde_json::Value;

use crate::support::{
    cases,
    make::{BY_SIGKILL, S, SIGTERM, exit, kill, lost, process, sigkill, stop, stream},
    run,
};

const HIDDEN: &[&[u8]] = &[
    b"\x1b[2J",
    b"\n",
    b"\r",
    b"\x7f",
    b"\xc2\x9b",
    b"\xe2\x80\xa8",
    b"\xe2\x80\xae",
    b"\xf3\xa0\x81\x81",
    b"\\\"",
    b"\xff",
];

/// Bytes as a process could choose them, with those that do something among them.
fn word() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        vec(any::<u8>(), 0..6),
        any::<char>().prop_map(|c| c.to_string().into_bytes()),
        sample::select(HIDDEN).prop_map(<[u8]>::to_vec),
    ];
    vec(piece, 0..6).prop_map(|pieces| text::utf8(&pieces.concat()))
}

fn named(tgid: u32, words: &[String]) -> Process {
    let mut process = process(tgid, &words[0]);
    process.argv = Some(Argv {
        args: words[1..].to_vec(),
        truncated: false,
    });
    process.exe = Some(words[1].clone());
    process.memory_cgroup = Some(words[2].clone());
    process.unified_cgroup = Some(words[3].clone());
    process.tty = Some(words[4].clone());
    process.ancestry[0].comm.clone_from(&words[5]);
    process
}

fn records(words: &[Vec<String>]) -> Vec<Record> {
    let (victim, sender) = (named(70, &words[0]), named(60, &words[1]));
    let mut kill = kill(&sender, &victim);
    kill.stops = vec![stop(SIGTERM, &sender, S)];
    let lost = lost(&words[1][0], 1, S, 2 * S);
    let ran = run(stream([lost, sigkill(&kill), exit(&victim, BY_SIGKILL)]));
    assert_eq!(ran.deaths().len(), 1);
    ran.records().cloned().collect()
}

fn moves(c: char) -> bool {
    c.is_control() || "\u{2028}\u{2029}\u{202e}\u{2066}\u{200f}\u{61c}\u{e0041}".contains(c)
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_record_is_one_line_of_json(words in vec(vec(word(), 6), 2)) {
        for record in records(&words) {
            let mut bytes = Vec::new();
            Json(&mut bytes).write(&record).unwrap();
            let line = String::from_utf8(bytes).unwrap();
            let line = line.strip_suffix('\n').unwrap();
            prop_assert!(!line.contains(moves), "{line:?}");
            // Escaped is not altered.
            let written: Value = serde_json::from_str(line).unwrap();
            prop_assert_eq!(written, serde_json::to_value(&record).unwrap());
        }
    }

    #[test]
    fn no_name_starts_a_line_for_people(words in vec(vec(word(), 6), 2)) {
        let benign = vec![vec!["x".to_owned(); 6]; 2];
        let lines = |words: &[Vec<String>], colour: bool| -> Vec<String> {
            let mut bytes = Vec::new();
            for record in records(words) {
                Pretty::new(&mut bytes, colour).write(&record).unwrap();
            }
            let text = String::from_utf8(bytes).unwrap();
            text.split_inclusive('\n').map(str::to_owned).collect()
        };
        let plain = lines(&words, false);
        for line in &plain {
            prop_assert!(!line.trim_end_matches('\n').contains(moves), "{line:?}");
        }
        prop_assert_eq!(plain.len(), lines(&benign, false).len());
        // Only the tool's own colours are added.
        let mut stripped = lines(&words, true).concat();
        for sgr in ["\x1b[1m", "\x1b[1;31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"] {
            stripped = stripped.replace(sgr, "");
        }
        prop_assert_eq!(stripped, plain.concat());
    }

    #[test]
    fn text_is_kept_as_far_as_it_is_text(bytes in vec(any::<u8>(), 0..40)) {
        let text = text::utf8(&bytes);
        if let Ok(whole) = str::from_utf8(&bytes) {
            prop_assert_eq!(&text, whole);
        }
        let printable = text::printable(&text);
        prop_assert!(!printable.contains(moves));
        if !text.contains(text::is_hidden) {
            prop_assert_eq!(printable, text);
        }
    }
}

fn for_people(records: &[Record]) -> String {
    let mut bytes = Vec::new();
    let mut pretty = Pretty::new(&mut bytes, false);
    for record in records {
        pretty.write(record).unwrap();
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn one_death_is_counted_as_one() {
    let words = vec![vec!["x".to_owned(); 6]; 2];
    let text = for_people(&records(&words));
    assert!(text.contains("stopped: 1 death, 1 event lost"), "{text}");
}

#[test]
fn the_id_of_a_senders_container_is_as_short_as_others() {
    let id = "0123456789abcdef".repeat(4);
    let mut words = vec![vec!["x".to_owned(); 6]; 2];
    words[1][2] = format!("/docker/{id}");
    let text = for_people(&records(&words));
    assert!(text.contains("in container 0123456789ab"), "{text}");
    assert!(!text.contains(&format!("in container {id}")), "{text}");
}
