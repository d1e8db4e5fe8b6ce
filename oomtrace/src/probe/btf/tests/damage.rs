//! Blobs that are cut off, altered or malicious: an error, and never a panic or a hang.

use super::{Blob, Kind, Outcome, lookup};
use crate::probe::btf::{Btf, BtfError, Wanted};

const PATHS: [&str; 6] = [
    "task_struct.mm",
    "task_struct.deep",
    "task_struct.flag",
    "task_struct.stats[LAST].count",
    "task_struct.__state | task_struct.state",
    "atomic_t.counter",
];

/// One of everything.
fn sample() -> Blob {
    let mut blob = Blob::new();
    let int = blob.int("int", 4, 1);
    let anonymous = blob.structure("", 4, &[("counter", int, 0)]);
    let atomic = blob.link(Kind::Typedef, "atomic_t", anonymous);
    let deep = blob.composite(Kind::Union, "", 4, &[("deep", atomic, 0)]);
    let stat = blob.structure("stat", 8, &[("pad", int, 0), ("count", atomic, 4)]);
    let stats = blob.array(stat, 3);
    blob.enumeration("", true, &[("FIRST", 0), ("LAST", 2)]);
    blob.enumeration64("big", &[("BIG", 1 << 33)]);
    let mm = blob.link(Kind::Fwd, "mm_struct", 0);
    let mm = blob.pointer(mm);
    let members = [
        ("mm", mm, (0, 0)),
        ("", deep, (0, 64)),
        ("stats", stats, (0, 96)),
        ("flag", int, (1, 288)),
    ];
    let task = blob.bit_fields("task_struct", 40, &members);
    let task = blob.pointer(task);
    let prototype = blob.prototype(&[task, int]);
    blob.link(Kind::Func, "oom_kill_process", prototype);
    blob.tracepoint("mark_victim", &[task]);
    blob
}

/// Asks everything, whatever comes of it.
fn ask(bytes: Vec<u8>) -> Outcome {
    let mut wanted = Wanted::new();
    for path in PATHS {
        wanted.path(path)?;
    }
    wanted
        .type_name("stat")
        .enumerator("BIG")
        .func("oom_kill_process")
        .tracepoint("mark_victim");
    let btf = Btf::parse(bytes)?;
    let index = btf.index(&wanted)?;
    for path in PATHS {
        let _ = index.lookup(path);
    }
    let _ = index.size_of("stat");
    let _ = index.enumerator("BIG");
    let _ = index.func_args("oom_kill_process");
    let _ = index.tracepoint_args("mark_victim");
    Ok(())
}

#[test]
fn the_sample_is_whole() -> Outcome {
    for path in PATHS {
        let found = lookup(&sample(), path)?.is_ok();
        assert_eq!(
            found,
            !path.contains("flag") && !path.contains("state"),
            "{path}"
        );
    }
    ask(sample().bytes())
}

#[test]
fn every_prefix_is_an_error() {
    let bytes = sample().bytes();
    for len in 0..bytes.len() {
        let prefix: Vec<u8> = bytes.iter().take(len).copied().collect();
        assert!(ask(prefix).is_err(), "{len} of {} bytes", bytes.len());
    }
}

#[test]
fn no_altered_byte_makes_it_panic() {
    let bytes = sample().bytes();
    for (at, &was) in bytes.iter().enumerate() {
        let flips = (0..8).map(|bit| was ^ (1 << bit));
        for value in flips.chain([0, u8::MAX, was.wrapping_add(1), was.wrapping_sub(1)]) {
            let mut bytes = bytes.clone();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            let _ = ask(bytes);
        }
    }
}

#[test]
fn no_noise_makes_it_panic() -> Outcome {
    // xorshift64: the same noise each time.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let sample = sample().bytes();
    for _ in 0..5_000 {
        let mut bytes = sample.clone();
        for _ in 0..=next() % 8 {
            let at = next() as usize % bytes.len();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = next() as u8;
            }
        }
        let _ = ask(bytes);
    }
    ask(sample)
}

