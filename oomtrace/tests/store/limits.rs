//! Age and size.

use std::{fs, path::Path, time::Duration};

use oomtrace::{
    sinks::Sink as _,
    store::{LEAST_SIZE_BYTES, Limits, Options, Reader, StoreSink},
};

use crate::support::{
    Folder, all, at, death, gap, patient, pids, record, restart, started, stopped, store, wait_for,
};

/// What the store takes: the file and all beside it.
fn taken(path: &Path) -> u64 {
    fs::read_dir(path.parent().unwrap())
        .unwrap()
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|file| file.len())
        .sum()
}

fn small(path: &Path) -> Options {
    Options {
        limits: Limits {
            size_bytes: LEAST_SIZE_BYTES,
            ..Limits::default()
        },
        ..patient(path)
    }
}

#[test]
fn the_size_is_kept_all_the_time_and_the_newest_stay() {
    const DEATHS: u32 = 8_000;
    let folder = Folder::new();
    let path = folder.store();
    let mut sink = StoreSink::start(&small(&path)).unwrap();
    sink.write(&started(&at(-7200.0))).unwrap();
    let mut most = 0;
    for number in 1..=DEATHS {
        sink.write(&record(death(number))).unwrap();
        if number % 250 == 0 {
            wait_for("commit", || sink.stats().waiting() < 500);
            most = most.max(taken(&path));
        }
    }
    sink.settle(true).unwrap();
    most = most.max(taken(&path));
    assert!(most <= LEAST_SIZE_BYTES, "{most} bytes");
    assert!(
        most > LEAST_SIZE_BYTES / 2,
        "{most} bytes: there was more room"
    );
    assert_eq!(sink.stats().stored(), u64::from(DEATHS));
    let left = pids(&all(&path));
    let deleted = u32::try_from(sink.stats().deleted()).unwrap();
    assert!(deleted > 1_000, "{deleted}");
    let newest: Vec<u32> = (deleted + 1..=DEATHS).rev().collect();
    assert_eq!(left, newest);
    // Of the time of those that went nothing is claimed.
    let reader = Reader::open(&path).unwrap();
    let span = reader.span().unwrap();
    assert_eq!(span.deaths, u64::from(DEATHS - deleted));
    let first_ns = span.first_ns.unwrap();
    let deleted_until_ns = reader.deleted_until_ns().unwrap().unwrap();
    assert!(deleted_until_ns < first_ns);
}

#[test]
fn a_store_that_is_too_large_shrinks() {
    let folder = Folder::new();
    let path = folder.store();
    store(&path, (1..=6_000).map(|number| record(death(number))));
    let before = taken(&path);
    assert!(before > LEAST_SIZE_BYTES, "{before}");
    let mut sink = StoreSink::start(&small(&path)).unwrap();
    sink.write(&record(death(7_000))).unwrap();
    wait_for("shrunken file", || taken(&path) <= LEAST_SIZE_BYTES);
    sink.settle(true).unwrap();
    assert_eq!(pids(&all(&path))[0], 7_000);
}

/// On a node where nothing dies, too.
#[test]
fn watches_that_are_too_old_go_without_deaths() {
    const DAY: f64 = 24.0 * 60.0 * 60.0;
    let folder = Folder::new();
    store(
        &folder.store(),
        [started(&at(-32.0 * DAY)), stopped(&at(-31.0 * DAY))],
    );
    store(
        &folder.store(),
        [started(&at(-29.0 * DAY)), stopped(&at(-28.0 * DAY))],
    );
    let watches = || Reader::open(&folder.store()).unwrap().watches(10).unwrap();
    let mut sink = StoreSink::start(&patient(&folder.store())).unwrap();
    sink.write(&started(&at(0.0))).unwrap();
    wait_for("end of what is too old", || watches().len() == 2);
    sink.settle(true).unwrap();
    assert!(watches().iter().all(|watch| watch.seen_ns > 0));
}

#[test]
fn what_is_too_old_goes() {
    const DAY: f64 = 24.0 * 60.0 * 60.0;
    let folder = Folder::new();
    let aged = |number, days: f64| {
        let mut death = death(number);
        death.time = at(-days * DAY);
        record(death)
    };
    store(
        &folder.store(),
        [
            started(&at(-32.0 * DAY)),
            gap(&at(-31.6 * DAY), &at(-31.5 * DAY)),
            stopped(&at(-31.4 * DAY)),
            aged(1, 31.0),
            restart(&death(1), &at(-30.9 * DAY)),
            restart(&death(3), &at(-29.8 * DAY)),
            aged(2, 30.1),
            aged(3, 29.9),
            aged(4, 0.0),
        ],
    );
    let options = Options {
        limits: Limits {
            age: Duration::from_hours(30 * 24),
            ..Limits::default()
        },
        ..patient(&folder.store())
    };
    let mut sink = StoreSink::start(&options).unwrap();
    sink.write(&aged(5, 0.0)).unwrap();
    wait_for("end of what is too old", || all(&folder.store()).len() == 3);
    sink.settle(true).unwrap();
    let mut left = pids(&all(&folder.store()));
    left.sort_unstable();
    assert_eq!(left, [3, 4, 5]);
    let reader = Reader::open(&folder.store()).unwrap();
    let runs_again = |number| reader.restart([&*death(number).id]).unwrap().is_some();
    assert!(!runs_again(1) && runs_again(3));
    assert!(reader.watches(10).unwrap().is_empty());
    assert!(reader.losses(i64::MIN).unwrap().is_empty());
}
