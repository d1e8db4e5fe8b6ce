//! Live tracing, as `run` and `exec` share it: the ring buffer is emptied as soon as it
//! has something, by this thread; a second one does all the rest, so that neither a slow
//! terminal nor a look-up keeps records waiting in the kernel.

use std::{
    fs::File,
    io::BufWriter,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use tokio::io::{Interest, unix::AsyncFd};

use super::{args::TraceArgs, shield::Shield};
use crate::{
    event::{
        Group,
        entry::{Attached, Entry, OomLine, ProcessState, Symbol},
        recording::Writer,
    },
    identity::{host, process},
    pipeline::{Lookups, Pipeline, PipelineError, Source},
    probe::{
        attach::{Options, Probe},
        kallsyms,
        kmsg::KernelLog,
    },
    provenance::{Config, rules::Rules},
    sinks::Sink,
};

/// How often losses are looked for and time goes on for the state machine.
const TICK: Duration = Duration::from_millis(500);
/// At the end, victims that are dying are waited for so long.
const SETTLE: Duration = Duration::from_millis(500);
/// So many entries may wait for the second thread; then the ring buffer fills, and what
/// finds no room there is counted.
const WAITING: usize = 64 * 1024;

/// Look-ups on this node.
struct Node {
    log: Option<KernelLog>,
}

impl Lookups for Node {
    fn symbols(&mut self, addresses: &[u64]) -> Vec<Symbol> {
        kallsyms::resolve(addresses)
    }

    fn oom_lines(&mut self) -> Vec<OomLine> {
        self.log.as_mut().map(KernelLog::drain).unwrap_or_default()
    }

    fn process_state(&mut self, group: Group) -> ProcessState {
        process::state(group, host::now().boottime_ns)
    }
}

/// How far the second thread has come.
#[derive(Debug, Default)]
struct Progress {
    taken: AtomicU64,
    dying: AtomicUsize,
}

/// Tracing under way.
pub(super) struct Live {
    probe: AsyncFd<Probe>,
    entries: Option<SyncSender<Entry>>,
    sent: u64,
    progress: Arc<Progress>,
    worker: Option<JoinHandle<Result<(), PipelineError>>>,
}

/// Why [`Live::turn`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    GoOn,
    /// The second thread has ended: [`Live::finish`] says why.
    Ended,
}

impl Live {
    /// Attaches everything; must be called within a tokio runtime. `started`: when the
    /// process was.
    pub(super) fn start(
        args: &TraceArgs,
        shield: &Shield,
        diagnostics: bool,
        sinks: Vec<Box<dyn Sink>>,
        started: Instant,
    ) -> Result<Self> {
        let config = Config {
            argv: args.records.argv(),
            ..Config::default()
        };
        let recorder = args
            .record
            .as_ref()
            .map(|path| {
                File::create(path)
                    .and_then(|file| Writer::new(BufWriter::new(file)))
                    .with_context(|| format!("{} cannot be written", path.display()))
            })
            .transpose()?;
        let log = KernelLog::open().ok();
        let probe = Probe::attach(&Options {
            ring_bytes: args.ring_bytes,
            hook: args.hook(),
            diagnostics,
        })?;
        let tick = host::now();
        let attached = Attached {
            boottime_ns: tick.boottime_ns,
            realtime_ns: tick.realtime_ns,
            oom_hook: probe.oom_hook().name().to_owned(),
            absent: probe
                .absent()
                .iter()
                .cloned()
                .chain(shield.absent())
                .collect(),
            symbols: probe.has_symbols(),
            ring_bytes: u64::from(args.ring_bytes),
            attach_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        };
        for absent in &attached.absent {
            log::info!("not to be had here: {}: {}", absent.what, absent.why);
        }

        let mut pipeline = Pipeline::new(
            Source::Live,
            Node { log },
            config,
            Rules::built_in()?,
            sinks,
        );
        if let Some(recorder) = recorder {
            pipeline.record_to(recorder);
        }
        let (entries, waiting) = sync_channel(WAITING);
        let progress = Arc::new(Progress::default());
        let seen = Arc::clone(&progress);
        let worker = std::thread::Builder::new()
            .name("oomtrace-work".to_owned())
            .spawn(move || work(pipeline, &waiting, &seen))
            .context("the second thread cannot be started")?;
        // SAFETY: the descriptor is the ring buffer's, owned by the probe, and stays the
        // same for as long as it lives.
        let probe = unsafe { AsyncFd::register_with_interest(probe, Interest::READABLE) }
            .map_err(|error| error.into_parts().1)
            .context("the ring buffer cannot be waited for")?;
        let mut live = Self {
            probe,
            entries: Some(entries),
            sent: 0,
            progress,
            worker: Some(worker),
        };
        live.send(Entry::Session(host::session()));
        live.send(Entry::Attached(attached));
        Ok(live)
    }

