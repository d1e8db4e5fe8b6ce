//! Who else uses the same file: tracers, and programs that read it or lock it.

use oomtrace::{
    sinks::Sink as _,
    store::{Options, StoreSink},
};
use rusqlite::Connection;

use super::troubled;
use crate::support::{
    Folder, all, death, keep_log, logged, patient, pids, record, store, wait_for,
};

#[test]
fn a_second_tracer_on_the_same_file_waits_its_turn() {
    let folder = Folder::new();
    let path = folder.store();
    let mut first = StoreSink::start(&patient(&path)).unwrap();
    first.write(&record(death(9))).unwrap();
    wait_for("death stored", || first.stats().stored() == 1);
    let (second, line) = troubled(&path);
    let own = format!("pid {}", std::process::id());
    assert!(
        line.contains("another oomtrace writes to it") && line.contains(&own),
        "{line}"
    );
    first.write(&record(death(10))).unwrap();
    first.settle(true).unwrap();
    drop(first);
    wait_for("turn of the second", || second.stats().waiting() == 0);
    assert_eq!(pids(&all(&path)), [10, 9, 2, 1]);
}

#[test]
fn another_programs_lock_is_waited_for() {
    let folder = Folder::new();
    let path = folder.store();
    store(&path, []);
    store(&path, [record(death(3))]);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (sink, line) = troubled(&path);
    assert!(line.contains("locked") && line.contains("fuser"), "{line}");
    other.execute_batch("ROLLBACK").unwrap();
    wait_for("end of the trouble", || sink.stats().waiting() == 0);
    assert_eq!(pids(&all(&path)), [3, 2, 1]);
}

#[test]
fn a_reader_that_does_not_end_costs_no_disk_without_bound() {
    let folder = Folder::new();
    let path = folder.store();
    keep_log();
    let options = Options {
        limits: oomtrace::store::Limits {
            size_bytes: oomtrace::store::LEAST_SIZE_BYTES,
            ..oomtrace::store::Limits::default()
        },
        ..Options::at(&path)
    };
    let mut sink = StoreSink::start(&options).unwrap();
    sink.write(&record(death(1))).unwrap();
    wait_for("death stored", || sink.stats().stored() == 1);
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("BEGIN; SELECT count(*) FROM deaths")
        .unwrap();
    for number in 2..4_000 {
        sink.write(&record(death(number))).unwrap();
        if number % 100 == 0 {
            wait_for("commit", || {
                sink.stats().waiting() < 100 || sink.stats().errors() > 0
            });
        }
    }
    wait_for("error", || sink.stats().errors() > 0);
    let journal = path
        .with_file_name("deaths.db-wal")
        .metadata()
        .unwrap()
        .len();
    assert!(journal < oomtrace::store::LEAST_SIZE_BYTES / 2, "{journal}");
    let line = logged(&path).join("\n");
    assert!(line.contains("does not come to an end"), "{line}");
    other.execute_batch("COMMIT").unwrap();
    wait_for("end of the trouble", || sink.stats().waiting() == 0);
    assert_eq!(sink.stats().stored(), 3_999);
}

#[test]
fn the_lock_file_goes_with_nobody() {
    let folder = Folder::new();
    store(&folder.store(), [record(death(1))]);
    let lock = folder.store().with_file_name("deaths.db.lock");
    assert!(lock.exists(), "removing it would let two in");
    store(&folder.store(), [record(death(2))]);
    assert_eq!(pids(&all(&folder.store())), [2, 1]);
}
