//! The thread that writes, and the sink that hands over to it. The sink never waits: what the
//! disk does not take is kept in memory, bounded, and written once the disk is back.

#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    StoreStats,
    age::Moment,
    db::Db,
    error::{StoreError, Trouble},
    now_ns, place,
    retention::Limits,
    row::{Begin, Item},
    waiting::{Bounds, Waiting},
};
use crate::{privileges::Keep, provenance::record::Record, sinks::Sink, vitals::Vitals};

/// From the first record to the commit: others that come meanwhile go with it, later revisions
/// of the same death among them. With the commit itself it stays well below a second.
const GATHER: Duration = Duration::from_millis(200);
/// A disk that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(2);
/// How often it is noted that the tracer watches, and looked whether something is too old.
const NOTE: Duration = Duration::from_mins(1);
/// The same trouble is told once in this time.
const TOLD: Duration = Duration::from_hours(1);
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
    /// So many are on their way to the disk.
    under_way: usize,
    /// Commits so far.
    commits: u64,
    is_ending: bool,
    has_ended: bool,
}

impl Shared {
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
        let shared = Arc::new(Shared {
            path: options.path.clone(),
            inside: Mutex::new(Inside {
                waiting: Waiting::new(Bounds {
                    count: options.most_waiting,
                    bytes: options.most_waiting_bytes,
                }),
                under_way: 0,
                commits: 0,
                is_ending: false,
                has_ended: false,
            }),
            news: Condvar::new(),
            ended: Condvar::new(),
            stats: Arc::default(),
        });
        let work = Work {
            shared: Arc::clone(&shared),
            limits: options.limits,
            db: None,
            watch: None,
            troubles: Troubles::default(),
            retry_at: None,
            noted: Instant::now(),
        };
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

