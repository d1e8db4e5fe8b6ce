//! How tracing gets on, for those who ask from another thread: metrics, `/healthz`, a service
//! manager's watchdog. Atomics only: nobody waits for anybody.

use std::{
    sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use oomtrace_common::wire::kind;
use thiserror::Error;

use crate::event::{decode, entry::Entry};

/// A tick comes every half second. When nothing was taken for so long, tracing hangs: longer
/// than any look-up may take, shorter than anybody waits for an alert.
pub const STALLED: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Vitals {
    since: Instant,
    stage: AtomicU8,
    taken: AtomicU64,
    /// Times that something was written at the end, when no entry is taken any more.
    written: AtomicU64,
    /// When the last entry was taken, in milliseconds after `since`.
    taken_ms: AtomicU64,
    dying: AtomicUsize,
    hanging: AtomicUsize,
    /// The kernel's records that were taken, by kind.
    events: [AtomicU64; kind::COUNT],
}

/// Why tracing does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Trouble {
    #[error("starting: not every hook is attached yet")]
    Starting,
    #[error("no event and no tick was taken for {} s: what happens now waits, and may be lost", .0.as_secs())]
    Stalled(Duration),
    #[error("ending: what happens now is not told")]
    Ending,
}

const STARTING: u8 = 0;
const TRACING: u8 = 1;
const ENDING: u8 = 2;

impl Default for Vitals {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            stage: AtomicU8::new(STARTING),
            taken: AtomicU64::new(0),
            written: AtomicU64::new(0),
            taken_ms: AtomicU64::new(0),
            dying: AtomicUsize::new(0),
            hanging: AtomicUsize::new(0),
            events: Default::default(),
        }
    }
}

impl Vitals {
    /// Every hook is attached, and a thread takes what they send.
    pub fn attached(&self) {
        self.beat();
        self.stage.store(TRACING, Ordering::Release);
    }

    /// Nothing more is going to be taken.
    pub fn ending(&self) {
        self.stage.store(ENDING, Ordering::Release);
    }

    /// An entry was taken, and so many victims are dying.
    pub fn took(&self, entry: &Entry, dying: usize) {
        if let Entry::Kernel(record) = entry
            && let Some(events) = decode::kind(record).and_then(|kind| self.events.get(kind))
        {
            events.fetch_add(1, Ordering::Relaxed);
        }
        self.beat();
        self.dying.store(dying, Ordering::Release);
        self.taken.fetch_add(1, Ordering::Release);
    }

    /// Something that a tracer before has left was taken.
    pub fn resumed(&self) {
        self.beat();
        self.wrote();
    }

    fn beat(&self) {
        let ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.taken_ms.store(ms, Ordering::Release);
    }

    /// Entries taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }

    /// What was taken is being written, and that gets on.
    pub fn wrote(&self) {
        self.written.fetch_add(1, Ordering::Release);
    }

    /// Goes up as long as something is done.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.taken() + self.written.load(Ordering::Acquire)
    }

    /// Victims that were killed and are not written yet.
    #[must_use]
    pub fn dying(&self) -> usize {
        self.dying.load(Ordering::Acquire)
    }

    /// So many victims hang.
    pub fn set_hanging(&self, count: usize) {
        self.hanging.store(count, Ordering::Relaxed);
    }

    /// Victims that were still there seconds after their SIGKILL, and have not ended since.
    #[must_use]
    pub fn hanging(&self) -> usize {
        self.hanging.load(Ordering::Relaxed)
    }

    /// The kernel's records taken, with the name of their kind.
    pub fn events(&self) -> impl Iterator<Item = (&'static str, u64)> {
        decode::KINDS.iter().map(|(kind, name)| {
            let taken = self.events.get(usize::from(*kind));
            (
                *name,
                taken.map_or(0, |taken| taken.load(Ordering::Relaxed)),
            )
        })
    }

    /// Whether tracing goes on: every hook is attached, and entries are taken.
    pub fn check(&self) -> Result<(), Trouble> {
        match self.stage.load(Ordering::Acquire) {
            STARTING => return Err(Trouble::Starting),
            TRACING => {}
            _ => return Err(Trouble::Ending),
        }
        let last = Duration::from_millis(self.taken_ms.load(Ordering::Acquire));
        let idle = self.since.elapsed().saturating_sub(last);
        if idle < STALLED {
            Ok(())
        } else {
            Err(Trouble::Stalled(idle))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::entry::Tick;

    #[test]
    fn tracing_is_well_from_the_hooks_to_the_end() {
        let vitals = Vitals::default();
        assert_eq!(vitals.check(), Err(Trouble::Starting));
        vitals.attached();
        assert_eq!(vitals.check(), Ok(()));
        vitals.ending();
        assert_eq!(vitals.check(), Err(Trouble::Ending));
    }

    #[test]
    fn a_thread_that_takes_nothing_is_noticed_until_it_does() {
        let Some(since) = Instant::now().checked_sub(3 * STALLED) else {
            return; // a machine that has just started
        };
        let vitals = Vitals {
            since,
            ..Vitals::default()
        };
        vitals.stage.store(TRACING, Ordering::Release);
        let Err(trouble @ Trouble::Stalled(idle)) = vitals.check() else {
            panic!("it should be noticed: {:?}", vitals.check());
        };
        assert!(idle >= 3 * STALLED, "{idle:?}");
        assert!(trouble.to_string().contains("for 30 s"), "{trouble}");
        vitals.took(&Entry::Tick(Tick::default()), 2);
        assert_eq!(vitals.check(), Ok(()));
        assert_eq!((vitals.taken(), vitals.dying()), (1, 2));
    }
}
