//! How long an answer may take: SQLite asks now and then whether it shall go on.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode};

/// It asks after so many of its instructions: some ten microseconds.
const INSTRUCTIONS: i32 = 1000;
/// So often it goes on however long that takes: where the disk or the machine is slow, an answer
/// takes longer and is the same.
const LEAST: u64 = 1000;
const NEVER: u64 = u64::MAX;

/// See the module.
#[derive(Debug)]
pub(super) struct Bound {
    base: Instant,
    /// Microseconds from `base` on.
    until: Arc<AtomicU64>,
    /// How often it has asked.
    asked: Arc<AtomicU64>,
    was_cut: Cell<bool>,
}

impl Bound {
    pub(super) fn on(connection: &mut Connection) -> rusqlite::Result<Self> {
        let (base, until) = (Instant::now(), Arc::new(AtomicU64::new(NEVER)));
        let asked = Arc::new(AtomicU64::new(0));
        let (end, times) = (Arc::clone(&until), Arc::clone(&asked));
        connection.progress_handler(
            INSTRUCTIONS,
            Some(move || {
                let end = end.load(Ordering::Relaxed);
                end != NEVER
                    && times.fetch_add(1, Ordering::Relaxed) >= LEAST
                    && base.elapsed() >= Duration::from_micros(end)
            }),
        )?;
        Ok(Self {
            base,
            until,
            asked,
            was_cut: Cell::new(false),
        })
    }

    /// Looks as far as there is time. `None`: there was too little.
    pub(super) fn until<T>(
        &self,
        until: Instant,
        look: impl FnOnce() -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        let until = until.saturating_duration_since(self.base).as_micros();
        let until = u64::try_from(until).unwrap_or(NEVER);
        self.asked.store(0, Ordering::Relaxed);
        self.until.store(until, Ordering::Relaxed);
        let found = look();
        self.until.store(NEVER, Ordering::Relaxed);
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Notes that an answer is not whole.
    pub(super) fn cut(&self) {
        self.was_cut.set(true);
    }

    /// Whether one was not whole since this was asked last.
    pub(super) fn was_cut(&self) -> bool {
        self.was_cut.replace(false)
    }
}
