//! Live tracing, as `run` and `exec` share it: the ring buffer is emptied as soon as it
//! has something, by this thread; a second one does all the rest, so that neither a slow
//! terminal nor a look-up keeps records waiting in the kernel.

mod node;
mod restart;
mod start;
mod work;

use std::{
    collections::VecDeque,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use oomtrace_common::maps::QUIET_NS;
use tokio::io::unix::AsyncFd;

pub(super) use self::restart::Keeping;
use self::work::NewRules;
use super::{
    args::{DeathArgs, LookupArgs, ProbeArgs, TraceArgs},
    runtimes::Runtimes,
    scope::{OwnPod, ScopeArg},
};
use crate::{
    event::entry::Entry,
    identity::{host, memory::Sampler},
    journal::Journal,
    pipeline::PipelineError,
    privileges::Plan,
    probe::attach::Probe,
    provenance::{Config, rules::Rules},
    vitals::Vitals,
};

/// How often losses are looked for and time goes on for the state machine.
const TICK: Duration = Duration::from_millis(500);
/// At the end, victims that are dying are waited for so long.
const SETTLE: Duration = Duration::from_millis(500);
/// At the end, a second thread that takes nothing on is waited for so long: nobody reads what
/// it writes. A look-up of its own may take a second or two on a slow machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// While the second thread does not keep up, it is asked again after this.
const BLOCKED: Duration = Duration::from_millis(20);
/// After the last record the ring buffer is looked at for so long without being woken: the
/// programs wake nobody within [`QUIET_NS`] of the last time.
const AWAKE: Duration = Duration::from_nanos(5 * QUIET_NS);
/// How often it is looked at then.
const LOOK: Duration = Duration::from_millis(2);
/// So many records are passed on before signals are looked at.
const AT_A_TIME: usize = 4096;
/// So many entries may wait for the second thread; then the ring buffer fills, and what
/// finds no room there is counted.
const WAITING: usize = 8 * 1024;

/// Runs tracing to its end, on this thread.
pub(super) fn block_on(tracing: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("tokio cannot start")?
        .block_on(tracing)
}

/// Patience with the second thread, as long as it gets on.
struct Patience {
    vitals: Arc<Vitals>,
    progress: u64,
    since: Instant,
}

impl Patience {
    fn new(vitals: Arc<Vitals>) -> Self {
        Self {
            progress: vitals.progress(),
            vitals,
            since: Instant::now(),
        }
    }

    fn lasts(&mut self) -> bool {
        let progress = self.vitals.progress();
        if progress != self.progress {
            self.progress = progress;
            self.since = Instant::now();
        }
        self.since.elapsed() < PATIENCE
    }
}

/// What is to be traced, and what becomes of it.
pub(super) struct Tracing<'a> {
    pub(super) probe: &'a ProbeArgs,
    pub(super) config: Config,
    pub(super) rules: Rules,
    /// Where rules are read again from, when somebody asks for that.
    pub(super) reread: Option<&'a DeathArgs>,
    pub(super) record: Option<&'a Path>,
    pub(super) scope: ScopeArg,
    pub(super) lookups: LookupArgs,
    /// What each thread keeps of its privileges. The one that starts tracing lets go by itself.
    pub(super) privileges: Plan,
    /// Told how it gets on.
    pub(super) vitals: Arc<Vitals>,
    pub(super) keeping: Keeping,
}

impl<'a> Tracing<'a> {
    pub(super) fn of(args: &'a TraceArgs, privileges: Plan) -> Result<Self> {
        Ok(Self {
            probe: &args.probe,
            config: args.deaths.config(),
            rules: args.deaths.rules()?,
            reread: Some(&args.deaths),
            record: args.record.as_deref(),
            scope: ScopeArg::Node,
            lookups: args.lookups,
            privileges,
            vitals: Arc::default(),
            keeping: Keeping::default(),
        })
    }
}