#[test]
fn headers_are_checked() {
    let whole = sample().bytes();
    let alter = |at: usize, with: &[u8]| {
        let mut bytes = whole.clone();
        bytes.splice(at..at + with.len(), with.iter().copied());
        Btf::parse(bytes).map(|_| ())
    };
    assert!(matches!(
        Btf::parse(Vec::new()),
        Err(BtfError::HeaderCutOff { len: 0 })
    ));
    assert!(matches!(alter(0, b"\x7fELF"), Err(BtfError::Magic { .. })));
    assert!(matches!(
        alter(2, &[2]),
        Err(BtfError::Version { found: 2 })
    ));
    assert!(matches!(
        alter(4, &[0; 4]),
        Err(BtfError::HeaderCutOff { .. })
    ));
    assert!(matches!(
        alter(12, &[0xff; 4]),
        Err(BtfError::Section {
            section: "type",
            ..
        })
    ));
    assert!(matches!(
        alter(20, &[0xff; 4]),
        Err(BtfError::Section {
            section: "string",
            ..
        })
    ));
    // A string section without a NUL at its end.
    assert!(matches!(
        alter(whole.len() - 1, b"x"),
        Err(BtfError::Section {
            section: "string",
            ..
        })
    ));
}

#[test]
fn types_that_refer_to_each_other_in_a_circle() {
    let mut blob = Blob::new();
    blob.link(Kind::Typedef, "there", 2);
    blob.link(Kind::Typedef, "back", 1);
    blob.array(3, 1);
    blob.structure("round", 4, &[("a", 1, 0), ("b", 3, 0)]);
    for path in ["there.a", "round.a", "round.b"] {
        assert!(
            matches!(lookup(&blob, path), Err(BtfError::Endless { .. })),
            "{path}"
        );
    }
}

#[test]
fn a_struct_that_holds_itself() {
    let mut blob = Blob::new();
    blob.structure("itself", 8, &[("", 1, 0)]);
    assert!(matches!(
        lookup(&blob, "itself.a"),
        Err(BtfError::Endless { .. })
    ));
}

#[test]
fn a_search_that_would_never_end() {
    // No circle, and no deeper than is allowed: but eight to the power of twenty members.
    let mut blob = Blob::new();
    let mut last = blob.structure("", 8, &[]);
    for _ in 0..20 {
        last = blob.structure("", 8, &[("", last, 0); 8]);
    }
    blob.structure("tree", 8, &[("", last, 0)]);
    assert!(matches!(
        lookup(&blob, "tree.a"),
        Err(BtfError::Endless { .. })
    ));
}

#[test]
fn references_to_nothing() {
    let mut blob = Blob::new();
    let void = blob.link(Kind::Typedef, "nothing", 0);
    let int = blob.int("int", 4, 1);
    blob.structure(
        "s",
        8,
        &[
            ("missing", 999, 0),
            ("next", 4, 0),
            ("void", void, 0),
            ("outside", int, 6),
        ],
    );
    assert!(matches!(
        lookup(&blob, "s.missing"),
        Err(BtfError::WrongType { id: 999, .. })
    ));
    // One past the last.
    assert!(matches!(
        lookup(&blob, "s.next"),
        Err(BtfError::WrongType { id: 4, .. })
    ));
    assert!(matches!(
        lookup(&blob, "s.void"),
        Err(BtfError::WrongType { .. })
    ));
    // An offset there would be read from another object.
    assert!(matches!(
        lookup(&blob, "s.outside"),
        Err(BtfError::MemberOutside { id: 3 })
    ));
}

#[test]
fn a_kind_from_the_future_needs_a_layout() -> Outcome {
    let mut blob = Blob::new();
    blob.raw(
        "new",
        (Kind::Enum64 as u32 + 1) << 24 | 2,
        0,
        &[1, 2, 3, 4, 5],
    );
    let int = blob.int("int", 4, 1);
    blob.structure("s", 8, &[("a", int, 4)]);
    assert!(matches!(
        lookup(&blob, "s.a"),
        Err(BtfError::UnknownKind { id: 1, kind: 20 })
    ));
    blob.layout_of_next_kind(4, 8);
    assert_eq!(lookup(&blob, "s.a")?.map(|field| field.offset), Ok(4));
    Ok(())
}
