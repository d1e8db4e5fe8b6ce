use std::{
    fs::{self, OpenOptions},
    io::Write as _,
};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::event::entry::{Attached, Session};

/// A folder of its own, which goes with it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("deaths.db.events")
    }

    fn open(&self) -> (Arc<Journal>, Recovered) {
        Journal::open(&self.path()).unwrap()
    }
}

fn tick(boottime_ns: u64) -> Tick {
    Tick {
        boottime_ns,
        realtime_ns: 5,
    }
}

fn session() -> Entry {
    Entry::Session(Session {
        version: "0.1.0".to_owned(),
        node: "node".to_owned(),
        boot_id: "boot".to_owned(),
        kernel: "6.12".to_owned(),
        page_bytes: 4096,
    })
}

fn attached(boottime_ns: u64) -> Entry {
    Entry::Attached(Attached {
        boottime_ns,
        realtime_ns: 5,
        oom_hook: "fentry".to_owned(),
        absent: Vec::new(),
        symbols: true,
        ring_bytes: 4096,
        attach_us: 1,
        resumed_since_ns: None,
    })
}

fn kernel(text: &'static str) -> Entry {
    Entry::Kernel(Bytes::from_static(text.as_bytes()))
}

fn lost(count: u64) -> Entry {
    Entry::Lost(crate::event::entry::Lost {
        kind: "sigkill".to_owned(),
        cpu: None,
        count,
        from_ns: 1,
        to_ns: 2,
        certain: true,
        why: "full".to_owned(),
    })
}

#[test]
fn entries_come_back_in_the_order_in_which_they_were_taken() {
    let place = Place::new();
    let (journal, recovered) = place.open();
    assert!(recovered.taken.is_empty() && recovered.rest.is_empty());
    journal.entry(0, &session());
    // The thread that reads is three ahead of the one that takes.
    for record in ["a", "b", "c"] {
        journal.record(record.as_bytes());
    }
    journal.entry(0, &attached(1));
    journal.entry(1, &lost(1));
    journal.record(b"d");
    journal.entry(3, &lost(2));
    drop(journal);
    let (_, recovered) = place.open();
    let wanted = [
        session(),
        attached(1),
        kernel("a"),
        lost(1),
        kernel("b"),
        kernel("c"),
        lost(2),
    ];
    assert_eq!(recovered.taken, wanted);
    assert_eq!(recovered.rest, [Bytes::from_static(b"d")]);
    assert_eq!(recovered.last.as_deref(), Some(&b"d"[..]));
    assert_eq!(recovered.session().unwrap().boot_id, "boot");
}

#[test]
fn what_was_cut_off_anywhere_leaves_what_came_before() {
    let place = Place::new();
    let (journal, _) = place.open();
    let mut ends = vec![journal.settled_bytes()];
    for record in ["one", "two", "three"] {
        journal.record(record.as_bytes());
        ends.push(journal.settled_bytes());
    }
    drop(journal);
    let whole = fs::read(place.path()).unwrap();
    for len in 0..=whole.len() {
        fs::write(place.path(), &whole[..len]).unwrap();
        let (journal, recovered) = place.open();
        let records = ends.iter().filter(|end| **end <= len as u64).count();
        assert_eq!(
            recovered.rest.len(),
            records.saturating_sub(1),
            "cut at {len}"
        );
        // And whoever goes on behind it is read again.
        journal.record(b"next");
        drop(journal);
        let (_, recovered) = place.open();
        assert_eq!(recovered.rest.last().unwrap(), "next", "cut at {len}");
    }
}

#[test]
fn idle_ticks_take_each_others_place_and_no_others() {
    let place = Place::new();
    let (journal, _) = place.open();
    journal.entry(0, &session());
    let begun = journal.settled_bytes();
    for at in 1..100 {
        journal.idle(0, &tick(at));
        assert_eq!(journal.settled_bytes(), begun);
    }
    journal.entry(0, &Entry::Tick(tick(100)));
    journal.idle(0, &tick(101));
    journal.record(b"a");
    journal.idle(1, &tick(102));
    journal.idle(1, &tick(103));
    drop(journal);
    let (_, recovered) = place.open();
    let wanted = [
        session(),
        Entry::Tick(tick(99)),
        Entry::Tick(tick(100)),
        Entry::Tick(tick(101)),
        kernel("a"),
        Entry::Tick(tick(103)),
    ];
    assert_eq!(recovered.taken, wanted);
    assert_eq!(recovered.seen, Some(tick(103)));
}

