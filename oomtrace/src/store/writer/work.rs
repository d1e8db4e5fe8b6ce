//! The thread that writes.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Shared,
    troubles::{Troubles, set_aside},
};
use crate::store::{
    age::Moment,
    db::Db,
    error::{StoreError, Trouble},
    now_ns,
    retention::Limits,
    row::Begin,
};

/// From the first record to the commit: others that come meanwhile go with it, later revisions
/// of the same death among them. With the commit itself it stays well below a second.
const GATHER: Duration = Duration::from_millis(200);
/// A disk that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(2);
/// How often it is noted that the tracer watches, and looked whether something is too old.
const NOTE: Duration = Duration::from_mins(1);

/// The thread's own.
pub(super) struct Work {
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
    pub(super) fn new(shared: &Arc<Shared>, limits: Limits) -> Self {
        Self {
            shared: Arc::clone(shared),
            limits,
            db: None,
            watch: None,
            troubles: Troubles::default(),
            retry_at: None,
            noted: Instant::now(),
        }
    }

    pub(super) fn run(mut self) {
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
        let mut has_stored = false;
        loop {
            let taken = {
                let mut inside = self.shared.lock();
                inside.waiting.take(self.limits.batch())
            };
            if taken.is_empty() {
                // Not before: a disk that takes some of it may be full again with the next.
                if has_stored {
                    let dropped = self.shared.lock().waiting.dropped();
                    self.troubles.over(&self.shared.path, dropped);
                }
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
            match stored {
                Ok(stored) => {
                    inside.commits += 1;
                    inside.waiting.stored();
                    self.shared.ended.notify_all();
                    self.shared.count(&inside, 0);
                    self.shared.stats.add_stored(stored.new);
                    self.watch = watch;
                    drop(inside);
                    has_stored = true;
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
