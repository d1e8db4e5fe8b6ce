//! The sink, which hands over to the thread that writes, and never waits: what the disk does not
//! take is kept in memory, bounded, and written once the disk is back.

mod end;
#[cfg(test)]
mod tests;
mod troubles;
mod work;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use self::{end::End, work::Work};
use super::{
    StoreStats,
    retention::Limits,
    row::Item,
    waiting::{Bounds, Count, Waiting},
};
use crate::{privileges::Keep, provenance::record::Record, sinks::Sink, vitals::Vitals};

/// How long the end waits for what is not stored yet.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the next records to be stored: a disk that takes none for so long does not answer.
    pub quiet: Duration,
    /// For all of them, however well it gets on.
    pub most: Duration,
}

impl Default for Patience {
    /// A commit waits for the disk to have it, which a busy one may take seconds for. As many
    /// records as may wait are stored in a quarter of a minute; a service manager gives no more
    /// than a little longer.
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(4),
            most: Duration::from_secs(15),
        }
    }
}

/// What is stored where, and how long.
#[derive(Clone, Debug)]
pub struct Options {
    pub path: PathBuf,
    pub limits: Limits,
    /// So many records may wait in memory for a disk, and so much may they take.
    pub most_waiting: usize,
    pub most_waiting_bytes: usize,
    pub patience: Patience,
    /// Of its privileges, what the thread keeps.
    pub keep: Keep,
}

impl Options {
    /// With the limits that `run` has unless it is told otherwise, and all privileges.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            limits: Limits::default(),
            most_waiting: 20_000,
            most_waiting_bytes: 32 * 1024 * 1024,
            keep: Keep::all(),
            patience: Patience::default(),
        }
    }
}

/// How far what came to the store is stored: nothing of a number up to `stored` waits any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The number of the latest record that came.
    pub came: u64,
    pub stored: u64,
}

impl Progress {
    /// All that came.
    #[must_use]
    pub fn is_all(self) -> bool {
        self.stored >= self.came
    }
}

/// Whom to ask for [`Progress`].
pub type AskProgress = Arc<dyn Fn() -> Progress + Send + Sync>;

/// Takes records and has them stored. See the module.
#[derive(Debug)]
pub struct StoreSink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    patience: Patience,
    /// Who waits for the end, too, is told that it gets on.
    vitals: Option<Arc<Vitals>>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    inside: Mutex<Inside>,
    /// Something has come, or the end.
    news: Condvar,
    /// Something was stored, or the thread has ended.
    ended: Condvar,
    stats: Arc<StoreStats>,
}

#[derive(Debug)]
struct Inside {
    waiting: Waiting,
    /// Commits so far.
    commits: u64,
    is_ending: bool,
    has_ended: bool,
}

impl Shared {
    fn new(path: PathBuf, bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            path,
            inside: Mutex::new(Inside {
                waiting: Waiting::new(bounds),
                commits: 0,
                is_ending: false,
                has_ended: false,
            }),
            news: Condvar::new(),
            ended: Condvar::new(),
            stats: Arc::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // What it guards is whole between any two statements.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, inside: &Inside, dropped: u64) {
        self.stats
            .set_waiting(inside.waiting.len(), inside.waiting.bytes());
        self.stats.add_dropped(dropped);
    }
}

impl StoreSink {
    /// Starts the thread. The file is opened when the first record has come.
    pub fn start(options: &Options) -> io::Result<Self> {
        let bounds = Bounds {
            count: options.most_waiting,
            bytes: options.most_waiting_bytes,
        };
        let shared = Shared::new(options.path.clone(), bounds);
        let work = Work::new(&shared, options.limits);
        let keep = options.keep;
        let thread = std::thread::Builder::new()
            .name("oomtrace-store".to_owned())
            .spawn(move || {
                keep.here();
                work.run();
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
            patience: options.patience,
            vitals: None,
        })
    }

    /// Has whoever waits for the end know that it gets on.
    #[must_use]
    pub fn telling(mut self, vitals: &Arc<Vitals>) -> Self {
        self.vitals = Some(Arc::clone(vitals));
        self
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Arc<StoreStats> {
        Arc::clone(&self.shared.stats)
    }

    /// Tells, whenever it is called, how far what came is stored.
    #[must_use]
    pub fn progress(&self) -> AskProgress {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || {
            let inside = shared.lock();
            Progress {
                came: inside.waiting.last(),
                stored: inside.waiting.stored_to(),
            }
        })
    }

    fn take(&self, record: &Record) {
        let item = match Item::of(record) {
            Ok(item) => item,
            Err(error) => {
                // No reason to stop tracing: it is told by the other sinks.
                log::error!("a record cannot be stored and is left out: {error}");
                self.shared.stats.add_error();
                return;
            }
        };
        let mut inside = self.shared.lock();
        let dropped = inside.waiting.push(item);
        self.shared.count(&inside, dropped);
        self.shared.news.notify_all();
    }

    /// Waits until all that can be written is: as long as it gets on, within bounds.
    fn finish(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        let end = self.wait_for_end();
        if matches!(end, End::Stored | End::Refused(_)) {
            let _ = thread.join();
        }
        if let Some(text) = end.words(&self.shared.path) {
            log::error!("{text}");
        }
    }

    fn wait_for_end(&self) -> End {
        let began = Instant::now();
        let mut inside = self.shared.lock();
        inside.is_ending = true;
        self.shared.news.notify_all();
        let mut quiet_since = began;
        let mut commits = inside.commits;
        loop {
            let left = inside.waiting.left();
            if inside.has_ended {
                return if left == Count::NOTHING {
                    End::Stored
                } else {
                    End::Refused(left)
                };
            }
            if inside.commits != commits {
                commits = inside.commits;
                quiet_since = Instant::now();
                if let Some(vitals) = &self.vitals {
                    vitals.wrote();
                }
            }
            let quiet = self.patience.quiet.saturating_sub(quiet_since.elapsed());
            let most = self.patience.most.saturating_sub(began.elapsed());
            if quiet.is_zero() || most.is_zero() {
                return match left {
                    Count::NOTHING => End::Open,
                    _ if quiet.is_zero() => End::Silent(left),
                    _ => End::TooSlow(left, self.patience.most),
                };
            }
            inside = self
                .shared
                .ended
                .wait_timeout(inside, quiet.min(most))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Sink for StoreSink {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        self.take(record);
        Ok(())
    }

    fn write_again(&mut self, record: &Record) -> io::Result<()> {
        self.take(record);
        Ok(())
    }

    fn settle(&mut self, is_end: bool) -> io::Result<()> {
        if is_end {
            self.finish();
        }
        Ok(())
    }
}

impl Drop for StoreSink {
    fn drop(&mut self) {
        self.finish();
    }
}