#[test]
fn it_is_cut_only_when_all_that_was_written_is_taken() {
    let place = Place::new();
    let (journal, _) = place.open();
    journal.record(b"a");
    journal.record(b"b");
    assert!(!journal.cut(1, &[session()], None), "b is not taken");
    let counts = OomCounts {
        boottime_ns: 9,
        kills: [("/a".to_owned(), 3)].into(),
    };
    assert!(journal.cut(2, &[session(), attached(7)], Some(&counts)));
    journal.record(b"c");
    journal.entry(1, &lost(1));
    drop(journal);
    let (_, recovered) = place.open();
    assert_eq!(
        recovered.taken,
        [session(), attached(7), kernel("c"), lost(1)]
    );
    assert_eq!(recovered.counts, Some(counts));
    assert_eq!(recovered.seen.unwrap().boottime_ns, 7);
}

#[test]
fn a_large_one_keeps_what_is_needed() {
    let place = Place::new();
    let (journal, _) = place.open();
    journal.entry(0, &session());
    assert!(!journal.is_large());
    let bulk = vec![b'x'; 64 << 10];
    let mut taken = 0;
    while !journal.is_large() {
        journal.record(&bulk);
        taken += 1;
        if taken == 5 {
            journal.record(b"needed");
            taken += 1;
            journal.entry(taken, &lost(1));
        }
    }
    journal.record(b"not taken yet");
    let needed = |entry: &Entry, _| match entry {
        Entry::Kernel(record) => record.len() < bulk.len(),
        _ => true,
    };
    assert_eq!(journal.shrink(taken, needed), Some(1));
    assert!(journal.settled_bytes() < 4096);
    // It goes on counting from there.
    assert!(!journal.cut(1, &[], None));
    journal.entry(1, &lost(2));
    journal.entry(2, &lost(3));
    drop(journal);
    let (journal, recovered) = place.open();
    assert_eq!(
        recovered.taken,
        [
            session(),
            kernel("needed"),
            lost(1),
            lost(2),
            kernel("not taken yet"),
            lost(3)
        ]
    );
    assert_eq!(recovered.rest.len(), 0);
    drop(journal);
    assert!(!store::beside(&place.path(), ".new").exists());
}

/// Whoever empties the ring is not kept waiting: what it writes down meanwhile is there.
#[test]
fn what_comes_while_it_is_made_smaller_is_kept() {
    let place = Place::new();
    let (journal, _) = place.open();
    journal.record(b"old");
    journal.record(b"needed");
    let writer = Arc::clone(&journal);
    let needed = |entry: &Entry, _| {
        writer.record(b"meanwhile");
        *entry == kernel("needed")
    };
    assert_eq!(journal.shrink(2, needed), Some(1));
    journal.record(b"after");
    assert!(!journal.cut(3, &[], None), "there are four");
    journal.entry(4, &lost(1));
    drop((journal, writer));
    let (_, recovered) = place.open();
    let meanwhile = || kernel("meanwhile");
    assert_eq!(
        recovered.taken,
        [
            kernel("needed"),
            meanwhile(),
            meanwhile(),
            kernel("after"),
            lost(1)
        ]
    );
}

#[test]
fn one_that_could_not_be_kept_says_since_when() {
    let place = Place::new();
    let bounds = Bounds {
        large_bytes: 100,
        most_bytes: 1000,
    };
    let (journal, recovered) = Journal::open_within(&place.path(), bounds).unwrap();
    assert_eq!(recovered.broken, None);
    let before = host::now().boottime_ns;
    journal.record(&[b'x'; 2000]);
    assert!(journal.is_broken());
    journal.record(b"nothing is written any more");
    drop(journal);
    let (journal, recovered) = place.open();
    let broken = recovered.broken.unwrap();
    assert_eq!(broken.boot_id, host::session().boot_id);
    assert!(broken.since.boottime_ns >= before);
    assert!(recovered.taken.is_empty() && recovered.rest.is_empty());
    // Once all is well again, that is over.
    assert!(journal.cut(0, &[session()], None));
    drop(journal);
    let (_, recovered) = place.open();
    assert_eq!((recovered.broken, recovered.taken), (None, vec![session()]));
}

