//! Memory of the cgroups that have a limit, watched so that an OOM kill can be told with what
//! came before it.
//!
//! One thread looks at all of them, once an interval (a second, unless told otherwise):
//! `memory.current` of each, and `memory.stat`, which costs the kernel ten times as much, where
//! usage has moved or is near the limit. What was seen is kept in a small ring for each cgroup
//! ([`ring`]); those who ask get a copy, and never wait for a file. Look-ups of the moment (what
//! the memory is used for, by whom) are made on the same thread, and are waited for no longer
//! than [`PATIENCE`].
//!
//! It is neither an event (nobody sends it) nor of the kernel's programs: it is a look-up that
//! outlives its event, as the rest of [`identity`](super) is.
//!
//! | module | what it holds |
//! |---|---|
//! | `hierarchy` | where the memory controller is mounted, of cgroup v1 or v2, and its files' names |
//! | `gauge` | the open files of one cgroup |
//! | `ring` | what was seen of one cgroup |
//! | `admit` | which cgroups are watched |
//! | `young` | cgroups that have no limit yet, and may get one |
//! | `walk` | the slow search for cgroups that have a limit |
//! | `purse` | how much CPU time `memory.stat` may cost |
//! | `sampler` | the thread |
//! | `largest` | the largest processes of a cgroup |
//! | [`kills`] | how often the OOM killer has come: no part of the thread |
//! | `node` | who holds the node's memory, on a thread of its own |

mod admit;
mod gauge;
mod hierarchy;
pub mod kills;
mod largest;
mod node;
mod purse;
mod ring;
mod sampler;
#[cfg(test)]
mod tests;
mod walk;
mod young;

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

pub use self::{hierarchy::Hierarchy, node::NodeLook};
use self::{
    ring::Series,
    sampler::{Look, Message},
};
use super::host;
use crate::{
    event::{
        container::{CgroupChange, CgroupChangeKind},
        memory::{MemoryAsk, MemoryCurve},
    },
    privileges::Keep,
};

/// So many cgroups are watched; of more, those that are nearest to their limits.
pub const MOST: usize = 500;
/// A look-up of the moment is waited for so long, by the thread that judges: a death is
/// written without it rather than late.
const PATIENCE: Duration = Duration::from_millis(5);
/// So many messages may wait for the thread. What finds no room is found by the next walk.
const WAITING: usize = 1024;

/// The interval is no shorter (to look costs something) and no longer (a burst is over then).
pub const SHORTEST: Duration = Duration::from_millis(20);
pub const LONGEST: Duration = Duration::from_secs(10);

/// How memory is watched.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// From one look at a cgroup's usage to the next.
    pub interval: Duration,
    /// Of its privileges, what the thread keeps.
    pub keep: Keep,
}

/// The thread. Dropping it ends the thread, and does not wait for it: what it reads may hang.
#[derive(Debug)]
pub struct Sampler(Curves);

/// What is asked with.
#[derive(Clone, Debug)]
pub struct Curves {
    shared: Arc<Shared>,
    messages: SyncSender<Message>,
}

/// What both sides look at.
#[derive(Debug, Default)]
struct Shared {
    /// By the cgroup's path, from the root of the hierarchy.
    series: Mutex<HashMap<String, Series>>,
    /// Those that have a limit and are not watched, for others are nearer to theirs.
    passed_over: Mutex<Vec<String>>,
    /// A look-up of the moment did not come in time, and has not come yet.
    is_slow: AtomicBool,
    /// A cgroup may have been missed.
    walk_now: AtomicBool,
}

impl Shared {
    fn with_series<T>(&self, then: impl FnOnce(&mut HashMap<String, Series>) -> T) -> T {
        then(&mut self.series.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sampler {
    /// Starts the thread.
    pub fn start(hierarchy: Hierarchy, options: Options) -> io::Result<Self> {
        let (messages, waiting) = sync_channel(WAITING);
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("oomtrace-memory".to_owned())
            .spawn(move || {
                options.keep.here();
                host::be_nice();
                sampler::run(hierarchy, options, &seen, &waiting);
            })?;
        Ok(Self(Curves { shared, messages }))
    }

    /// What others ask with.
    #[must_use]
    pub fn curves(&self) -> Curves {
        self.0.clone()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // Where it finds no room the thread is busy or hangs, and the process ends anyway.
        let _ = self.0.messages.try_send(Message::Stop);
    }
}

impl Curves {
    /// Tells of a cgroup that came; never waits.
    pub fn told(&self, change: &CgroupChange) {
        if change.kind == CgroupChangeKind::Emptied {
            return;
        }
        let message = Message::Made {
            path: change.path.clone(),
            made_ns: (change.kind == CgroupChangeKind::Made).then_some(change.boottime_ns),
            unified: change.unified,
        };
        if let Err(TrySendError::Full(_)) = self.messages.try_send(message) {
            self.shared.walk_now.store(true, Ordering::Release);
        }
    }

    /// What was seen of a cgroup; and what is to be seen now, if that is asked for and comes
    /// within [`PATIENCE`].
    #[must_use]
    pub fn curve(&self, ask: &MemoryAsk) -> MemoryCurve {
        let boottime_ns = host::now().boottime_ns;
        let known = self
            .shared
            .with_series(|series| series.get(&ask.cgroup).cloned());
        let mut curve = match known {
            Some(series) => MemoryCurve {
                samples: series.samples(),
                interval_ns: Some(series.interval_ns),
                made_ns: series.made_ns,
                split: series.split,
                absent: None,
                ..MemoryCurve::default()
            },
            None => MemoryCurve {
                absent: Some(self.why_not(&ask.cgroup)),
                ..MemoryCurve::default()
            },
        };
        curve.boottime_ns = boottime_ns;
        curve.cgroup.clone_from(&ask.cgroup);
        if ask.look
            && let Some(look) = self.look(&ask.cgroup)
        {
            // What is read after a kill lacks what was given back, and what was read before it
            // lacks what came last: the one that accounts for more is nearer to the kill.
            let splits = [curve.split, look.split].into_iter().flatten();
            curve.split = splits.max_by_key(|at| at.split.total_bytes());
            curve.largest = look.largest;
        }
        curve
    }

    fn why_not(&self, cgroup: &str) -> String {
        let passed_over = &self.shared.passed_over;
        let passed_over = passed_over.lock().unwrap_or_else(PoisonError::into_inner);
        if passed_over.iter().any(|path| path == cgroup) {
            format!("more than {MOST} cgroups have a limit, and others were nearer to theirs")
        } else {
            "its limit was not known long enough before".to_owned()
        }
    }

    fn look(&self, cgroup: &str) -> Option<Look> {
        if self.shared.is_slow.load(Ordering::Acquire) {
            return None;
        }
        let (answer, answered) = sync_channel(1);
        let message = Message::Look {
            cgroup: cgroup.to_owned(),
            answer,
        };
        self.messages.try_send(message).ok()?;
        match answered.recv_timeout(PATIENCE) {
            Ok(look) => Some(look),
            Err(RecvTimeoutError::Timeout) => {
                // Nobody else is to wait for it; the thread says when it gets on.
                self.shared.is_slow.store(true, Ordering::Release);
                None
            }
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }
}
