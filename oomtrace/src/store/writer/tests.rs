use std::path::Path;

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
fn sink(patience: Patience, work: impl FnOnce(&Shared) + Send + 'static) -> StoreSink {
    let shared = Shared::new(PathBuf::from("/deaths.db"), BOUNDS);
    let its = Arc::clone(&shared);
    StoreSink {
        shared,
        thread: Some(std::thread::spawn(move || work(&its))),
        patience,
        vitals: Some(Arc::default()),
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

#[test]
fn what_gets_on_is_waited_for_and_says_so() {
    let sink = sink(patience(2_000, 60_000), |shared| {
        for left in (0..6).rev() {
            set(shared, |inside| inside.waiting = gaps(left + 1));
            std::thread::sleep(Duration::from_millis(500));
            set(shared, |inside| {
                (inside.waiting, inside.commits) = (gaps(left), inside.commits + 1);
            });
        }
        set(shared, |inside| inside.has_ended = true);
    });
    let began = Instant::now();
    assert_eq!(sink.wait_for_end(), End::Stored);
    assert!(
        began.elapsed() >= Duration::from_secs(3),
        "longer than what is quiet"
    );
    assert!(sink.vitals.as_ref().unwrap().progress() >= 5);
}

#[test]
fn each_end_is_told_as_it_is() {
    let wait = |patience, left, has_ended| {
        let sink = sink(patience, move |shared| {
            set(shared, |inside| {
                (inside.waiting, inside.has_ended) = (gaps(left), has_ended);
            });
        });
        std::thread::sleep(Duration::from_millis(50));
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