#[test]
fn what_was_taken_is_told_apart_by_boots() {
    let place = Place::new();
    let (journal, _) = place.open();
    let Entry::Session(other) = session() else {
        panic!();
    };
    let other = Entry::Session(Session {
        boot_id: "next".to_owned(),
        ..other
    });
    for entry in [session(), attached(1), session(), attached(2)] {
        journal.entry(0, &entry);
    }
    journal.record(b"a");
    journal.entry(1, &other);
    journal.entry(1, &attached(3));
    drop(journal);
    let (_, mut recovered) = place.open();
    let boots = recovered.boots();
    let lens: Vec<usize> = boots.iter().map(Vec::len).collect();
    assert_eq!(lens, [5, 2]);
    assert_eq!(boots[1], [other, attached(3)]);
}

#[test]
fn an_entry_that_is_too_large_is_left_out_alone() {
    let place = Place::new();
    let (journal, _) = place.open();
    journal.entry(0, &session());
    journal.record(&vec![0; 2 << 20]);
    journal.entry(0, &lost(1));
    drop(journal);
    let (_, recovered) = place.open();
    assert_eq!(recovered.taken, [session(), lost(1)]);
}

#[test]
fn one_tracer_at_a_time_has_it() {
    let place = Place::new();
    let (journal, _) = place.open();
    let second = Journal::open(&place.path());
    assert!(matches!(second, Err(JournalError::Taken)), "{second:?}");
    drop(journal);
    drop(place.open());
}

#[test]
fn what_is_no_journal_is_left_alone() {
    let place = Place::new();
    fs::write(place.path(), "somebody's own notes, long enough").unwrap();
    assert!(matches!(
        Journal::open(&place.path()),
        Err(JournalError::Io(_))
    ));
    let text = fs::read_to_string(place.path()).unwrap();
    assert!(text.starts_with("somebody's"));
}

#[test]
fn what_another_version_wrote_is_handed_on_as_a_recording_has_it() {
    let place = Place::new();
    let (journal, _) = place.open();
    journal.entry(0, &session());
    journal.record(b"a");
    journal.entry(1, &lost(1));
    journal.idle(1, &tick(7));
    drop(journal);
    let mut bytes = fs::read(place.path()).unwrap();
    bytes[8] = 99;
    fs::write(place.path(), bytes).unwrap();
    let (journal, recovered) = place.open();
    assert!(recovered.taken.is_empty() && recovered.rest.is_empty());
    let foreign = recovered.foreign.unwrap();
    assert_eq!(foreign.version, 99);
    assert!(foreign.path.exists(), "it stays until it is saved");
    assert_eq!(foreign.seen, Some(tick(7)));
    let entries: Vec<Entry> = foreign
        .frames
        .into_iter()
        .map(|(kind, payload)| frame::decode(kind, payload).unwrap().unwrap())
        .collect();
    let wanted = [session(), kernel("a"), lost(1), Entry::Tick(tick(7))];
    assert_eq!(entries, wanted);
    drop(journal);
    assert!(place.open().1.foreign.is_none(), "it has begun anew");
}

#[test]
fn an_entry_that_cannot_be_read_takes_no_other_with_it() {
    let place = Place::new();
    let (journal, _) = place.open();
    journal.entry(0, &session());
    drop(journal);
    let mut file = OpenOptions::new().append(true).open(place.path()).unwrap();
    // A kind of a later version, and a known one with other fields.
    for (kind, json) in [(100, "{}"), (WITH_PLACE | frame::TICK, "{\"later\":1}")] {
        let mut payload = 0u64.to_le_bytes().to_vec();
        payload.extend_from_slice(json.as_bytes());
        let head = frame::head(kind | WITH_PLACE, payload.len()).unwrap();
        file.write_all(&head).unwrap();
        file.write_all(&payload).unwrap();
    }
    drop(file);
    let (journal, recovered) = place.open();
    assert_eq!(recovered.unreadable, 2);
    journal.record(b"a");
    drop(journal);
    let (_, recovered) = place.open();
    assert_eq!(recovered.taken, [session()]);
    assert_eq!(recovered.rest.len(), 1);
}
