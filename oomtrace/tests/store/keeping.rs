//! What is stored, when it is there, and which revision stays.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use oomtrace::{
    provenance::record::{Cause, Death, Record},
    sinks::{Sink as _, json::Json},
    store::{Options, Reader, StoreSink},
};
use rusqlite::Connection;

use crate::support::{
    Folder, all, at, death, gap, patient, pids, record, restart, resumed, started, stopped, store,
    wait_for,
};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn nobody_else_reads_what_is_stored() {
    let folder = Folder::new();
    let path = folder.path().join("lib/oomtrace/deaths.db");
    let mut sink = StoreSink::start(&Options::at(&path)).unwrap();
    sink.write(&record(death(1))).unwrap();
    wait_for("death stored", || sink.stats().stored() == 1);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let path = path.with_file_name(format!("deaths.db{suffix}"));
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn nothing_is_made_before_there_is_something_to_store() {
    let folder = Folder::new();
    let mut sink = StoreSink::start(&patient(&folder.store())).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    sink.settle(true).unwrap();
    assert!(!folder.store().exists());
}

#[test]
fn a_death_is_there_within_a_second_as_the_json_sink_writes_it() {
    let folder = Folder::new();
    let mut sink = StoreSink::start(&Options::at(folder.store())).unwrap();
    // The file itself, which is made once.
    sink.write(&record(death(1))).unwrap();
    wait_for("first death", || sink.stats().stored() == 1);
    let reader = Reader::open(&folder.store()).unwrap();
    // The machine may be slow once: then others show it.
    let mut times = Vec::new();
    let (mut late, mut written) = (death(1), record(death(1)));
    for number in 2..=6 {
        late = death(number);
        late.victim.argv = Some(vec!["\u{1b}[2J".to_owned(), "zoë\\xff".to_owned()]);
        written = record(late.clone());
        let began = Instant::now();
        sink.write(&written).unwrap();
        wait_for("death in the store", || {
            !reader.by_id(&late.id, 1).unwrap().is_empty()
        });
        times.push(began.elapsed());
    }
    assert!(
        times.iter().any(|took| *took < Duration::from_secs(1)),
        "{times:?}"
    );

    let stored = reader.by_id(&late.id, 1).unwrap().remove(0);
    let mut line = Vec::new();
    Json(&mut line).write(&written).unwrap();
    assert_eq!(format!("{}\n", stored.json).into_bytes(), line);
    assert_eq!(stored.death().unwrap(), late);
}

#[test]
fn a_death_is_handed_over_while_nothing_can_be_stored() {
    let folder = Folder::new();
    let path = folder.store();
    store(&path, [record(death(1))]);
    let mut sink = StoreSink::start(&Options::at(&path)).unwrap();
    let progress = sink.progress();
    std::thread::scope(|scope| {
        // Gone with a failed test, so that the writer can end.
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let writer = scope.spawn(|| sink.write(&record(death(2))).unwrap());
        wait_for("end of the hand-over", || writer.is_finished());
        assert!(!progress().is_all(), "{:?}", progress());
        other.execute_batch("ROLLBACK").unwrap();
    });
    wait_for("death stored", || progress().is_all());
}

fn revision(number: u32, revision: u32, is_final: bool) -> Record {
    record(Death {
        revision,
        is_final,
        summary: format!("revision {revision}"),
        ..death(number)
    })
}

#[test]
fn a_newer_revision_stays_and_a_final_one_for_good() {
    let folder = Folder::new();
    let path = folder.store();
    let summaries = || -> Vec<String> {
        let all = all(&path);
        all.iter()
            .map(|stored| stored.death().unwrap().summary)
            .collect()
    };
    // Each by itself: what comes together is joined before it is stored.
    store(&path, [revision(1, 1, false)]);
    assert_eq!(summaries(), ["revision 1"]);
    store(&path, [revision(1, 3, false)]);
    assert_eq!(summaries(), ["revision 3"]);
    store(&path, [revision(1, 2, false)]);
    assert_eq!(summaries(), ["revision 3"]);
    store(&path, [revision(1, 4, true)]);
    store(&path, [revision(1, 5, false)]);
    assert_eq!(summaries(), ["revision 4"]);
    // In one go, and in any order.
    store(&path, [revision(2, 1, false), revision(2, 2, true)]);
    assert_eq!(summaries(), ["revision 2", "revision 4"]);
}

/// A tracer that came after the SIGKILL has seen the end alone.
#[test]
fn what_is_known_of_a_death_is_not_forgotten() {
    let folder = Folder::new();
    let path = folder.store();
    let of = |cause, is_final| {
        record(Death {
            cause,
            is_final,
            ..death(1)
        })
    };
    let stored = || {
        let stored = all(&path).pop().unwrap();
        let death = stored.death().unwrap();
        assert_eq!(stored.is_final, death.is_final);
        (death.cause, death.is_final)
    };
    store(&path, [of(Cause::ManualKill, false)]);
    store(&path, [of(Cause::Unknown, true)]);
    assert_eq!(stored(), (Cause::ManualKill, true));

    let folder = Folder::new();
    let path = folder.store();
    store(&path, [of(Cause::Unknown, false)]);
    store(&path, [of(Cause::ManualKill, true)]);
    let stored = all(&path).pop().unwrap();
    assert_eq!(stored.death().unwrap().cause, Cause::ManualKill);
}

#[test]
fn a_death_counts_once() {
    let folder = Folder::new();
    let mut sink = StoreSink::start(&patient(&folder.store())).unwrap();
    for (number, last) in [(1, 1), (1, 2), (2, 1), (1, 3)] {
        let before = sink.stats().stored();
        sink.write(&revision(number, last, false)).unwrap();
        wait_for("commit", || {
            sink.stats().waiting() == 0 && (last > 1 || sink.stats().stored() > before)
        });
    }
    sink.settle(true).unwrap();
    assert_eq!(sink.stats().stored(), 2);
    assert_eq!((sink.stats().errors(), sink.stats().dropped()), (0, 0));
}

#[test]
fn what_is_stored_outlives_its_writers() {
    let folder = Folder::new();
    store(&folder.store(), (1..=3).map(|number| record(death(number))));
    store(&folder.store(), (3..=5).map(|number| record(death(number))));
    assert_eq!(pids(&all(&folder.store())), [5, 4, 3, 2, 1]);
}

fn ns(time: &str) -> i64 {
    let format = &time::format_description::well_known::Rfc3339;
    let time = time::OffsetDateTime::parse(time, format).unwrap();
    i64::try_from(time.unix_timestamp_nanos()).unwrap()
}

/// Each works out from two clocks when the first one began, and never comes to the same.
#[test]
fn tracers_that_go_on_with_one_another_are_one_watch() {
    let folder = Folder::new();
    let first = at(-1000.0);
    store(&folder.store(), [started(&first), stopped(&at(-900.0))]);
    for (jitter, from, to) in [(3e-6, -890.0, -700.0), (-5e-6, -650.0, -500.0)] {
        let again = resumed(&at(from), &at(-1000.0 + jitter));
        store(&folder.store(), [again, stopped(&at(to))]);
    }
    let watches = Reader::open(&folder.store()).unwrap().watches(10).unwrap();
    let times: Vec<_> = watches
        .iter()
        .map(|watch| (watch.started_ns, watch.seen_ns, watch.is_ended))
        .collect();
    assert_eq!(times, [(ns(&first), ns(&at(-500.0)), true)]);

    // Another boot has a watch of its own, and so has who goes on with none that is known.
    let mut other = resumed(&at(-300.0), &at(-1000.0));
    if let Record::Started(started) = &mut other {
        started.boot_id = "c".to_owned();
    }
    store(&folder.store(), [other]);
    store(&folder.store(), [resumed(&at(-100.0), &at(-200.0))]);
    let watches = Reader::open(&folder.store()).unwrap().watches(10).unwrap();
    assert_eq!(watches.len(), 3);
}

#[test]
fn it_is_known_what_ran_again() {
    let folder = Folder::new();
    let (first, second) = (death(1), death(2));
    store(
        &folder.store(),
        [
            record(first.clone()),
            record(second.clone()),
            restart(&second, &at(5.0)),
            // A tracer that tells it again knows it from a journal.
            restart(&second, &at(6.0)),
        ],
    );
    let reader = Reader::open(&folder.store()).unwrap();
    let of = |ids: &[&Death]| {
        let ids = ids.iter().map(|death| death.id.as_str());
        reader.restart(ids).unwrap().map(|restart| restart.time)
    };
    assert_eq!(of(&[&first]), None);
    assert_eq!(of(&[&second]), Some(at(5.0)));
    assert_eq!(of(&[&first, &second]), Some(at(5.0)));
}

#[test]
fn it_is_known_when_a_tracer_watched() {
    let folder = Folder::new();
    let (first, lost, found, last) = (at(-100.0), at(-80.0), at(-70.0), at(-60.0));
    store(
        &folder.store(),
        [
            started(&first),
            gap(&lost, &found),
            record(death(1)),
            stopped(&last),
        ],
    );
    let again = at(-20.0);
    store(&folder.store(), [started(&again)]);
    let reader = Reader::open(&folder.store()).unwrap();
    let watches = reader.watches(10).unwrap();
    let times: Vec<_> = watches
        .iter()
        .map(|watch| (watch.started_ns, watch.seen_ns, watch.is_ended))
        .collect();
    assert_eq!(
        times,
        [
            (ns(&again), ns(&again), false),
            (ns(&first), ns(&last), true)
        ]
    );
    let losses = reader.losses(i64::MIN).unwrap();
    assert_eq!(losses.len(), 1);
    assert_eq!((losses[0].lost, losses[0].kind.as_str()), (3, "sigkill"));
    assert_eq!(
        (losses[0].from_ns, losses[0].to_ns),
        (ns(&lost), ns(&found))
    );
    assert!(reader.losses(ns(&found)).unwrap().is_empty());
    assert!(reader.unwatched(i64::MIN, 10).unwrap().is_empty());
}

/// However many stretches a storm has.
#[test]
fn what_was_lost_is_summed_up() {
    let folder = Folder::new();
    let gaps = (0..500).map(|at_s| gap(&at(f64::from(at_s)), &at(f64::from(at_s) + 0.5)));
    store(&folder.store(), gaps);
    let losses = Reader::open(&folder.store())
        .unwrap()
        .losses(i64::MIN)
        .unwrap();
    assert_eq!(losses.len(), 1, "{losses:?}");
    assert_eq!((losses[0].lost, losses[0].stretches), (1500, 500));
    assert_eq!(losses[0].from_ns, ns(&at(0.0)));
    assert_eq!(losses[0].to_ns, ns(&at(499.5)));
}

/// An upgrade: what was stored by then is known before the writer has brought the store up to date.
#[test]
fn revisions_are_known_of_a_store_of_an_older_layout() {
    let folder = Folder::new();
    store(&folder.store(), [revision(1, 3, true)]);
    let connection = Connection::open(folder.store()).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    drop(connection);
    assert!(Reader::open(&folder.store()).is_err());
    let reader = Reader::open_for_revisions(&folder.store()).unwrap();
    assert_eq!(reader.revision(&death(1).id).unwrap(), Some((3, true)));
    assert_eq!(reader.revision("nobody").unwrap(), None);
}
