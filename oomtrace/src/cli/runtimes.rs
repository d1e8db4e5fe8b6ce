//! Container runtimes beside live tracing: their answers go into the same stream as the
//! kernel's records, and are counted, so that the end waits for those under way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Sender, SyncSender, channel},
    },
    time::Duration,
};

use crate::{
    event::entry::Entry,
    identity::resolver::{Asker, Options, Resolver},
};

/// At the end, answers are waited for so long.
const PATIENCE: Duration = Duration::from_millis(1200);

/// See the module.
#[derive(Debug)]
pub(super) struct Runtimes {
    /// `None`: it could not be started, or has been ended.
    resolver: Option<Resolver>,
    sent: Arc<AtomicU64>,
    /// Answers wait for as long as it is there.
    too_early: Option<Sender<()>>,
}

impl Runtimes {
    /// Starts asking; where that cannot be, tracing goes on without. What is found goes into
    /// the stream from [`Self::may_answer`] on.
    pub(super) fn start(options: Options, entries: SyncSender<Entry>) -> Self {
        let sent = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&sent);
        let (too_early, wait) = channel::<()>();
        let answer = move |entry| {
            // Nothing is ever sent there: it returns once the other side has gone.
            let _ = wait.recv();
            // Counted first: no more are taken than were sent.
            counted.fetch_add(1, Ordering::AcqRel);
            let taken = entries.send(entry).is_ok();
            if !taken {
                counted.fetch_sub(1, Ordering::AcqRel);
            }
            taken
        };
        let resolver = Resolver::start(options, answer)
            .inspect_err(|error| log::warn!("container runtimes are not asked: {error}"))
            .ok();
        Self {
            resolver,
            sent,
            too_early: Some(too_early),
        }
    }

    /// The stream has begun.
    pub(super) fn may_answer(&mut self) {
        self.too_early = None;
    }

    pub(super) fn asker(&self) -> Option<Asker> {
        self.resolver.as_ref().map(Resolver::asker)
    }

    /// Answers that went into the stream.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Whether an answer is still to be waited for, when the end began `elapsed` ago.
    pub(super) fn are_awaited(&self, elapsed: Duration) -> bool {
        let pending = self.resolver.as_ref().map_or(0, Resolver::pending);
        pending > 0 && elapsed < PATIENCE
    }

    /// Nothing is waited for any more.
    pub(super) fn end(&mut self) {
        self.resolver = None;
    }
}