    /// The ticker that goes with [`Live::turn`].
    pub(super) fn ticker() -> tokio::time::Interval {
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticker
    }

    /// Waits for records or for the next tick, and passes on what there is.
    pub(super) async fn turn(&mut self, ticker: &mut tokio::time::Interval) -> Result<Turn> {
        tokio::select! {
            ready = self.probe.readable_mut() => {
                ready.context("the ring buffer cannot be waited for")?.clear_ready();
                Ok(self.drain())
            }
            _ = ticker.tick() => Ok(self.tick()),
        }
    }

    fn drain(&mut self) -> Turn {
        while let Some(record) = self.probe.get_mut().next_record() {
            if self.send(Entry::Kernel(record)) == Turn::Ended {
                return Turn::Ended;
            }
        }
        Turn::GoOn
    }

    fn tick(&mut self) -> Turn {
        if self.drain() == Turn::Ended {
            return Turn::Ended;
        }
        self.losses();
        self.probe.get_mut().flush_diagnostics();
        self.send(Entry::Tick(host::now()))
    }

    fn losses(&mut self) {
        for lost in self.probe.get_mut().lost() {
            self.send(Entry::Lost(lost));
        }
    }

    fn send(&mut self, entry: Entry) -> Turn {
        let entries = self.entries.as_ref();
        if entries.is_some_and(|entries| entries.send(entry).is_ok()) {
            self.sent += 1;
            Turn::GoOn
        } else {
            Turn::Ended
        }
    }

    /// Waits a little for those that are dying at the end, so that their death is written
    /// whole.
    fn settle(&mut self) -> Turn {
        let until = Instant::now() + SETTLE;
        loop {
            if self.drain() == Turn::Ended {
                return Turn::Ended;
            }
            let taken = self.progress.taken.load(Ordering::Acquire);
            let dying = self.progress.dying.load(Ordering::Acquire);
            if (taken == self.sent && dying == 0) || Instant::now() >= until {
                return Turn::GoOn;
            }
            std::thread::sleep(SETTLE / 100);
        }
    }

    /// Passes on all that was received, ends the stream, and waits until it is written.
    pub(super) fn finish(mut self) -> Result<()> {
        if self.settle() == Turn::GoOn {
            self.losses();
            self.send(Entry::Stopped(host::now()));
        }
        self.entries = None;
        match self.worker.take().map(JoinHandle::join) {
            Some(Ok(result)) => Ok(result?),
            Some(Err(_)) => Err(anyhow!("the second thread panicked; please report this")),
            None => Ok(()),
        }
    }
}

fn work(
    mut pipeline: Pipeline<Node>,
    entries: &Receiver<Entry>,
    progress: &Progress,
) -> Result<(), PipelineError> {
    for entry in entries {
        let pushed = pipeline.push(&entry);
        progress.dying.store(pipeline.dying(), Ordering::Release);
        progress.taken.fetch_add(1, Ordering::Release);
        pushed?;
    }
    pipeline.finish()
}
