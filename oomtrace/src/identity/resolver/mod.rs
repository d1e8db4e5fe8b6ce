//! Asks container runtimes, on a thread of its own: nothing here ever makes the event path
//! wait. Questions come in by [`Asker::ask`]; answers go out as entries of the stream.

mod cache;
mod end;
mod look;
mod merge;
mod queue;
mod reads;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::{
    Notify,
    mpsc::{Sender, channel, error::TrySendError},
};

use super::{
    host,
    runtime::{files::Roots, sockets},
};
use crate::{
    event::{container::Ask, entry::Entry},
    privileges::Keep,
};

/// So many questions may wait for their turn.
const QUEUE: usize = 1024;
/// So many more are answered with: nobody could be asked.
const REFUSED: usize = 1024;

/// Who is asked.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where runtimes keep their files and sockets; `None`: nobody is asked, and every
    /// question is answered at once with that.
    pub roots: Option<Roots>,
    /// As `DOCKER_HOST` has it.
    pub docker_host: Option<String>,
    /// Of its privileges, what the thread keeps; those that read files for it keep the same.
    pub keep: Keep,
}

impl Options {
    /// What this node has, found by itself.
    #[must_use]
    pub fn of_node() -> Self {
        Self {
            roots: Some(Roots::default()),
            docker_host: std::env::var("DOCKER_HOST").ok(),
            keep: Keep::all(),
        }
    }

    /// Nobody is asked.
    #[must_use]
    pub fn nobody() -> Self {
        Self {
            roots: None,
            docker_host: None,
            keep: Keep::all(),
        }
    }

    /// Sockets that may be a user's own, by which runtimes are asked.
    #[must_use]
    pub fn sockets_not_of_root(&self) -> Vec<PathBuf> {
        self.roots.as_ref().map_or_else(Vec::new, |roots| {
            sockets::not_of_root(roots, self.docker_host.as_deref())
        })
    }
}

/// The thread. Dropping it ends the thread, and does not wait for it: what it reads may hang.
#[derive(Debug)]
pub struct Resolver {
    asker: Asker,
    stop: Arc<Notify>,
}

/// What questions are put with.
#[derive(Clone, Debug)]
pub struct Asker {
    questions: Sender<Question>,
    desk: Arc<Desk>,
}

/// A question on its way.
#[derive(Debug)]
struct Question {
    ask: Ask,
    pending: Pending,
}

/// What both sides look at.
#[derive(Debug, Default)]
struct Desk {
    pending: Arc<AtomicUsize>,
    refused: Mutex<VecDeque<Question>>,
    some_refused: Notify,
    dropped: AtomicU64,
}

/// Counts as asked for and not answered, until it is dropped.
#[derive(Debug)]
struct Pending(Arc<AtomicUsize>);

impl Pending {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Resolver {
    /// Starts the thread. `answer` takes the answers, and may wait; when it says `false` the
    /// thread ends.
    pub fn start(
        options: Options,
        answer: impl Fn(Entry) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("oomtrace-read")
            .max_blocking_threads(reads::THREADS)
            .build()?;
        let (questions, asked) = channel(QUEUE);
        let desk = Arc::new(Desk::default());
        let stop = Arc::new(Notify::new());
        let (seen, stopped) = (Arc::clone(&desk), Arc::clone(&stop));
        std::thread::Builder::new()
            .name("oomtrace-ask".to_owned())
            .spawn(move || {
                options.keep.here();
                host::be_nice();
                runtime.block_on(async {
                    tokio::select! {
                        () = queue::run(options, asked, &seen, answer) => {}
                        () = stopped.notified() => {}
                    }
                });
                // Reads that hang are left behind.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            asker: Asker { questions, desk },
            stop,
        })
    }

    /// Puts a question; see [`Asker::ask`].
    pub fn ask(&self, ask: Ask) {
        self.asker.ask(ask);
    }

    /// What others put questions with.
    #[must_use]
    pub fn asker(&self) -> Asker {
        self.asker.clone()
    }

    /// Questions that have not had their last answer. What is looked through at the start
    /// does not count.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.asker.desk.pending.load(Ordering::Acquire)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

impl Asker {
    /// Puts a question, and never waits. Where too many wait already, it is answered with
    /// that; where even that finds no room, it is dropped.
    pub fn ask(&self, ask: Ask) {
        let question = Question {
            ask,
            pending: Pending::new(&self.desk.pending),
        };
        let Err(TrySendError::Full(question)) = self.questions.try_send(question) else {
            return;
        };
        let mut refused = self
            .desk
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if refused.len() < REFUSED {
            refused.push_back(question);
            self.desk.some_refused.notify_one();
            return;
        }
        let dropped = self.desk.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        if dropped.is_power_of_two() {
            log::warn!("too many containers at once: {dropped} questions about them are dropped");
        }
    }
}