/// Tracing under way.
pub(super) struct Live {
    probe: AsyncFd<Probe>,
    entries: Option<SyncSender<Entry>>,
    sent: u64,
    runtimes: Runtimes,
    /// Found no room with the second thread; goes before all others.
    held: Option<Entry>,
    /// Losses that wait for the same, and what comes after them.
    late: VecDeque<Entry>,
    /// The ring buffer was not emptied.
    more: bool,
    /// Until then more is looked for without being woken.
    awake_until: Option<Instant>,
    vitals: Arc<Vitals>,
    rules: Arc<NewRules>,
    worker: Option<JoinHandle<Result<(), PipelineError>>>,
    own_pod: Option<OwnPod>,
    journal: Option<Arc<Journal>>,
    /// What the tracer before wrote down last: it may be in the ring still.
    last: Option<Bytes>,
    /// Losses are told once so many entries are taken.
    losses_at: Option<u64>,
    /// Watches the memory of cgroups until it is dropped.
    _sampler: Option<Sampler>,
}

/// Why [`Live::turn`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    GoOn,
    /// The second thread has ended: [`Live::finish`] says why.
    Ended,
}

impl Live {
    /// From the next entry on, senders are judged by these rules.
    pub(super) fn set_rules(&self, rules: Rules) {
        self.rules.put(rules);
    }

    /// How many other containers of our own pod have something that runs. `None`: the scope is
    /// another.
    pub(super) fn others_in_pod(&self) -> Option<usize> {
        let others = self.own_pod.as_ref()?.others(self.probe.get_ref());
        match others {
            Ok(others) => Some(others),
            Err(error) => {
                log::error!("the pod's other containers cannot be counted: {error:#}");
                None
            }
        }
    }

    /// The ticker that goes with [`Live::turn`].
    pub(super) fn ticker() -> tokio::time::Interval {
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticker
    }

    /// Waits for records or for the next tick, and passes on what there is. Dropping the
    /// future loses nothing.
    pub(super) async fn turn(&mut self, ticker: &mut tokio::time::Interval) -> Result<Turn> {
        if self.held.is_some() {
            // The second thread does not keep up. What finds no room in the ring buffer
            // meanwhile is counted there.
            tokio::time::sleep(BLOCKED).await;
            return Ok(self.drain());
        }
        if self.more {
            tokio::task::yield_now().await;
            return Ok(self.drain());
        }
        if self.awake_until.is_some_and(|until| Instant::now() < until) {
            return tokio::select! {
                () = tokio::time::sleep(LOOK) => Ok(self.drain()),
                _ = ticker.tick() => Ok(self.tick()),
            };
        }
        tokio::select! {
            ready = self.probe.readable_mut() => {
                ready.context("the ring buffer cannot be waited for")?.clear_ready();
                Ok(self.drain())
            }
            _ = ticker.tick() => Ok(self.tick()),
        }
    }

    /// Passes on records, a limited number at a time: signals are to be seen in between.
    fn drain(&mut self) -> Turn {
        self.more = false;
        if let Some(entry) = self.held.take()
            && self.send(entry) == Turn::Ended
        {
            return Turn::Ended;
        }
        for taken in 0..AT_A_TIME {
            if self.held.is_some() {
                return Turn::GoOn;
            }
            let (journal, last) = (&self.journal, &mut self.last);
            let mut is_known = false;
            let record = self.probe.get_mut().next_record(&mut |record| {
                is_known = last.as_ref().is_some_and(|last| last == record);
                if let Some(journal) = journal.as_ref().filter(|_| !is_known) {
                    journal.record(record);
                }
            });
            let Some(record) = record else {
                return Turn::GoOn;
            };
            if is_known {
                *last = None;
                continue;
            }
            // Once for all that are taken now.
            if taken == 0 {
                self.awake_until = Some(Instant::now() + AWAKE);
            }
            if self.send(Entry::Kernel(record)) == Turn::Ended {
                return Turn::Ended;
            }
        }
        self.more = true;
        Turn::GoOn
    }

    fn tick(&mut self) -> Turn {
        if self.drain() == Turn::Ended {
            return Turn::Ended;
        }
        self.last = None;
        self.probe.get_mut().flush_diagnostics();
        // Losses come before the tick that judges by them: while records wait, so do both.
        if self.held.is_some() || self.more {
            return Turn::GoOn;
        }
        if self.losses() == Turn::Ended {
            return Turn::Ended;
        }
        if self.held.is_some() || !self.late.is_empty() {
            return Turn::GoOn;
        }
        self.send(Entry::Tick(host::now()))
    }

