//! A writer that is killed, and a reader beside a writer.

use std::{
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use oomtrace::{
    sinks::Sink as _,
    store::{Filter, Options, Reader, Roles, StoreSink},
};
use rusqlite::Connection;

use crate::support::{Folder, all, death, patient, pids, record, store, wait_for};

const PLACE: &str = "OOMTRACE_TEST_WRITES_TO";

/// Writes until it is killed, and says how far it is. Started by [`killed_after`] alone.
#[test]
#[ignore = "another test runs it as a process of its own"]
fn writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(PLACE).map(PathBuf::from) else {
        return;
    };
    let mut sink = StoreSink::start(&Options::at(&path)).unwrap();
    let stats = sink.stats();
    for number in 1..1_000_000 {
        sink.write(&record(death(number))).unwrap();
        while stats.waiting() > 300 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // It is stored by now: whoever reads this may count on it.
        std::fs::write(path.with_extension("stored"), stats.stored().to_string()).unwrap();
    }
}

/// A writer that was killed in the middle, and how many deaths it had stored for certain.
pub(crate) fn killed_after(path: &Path, least: u64) -> u64 {
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::writes_until_it_is_killed", "--ignored"])
        .env(PLACE, path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let note = path.with_extension("stored");
    let stored = || -> u64 {
        let text = std::fs::read_to_string(&note).unwrap_or_default();
        text.parse().unwrap_or_default()
    };
    wait_for("stored deaths", || stored() >= least);
    let certain = stored();
    writer.kill().unwrap();
    let status = writer.wait().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    certain
}

#[test]
fn what_was_stored_outlives_a_writer_that_is_killed() {
    let folder = Folder::new();
    let path = folder.store();
    for least in [1, 500, 1_500] {
        let _ = std::fs::remove_file(path.with_extension("stored"));
        let certain = killed_after(&path, least);
        let left = pids(&all(&path));
        assert!(left.len() as u64 >= certain, "{} of {certain}", left.len());
        // Whole batches, in order: none is missing in between.
        let every: Vec<u32> = (1..=left[0]).rev().collect();
        assert_eq!(left, every);
        for stored in all(&path) {
            stored.death().unwrap();
        }
        let connection = Connection::open(&path).unwrap();
        let verdict: String = connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(verdict, "ok");
        drop(connection);
        // And the next one goes on with it.
        let count = left.len();
        store(&path, [record(death(900_000))]);
        assert_eq!(all(&path).len(), count + 1);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_reader_sees_whole_deaths_while_others_are_written() {
    let folder = Folder::new();
    let path = folder.store();
    store(&path, [record(death(1))]);
    let is_done = AtomicBool::new(false);
    let reads = [AtomicU32::new(0), AtomicU32::new(0)];
    std::thread::scope(|scope| {
        let readers: Vec<_> = reads
            .iter()
            .map(|reads| {
                let is_done = &is_done;
                let path = &path;
                scope.spawn(move || {
                    let mut last = 0;
                    while !is_done.load(Ordering::Relaxed) {
                        // Opened anew each time, as a command does.
                        let reader = Reader::open(path).unwrap();
                        let filter = Filter {
                            roles: Roles::All,
                            ..Filter::default()
                        };
                        let found = reader.list(&filter, None, 50).unwrap();
                        assert!(found[0].pid >= last, "{} after {last}", found[0].pid);
                        last = found[0].pid;
                        for stored in found {
                            assert_eq!(stored.death().unwrap().victim.pid, stored.pid);
                        }
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let mut sink = StoreSink::start(&patient(&path)).unwrap();
        let have_read = || {
            let enough = |reads: &AtomicU32| reads.load(Ordering::Relaxed) > 10;
            reads.iter().all(enough)
        };
        let is_wanted = |since: Instant| match since.elapsed().as_secs() {
            0..3 => true,
            3..60 => !have_read(),
            _ => false,
        };
        let began = Instant::now();
        let mut number = 1;
        while is_wanted(began) {
            number += 1;
            sink.write(&record(death(number))).unwrap();
            while sink.stats().waiting() > 100 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        sink.settle(true).unwrap();
        is_done.store(true, Ordering::Relaxed);
        // On a slow machine a reader may be in the way for too long: then it is tried again.
        assert_eq!(sink.stats().dropped(), 0);
        for reader in readers {
            reader.join().unwrap();
        }
        assert!(have_read(), "{reads:?}");
        assert_eq!(all(&path).len() as u32, number);
    });
}