    /// Tells, whenever it is called, whether all that came is stored.
    #[must_use]
    pub fn settled(&self) -> Arc<dyn Fn() -> bool + Send + Sync> {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || {
            let inside = shared.lock();
            inside.waiting.is_empty() && inside.under_way == 0
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
            let left = inside.waiting.len() + inside.under_way;
            if inside.has_ended {
                return if left == 0 {
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
                    0 => End::Open,
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

/// What has become of all that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stored,
    /// Stored, and the journal is not written back into the file.
    Open,
    /// So many found no disk that takes them: why was said when it was tried.
    Refused(usize),
    /// So many wait for a disk that has taken none for a while.
    Silent(usize),
    /// So many were left when so long was over, though it got on.
    TooSlow(usize, Duration),
}

impl End {
    fn words(self, path: &Path) -> Option<String> {
        let path = crate::event::text::printable(&path.display().to_string());
        let lost = |left: usize, why: &str| {
            format!("{left} records could not be stored in {path}, and end with oomtrace{why}")
        };
        Some(match self {
            Self::Stored => return None,
            Self::Open => format!(
                "all records are stored in {path}, but it could not be closed in time: who opens it next does what is left to do"
            ),
            Self::Refused(left) => lost(left, ""),
            Self::Silent(left) => lost(left, ": the disk does not answer"),
            Self::TooSlow(left, most) => lost(
                left,
                &format!(
                    ": the disk takes them, but not all of them within {} s",
                    most.as_secs_f64()
                ),
            ),
        })
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

/// The thread's own.
struct Work {
    shared: Arc<Shared>,
    limits: Limits,
    db: Option<Db>,
    /// Since when the tracer watches, for a file that knows nothing of it.
    watch: Option<Begin>,
    troubles: Troubles,
    retry_at: Option<Instant>,
    noted: Instant,
}

impl Work {
    fn run(mut self) {
        while !self.turn() {}
        // Writes the journal back into the file, where it can.
        self.db = None;
        let mut inside = self.shared.lock();
        inside.has_ended = true;
        self.shared.ended.notify_all();
    }

    /// Waits for something to do, and does it. True: that was the last.
    fn turn(&mut self) -> bool {
        let is_ending = self.wait();
        let done = self
            .empty()
            .and_then(|()| self.note())
            .and_then(|()| self.trim());
        match done {
            Ok(()) => self.retry_at = None,
            Err(error) => self.fail(&error),
        }
        is_ending
    }

    /// Until there is something to store and the disk is worth a try, or the time for other work
    /// has come. True: it is the end.
    fn wait(&self) -> bool {
        let shared = &self.shared;
        let mut inside = shared.lock();
        loop {
            if inside.is_ending {
                return true;
            }
            let now = Instant::now();
            let until = match self.retry_at {
                Some(retry_at) if retry_at > now => retry_at,
                Some(_) => return false,
                None if !inside.waiting.is_empty() => break,
                None if self.noted.elapsed() >= NOTE => return false,
                None => now + NOTE.saturating_sub(self.noted.elapsed()),
            };
            inside = shared
                .news
                .wait_timeout(inside, until.saturating_duration_since(now))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        shared
            .news
            .wait_timeout_while(inside, GATHER, |inside| !inside.is_ending)
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .is_ending
    }

    fn db(&mut self) -> Result<&mut Db, StoreError> {
        let db = match self.db.take() {
            Some(db) => db,
            None => self.open()?,
        };
        Ok(self.db.insert(db))
    }

    /// Opens the store. A damaged one is moved aside: nothing is lost of it, and what dies from
    /// now on is stored.
    fn open(&self) -> Result<Db, StoreError> {
        let path = &self.shared.path;
        match Db::open(path, self.limits) {
            Err(error) if error.trouble() == Trouble::Damaged => {
                set_aside(path, &error)?;
                Db::open(path, self.limits)
            }
            opened => opened,
        }
    }

    /// Stores all that waits.
    fn empty(&mut self) -> Result<(), StoreError> {
        loop {
            let taken = {
                let mut inside = self.shared.lock();
                let taken = inside.waiting.take(self.limits.batch());
                inside.under_way = taken.len();
                taken
            };
            if taken.is_empty() {
                return Ok(());
            }
            // The thread's own watch moves on only with what is stored.
            let mut watch = self.watch.clone();
            let items = taken.iter().map(|(_, item)| item);
            let stored = match self.db() {
                Ok(db) => db.store(items, &mut watch),
                Err(error) => Err(error),
            };
            let mut inside = self.shared.lock();
            inside.under_way = 0;
            match stored {
                Ok(stored) => {
                    inside.commits += 1;
                    self.shared.ended.notify_all();
                    self.shared.count(&inside, 0);
                    self.shared.stats.add_stored(stored.new);
                    self.watch = watch;
                    drop(inside);
                    self.troubles.over(&self.shared.stats);
                    // At least as many go as have come: however long a storm lasts, the size
                    // is kept.
                    self.trim_once()?;
                }
                Err(error) => {
                    let dropped = inside.waiting.give_back(taken);
                    self.shared.count(&inside, dropped);
                    return Err(error);
                }
            }
        }
    }

    /// Notes that the tracer watches.
    fn note(&mut self) -> Result<(), StoreError> {
        if self.noted.elapsed() < NOTE {
            return Ok(());
        }
        self.noted = Instant::now();
        match self.watch.clone() {
            Some(watch) => self.db()?.seen(&watch, now_ns()),
            None => Ok(()),
        }
    }

    /// Brings age and size within their limits, as long as nothing else is to be done.
    fn trim(&mut self) -> Result<(), StoreError> {
        if self.db.is_none() {
            return Ok(());
        }
        while self.trim_once()? {
            let inside = self.shared.lock();
            if inside.is_ending || !inside.waiting.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// One step of it. True: another one is due.
    fn trim_once(&mut self) -> Result<bool, StoreError> {
        let step = self.db()?.trim(Moment::now())?;
        self.shared.stats.add_deleted(step.deleted);
        Ok(step.more)
    }

    fn fail(&mut self, error: &StoreError) {
        self.db = None;
        self.retry_at = Some(Instant::now() + RETRY);
        if error.trouble() == Trouble::Damaged
            && let Err(error) = set_aside(&self.shared.path, error)
        {
            self.troubles.tell(&error);
        } else if error.trouble() != Trouble::Damaged {
            self.troubles.tell(error);
        }
        self.shared.stats.add_error();
    }
}

fn set_aside(path: &Path, error: &StoreError) -> Result<(), StoreError> {
    let aside = place::set_aside(path)?;
    log::error!(
        "{error}\n(it was moved to {})",
        crate::event::text::printable(&aside.display().to_string())
    );
    Ok(())
}

/// What the user was told: each trouble once, and its end.
#[derive(Debug, Default)]
struct Troubles {
    now: Option<Trouble>,
    told: Option<(Trouble, Instant)>,
    dropped_before: u64,
}

impl Troubles {
    fn tell(&mut self, error: &StoreError) {
        let trouble = error.trouble();
        self.now = Some(trouble);
        let was_told = self
            .told
            .is_some_and(|(told, when)| told == trouble && when.elapsed() < TOLD);
        if !was_told {
            self.told = Some((trouble, Instant::now()));
            log::error!(
                "{error}\nmeanwhile: tracing goes on, and deaths are kept in memory until they can be stored"
            );
        }
    }

    fn over(&mut self, stats: &StoreStats) {
        if self.now.take().is_none() {
            return;
        }
        let dropped = stats.dropped() - self.dropped_before;
        self.dropped_before = stats.dropped();
        if dropped == 0 {
            log::warn!("deaths are stored again, and those that waited with them");
        } else {
            log::error!(
                "deaths are stored again; {dropped} records found no room in memory meanwhile and are not stored"
            );
        }
    }
}