    fn losses(&mut self) -> Turn {
        self.note_losses();
        let lost = self.probe.get_mut().lost();
        if !lost.is_empty() {
            self.late.extend(lost.into_iter().map(Entry::Lost));
            // Taken when all are that are before it.
            self.losses_at = Some(self.sent_in_all() + self.late.len() as u64 + 1);
        }
        self.flush_late()
    }

    /// Once losses are in the journal, the next tracer need not tell of them.
    fn note_losses(&mut self) {
        if self
            .losses_at
            .is_some_and(|sent| self.vitals.taken() >= sent)
        {
            self.losses_at = None;
            self.probe.get_mut().losses_are_told();
        }
    }

    /// Passes on what had to wait, as far as there is room.
    fn flush_late(&mut self) -> Turn {
        if let Some(entry) = self.held.take()
            && self.send(entry) == Turn::Ended
        {
            return Turn::Ended;
        }
        while self.held.is_none()
            && let Some(entry) = self.late.pop_front()
        {
            if self.send(entry) == Turn::Ended {
                return Turn::Ended;
            }
        }
        Turn::GoOn
    }

    /// Hands an entry to the second thread, without waiting for it: one that finds no room
    /// is held.
    fn send(&mut self, entry: Entry) -> Turn {
        let Some(entries) = &self.entries else {
            return Turn::Ended;
        };
        match entries.try_send(entry) {
            Ok(()) => self.sent += 1,
            Err(TrySendError::Full(entry)) => self.held = Some(entry),
            Err(TrySendError::Disconnected(_)) => return Turn::Ended,
        }
        Turn::GoOn
    }

    /// Entries of this thread and answers of container runtimes.
    fn sent_in_all(&self) -> u64 {
        self.sent + self.runtimes.sent()
    }

    /// Passes on all that was received, ends the stream, and waits until it is written: a
    /// little for those that are dying, and for a reader as long as it reads.
    pub(super) fn finish(mut self) -> Result<()> {
        self.vitals.ending();
        let began = Instant::now();
        let mut patience = Patience::new(Arc::clone(&self.vitals));
        let wait = || std::thread::sleep(BLOCKED / 10);
        let mut running = true;
        while running && patience.lasts() {
            running = self.drain() == Turn::GoOn;
            // Asked twice: an answer that is taken may bring another question.
            let answers = || self.runtimes.are_awaited(began.elapsed());
            let awaited = answers();
            let taken = self.vitals.taken();
            let dying = self.vitals.dying();
            let all_taken = taken == self.sent_in_all() && self.held.is_none() && !self.more;
            let awaited = awaited || answers();
            if all_taken && !awaited && (dying == 0 || began.elapsed() >= SETTLE) {
                break;
            }
            wait();
        }
        self.runtimes.end();
        if running && self.losses() == Turn::GoOn {
            let now = host::now();
            // The next one goes on with what is open, where there is something to go on with.
            let is_kept = self
                .journal
                .as_ref()
                .is_some_and(|journal| !journal.is_broken());
            let goes_on = is_kept && self.probe.get_ref().is_pinned();
            self.late.push_back(if goes_on {
                Entry::Paused(now)
            } else {
                Entry::Stopped(now)
            });
        }
        // The end is the last: what comes now is not told any more.
        while running && patience.lasts() {
            running = self.flush_late() == Turn::GoOn;
            if self.late.is_empty() && self.held.is_none() {
                break;
            }
            wait();
        }
        self.entries = None;
        let Some(worker) = self.worker.take() else {
            return Ok(());
        };
        while !worker.is_finished() {
            if !patience.lasts() {
                let taken = self.vitals.taken();
                let waiting = self.sent_in_all().saturating_sub(taken);
                return Err(anyhow!(
                    "{waiting} events could not be written: nobody reads the output\n\
                     do: read it, or send it to a file"
                ));
            }
            wait();
        }
        match worker.join() {
            Ok(result) => {
                result?;
                if running && self.losses_at.is_some() {
                    self.probe.get_mut().losses_are_told();
                }
                Ok(())
            }
            Err(_) => Err(anyhow!("the second thread panicked; please report this")),
        }
    }
}
