//! Disks and files that do not play along: each is told once, tracing goes on, and what waited
//! is stored once the trouble is over.
//!
//! | module | what it holds |
//! |---|---|
//! | `disks` | disks that are full or cannot be written |
//! | `files` | files that are no store, are damaged or gone, or may not be read |
//! | `others` | who else uses the same file |
//! | `waiting` | what waits meanwhile, and at the end |

mod disks;
mod files;
mod others;
mod waiting;

use std::path::Path;

use oomtrace::{
    sinks::Sink as _,
    store::{Options, StoreSink},
};

use crate::support::{all, death, keep_log, logged, pids, record, wait_for};

/// A sink with a death that it cannot store, and what it said.
fn troubled(path: &Path) -> (StoreSink, String) {
    keep_log();
    let mut sink = StoreSink::start(&Options::at(path)).unwrap();
    sink.write(&record(death(1))).unwrap();
    wait_for("error", || sink.stats().errors() > 0);
    sink.write(&record(death(2))).unwrap();
    wait_for("second try", || sink.stats().errors() > 1);
    assert_eq!((sink.stats().stored(), sink.stats().waiting()), (0, 2));
    let lines = logged(path);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let line = lines.into_iter().next().unwrap();
    assert!(
        line.contains("\ndo: ") && line.contains("tracing goes on"),
        "{line}"
    );
    (sink, line)
}

/// The trouble is over: all that waited is stored.
fn mended(sink: &StoreSink, path: &Path) {
    wait_for("end of the trouble", || sink.stats().waiting() == 0);
    assert_eq!(pids(&all(path)), [2, 1]);
    assert_eq!((sink.stats().stored(), sink.stats().dropped()), (2, 0));
}
