//! What waits while a store is in trouble, and how long it is waited for at the end.

use std::{fs, path::Path, time::Duration};

use oomtrace::{
    sinks::Sink as _,
    store::{Options, Patience, StoreSink},
};
use rusqlite::Connection;

use super::{mended, troubled};
use crate::support::{Folder, all, death, keep_log, logged, pids, record, store, wait_for};

#[test]
fn what_waits_is_bounded_and_what_finds_no_room_is_counted() {
    let folder = Folder::new();
    let path = folder.store();
    fs::create_dir(&path).unwrap();
    keep_log();
    let options = Options {
        most_waiting: 100,
        ..Options::at(&path)
    };
    let mut sink = StoreSink::start(&options).unwrap();
    for number in 1..=1_000 {
        sink.write(&record(death(number))).unwrap();
    }
    wait_for("error", || sink.stats().errors() > 0);
    assert_eq!((sink.stats().waiting(), sink.stats().dropped()), (100, 900));
    fs::remove_dir(&path).unwrap();
    wait_for("end of the trouble", || sink.stats().waiting() == 0);
    wait_for("word of it", || {
        logged(&path)
            .iter()
            .any(|line| line.contains("no room in memory meanwhile: 900 deaths"))
    });
    let newest: Vec<u32> = (901..=1_000).rev().collect();
    assert_eq!(pids(&all(&path)), newest);
}

#[test]
fn the_end_does_not_wait_for_a_disk_for_ever() {
    let folder = Folder::new();
    let path = folder.store();
    fs::create_dir(&path).unwrap();
    let (mut sink, _) = troubled(&path);
    let began = std::time::Instant::now();
    sink.settle(true).unwrap();
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
    let last = logged(&path).pop().unwrap();
    assert!(last.contains("2 deaths could not be stored"), "{last}");
}

/// Ended when many more wait than are stored in a moment: a disk was away, and is back.
fn behind(path: &Path, patience: Patience) -> StoreSink {
    const DEATHS: u32 = 4_000;
    keep_log();
    store(path, [record(death(0))]);
    let other = Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let options = Options {
        patience,
        most_waiting_bytes: 1 << 30,
        ..Options::at(path)
    };
    let mut sink = StoreSink::start(&options).unwrap();
    for number in 1..=DEATHS {
        sink.write(&record(death(number))).unwrap();
    }
    wait_for("error", || sink.stats().errors() > 0);
    assert_eq!(sink.stats().waiting(), u64::from(DEATHS));
    other.execute_batch("ROLLBACK").unwrap();
    sink.settle(true).unwrap();
    sink
}

#[test]
fn a_store_that_is_behind_is_waited_for_at_the_end() {
    let folder = Folder::new();
    let path = folder.store();
    let most = Duration::from_secs(300);
    let sink = behind(&path, Patience { most, quiet: most });
    assert_eq!(sink.stats().stored(), 4_000);
    let lines = logged(&path);
    assert!(
        lines
            .iter()
            .all(|line| !line.contains("could not be stored")),
        "{lines:#?}"
    );
    assert_eq!(all(&path).len(), 4_001);
}

#[test]
fn a_store_that_takes_too_long_at_the_end_is_not_called_dead() {
    let folder = Folder::new();
    let path = folder.store();
    let quiet = Duration::from_secs(300);
    let most = Duration::from_millis(100);
    let sink = behind(&path, Patience { most, quiet });
    let stored = sink.stats().stored();
    let last = logged(&path).pop().unwrap();
    assert!(
        last.contains("not all of them within 0.1 s") && !last.contains("does not answer"),
        "{last}"
    );
    let left: u64 = last.split(' ').next().unwrap().parse().unwrap();
    // What is on its way is among those that are left.
    assert!(
        stored < 4_000 && left + stored >= 4_000,
        "{left} and {stored}"
    );
}

#[test]
fn two_troubles_are_two_messages() {
    let folder = Folder::new();
    let path = folder.store();
    fs::create_dir(&path).unwrap();
    let (sink, _) = troubled(&path);
    let lock = fs::File::create(path.with_file_name("deaths.db.lock")).unwrap();
    lock.lock().unwrap();
    fs::remove_dir(&path).unwrap();
    wait_for("second message", || logged(&path).len() == 2);
    drop(lock);
    mended(&sink, &path);
}
