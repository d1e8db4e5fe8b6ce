use std::{
    path::Path,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use super::*;
use crate::store::row::Lost;

const BOUNDS: Bounds = Bounds {
    count: 9,
    bytes: 1 << 20,
};

/// So many gaps that are not stored yet.
fn gaps(count: usize) -> Waiting {
    let mut waiting = Waiting::new(BOUNDS);
    for _ in 0..count {
        waiting.push(Item::Gap(Lost {
            from_ns: 0,
            to_ns: 1,
            certain: true,
            count: 1,
            json: String::new(),
        }));
    }
    waiting.take(1);
    waiting
}

/// A sink whose thread does what it is told.
fn sink(patience: Patience, work: impl FnOnce(&Shared, &Vitals) + Send + 'static) -> StoreSink {
    let shared = Shared::new(PathBuf::from("/deaths.db"), BOUNDS);
    let vitals = Arc::new(Vitals::default());
    let its = (Arc::clone(&shared), Arc::clone(&vitals));
    StoreSink {
        shared,
        thread: Some(std::thread::spawn(move || work(&its.0, &its.1))),
        patience,
        vitals: Some(vitals),
    }
}

fn set(shared: &Shared, change: impl FnOnce(&mut Inside)) {
    change(&mut shared.lock());
    shared.ended.notify_all();
}

fn patience(quiet_ms: u64, most_ms: u64) -> Patience {
    Patience {
        quiet: Duration::from_millis(quiet_ms),
        most: Duration::from_millis(most_ms),
    }
}

const QUIET: Duration = Duration::from_secs(2);

/// A thread that stores one record after another, each in a quarter of what is quiet, and waits
/// for that to be told, until nobody waits for it any more; and what says, when it has ended, how
/// long the longest of them took.
fn stepping(is_over: &Arc<AtomicBool>) -> (StoreSink, mpsc::Receiver<Duration>) {
    let patience = Patience {
        quiet: QUIET,
        most: QUIET * 100,
    };
    let (tell, longest) = mpsc::channel();
    let is_over = Arc::clone(is_over);
    let mut since = Instant::now();
    let sink = sink(patience, move |shared, vitals| {
        let mut longest = Duration::ZERO;
        for left in (0..6).rev() {
            set(shared, |inside| inside.waiting = gaps(left + 1));
            std::thread::sleep(QUIET / 4);
            let stored = Instant::now();
            set(shared, |inside| {
                (inside.waiting, inside.commits) = (gaps(left), inside.commits + 1);
            });
            longest = longest.max(since.elapsed());
            since = stored;
            let is_told = || left == 0 || vitals.progress() > 5 - left as u64;
            while !is_told() && !is_over.load(Ordering::Relaxed) && since.elapsed() < QUIET {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        set(shared, |inside| inside.has_ended = true);
        let _ = tell.send(longest.max(since.elapsed()));
    });
    (sink, longest)
}

#[test]
fn what_gets_on_is_waited_for_and_says_so() {
    for _ in 0..10 {
        let began = Instant::now();
        let is_over = Arc::default();
        let (sink, longest) = stepping(&is_over);
        let end = sink.wait_for_end();
        is_over.store(true, Ordering::Relaxed);
        let took = began.elapsed();
        // The machine stood still: such a run says nothing.
        if longest.recv().unwrap() >= QUIET {
            continue;
        }
        assert_eq!(end, End::Stored);
        assert!(took >= QUIET * 3 / 2, "longer than what is quiet");
        assert!(sink.vitals.as_ref().unwrap().progress() >= 5);
        return;
    }
    panic!("no step is told in time, or the machine stands still in each run");
}

#[test]
fn each_end_is_told_as_it_is() {
    let wait = |patience, left, has_ended| {
        let sink = sink(patience, |_, _| {});
        set(&sink.shared, |inside| {
            (inside.waiting, inside.has_ended) = (gaps(left), has_ended);
        });
        sink.wait_for_end()
    };
    let long = 600_000;
    let ends = [
        (wait(patience(long, long), 0, true), None),
        (
            wait(patience(long, long), 3, true),
            Some("3 other records (no death) could not be stored"),
        ),
        (
            wait(patience(100, long), 3, false),
            Some("the disk does not answer"),
        ),
        (
            wait(patience(long, 100), 3, false),
            Some("not all of them within 0.1 s"),
        ),
        (
            wait(patience(100, long), 0, false),
            Some("all records are stored"),
        ),
    ];
    for (end, said) in ends {
        let words = end.words(Path::new("/deaths.db"));
        match said {
            None => assert_eq!(words, None),
            Some(said) => assert!(words.as_ref().unwrap().contains(said), "{words:?}"),
        }
    }
}
