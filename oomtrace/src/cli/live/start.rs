//! Everything is attached, and the stream begins.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::BufWriter,
    path::Path,
    sync::{Arc, mpsc::sync_channel},
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    Live, Tracing, WAITING,
    node::{Node, node_look, watch_memory},
    restart::Left,
    work::{self, Begin, NewRules},
};
use crate::{
    cli::{runtimes::Runtimes, scope, shield::Shield},
    event::{
        entry::{Absent, Attached, Entry, Tick, Unwatched},
        recording::Writer,
    },
    identity::{host, memory::Sampler},
    pipeline::{Pipeline, Source},
    privileges::Thread,
    probe::{
        attach::{Options, Probe},
        kmsg::KernelLog,
    },
    sinks::Sink,
};

impl Live {
    /// Attaches everything; must be called within a tokio runtime. `started`: when the
    /// process was.
    pub(in crate::cli) fn start(
        what: Tracing<'_>,
        shield: &Shield,
        diagnostics: bool,
        sinks: Vec<Box<dyn Sink>>,
        started: Instant,
    ) -> Result<Self> {
        // What can be wrong with what was typed comes first; but a file is there only once
        // there is something for it.
        what.record.map(is_free).transpose()?;
        let mut left = Left::open(&what.keeping);
        let log = match left.as_ref().and_then(Left::log_since_ns) {
            Some(since_ns) => KernelLog::open_since(since_ns).ok(),
            None => KernelLog::open().ok(),
        };
        let mut probe = Probe::attach(&Options {
            ring_bytes: what.probe.ring_bytes,
            hook: what.probe.hook(),
            diagnostics: diagnostics && what.keeping.pins.is_none(),
            scope: what.scope.kind(),
            pins: what.keeping.pinned(),
        })?;
        let scoping = scope::set_up(&what.scope, &mut probe)?;
        let recorder = what.record.map(recording).transpose()?;
        let (sampler, no_memory) = watch_memory(what.lookups, what.privileges.of(Thread::Memory));
        let tick = host::now();
        let absent = probe.absent().iter().cloned();
        let absent = absent
            .chain(shield.absent())
            .chain(scoping.absent)
            .chain(no_memory);
        let attached = attached(
            &probe,
            absent.collect(),
            what.probe.ring_bytes,
            tick,
            started,
        );

        let (entries, waiting) = sync_channel(WAITING);
        let resolver = what.lookups.resolver(what.privileges.of(Thread::Ask));
        let runtimes = Runtimes::start(resolver, entries.clone());

        let mut pipeline = Pipeline::new(
            Source::Live,
            Node {
                log,
                namer: probe.take_namer(),
                scope: scoping.map,
                awaited: scoping.awaited,
                asker: runtimes.asker(),
                curves: sampler.as_ref().map(Sampler::curves),
                holders: node_look(what.lookups, what.privileges.of(Thread::Memory)),
            },
            what.config,
            what.rules,
            sinks,
        );
        pipeline.set_scope(scoping.scope);
        if let Some(recorder) = recorder {
            pipeline.record_to(recorder);
        }
        let unwatched = foreign(&mut probe, left.as_mut());
        let journal = left.as_ref().map(|left| Arc::clone(&left.journal));
        let last = left.as_ref().and_then(Left::last);
        let begin = Begin {
            resumption: left.map(|left| left.resumption(&probe, tick)),
            keep: what.privileges.of(Thread::Work),
            is_pinned: probe.is_pinned(),
        };
        let seen = Arc::clone(&what.vitals);
        let rules = Arc::new(NewRules::default());
        let new_rules = Arc::clone(&rules);
        let worker = std::thread::Builder::new()
            .name("oomtrace-work".to_owned())
            .spawn(move || work::run(pipeline, begin, &waiting, &seen, &new_rules))
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
            runtimes,
            held: None,
            late: VecDeque::new(),
            more: false,
            awake_until: None,
            vitals: what.vitals,
            rules,
            worker: Some(worker),
            own_pod: scoping.own_pod,
            journal,
            last,
            losses_at: None,
            _sampler: sampler,
        };
        live.late.push_back(Entry::Session(host::session()));
        live.late
            .extend(scoping.found.into_iter().map(Entry::Cgroup));
        live.late.push_back(Entry::Attached(attached));
        live.late
            .extend(unwatched.into_iter().map(Entry::Unwatched));
        live.flush_late();
        live.runtimes.may_answer();
        live.vitals.attached();
        Ok(live)
    }
}

/// What is said once every hook is attached.
fn attached(
    probe: &Probe,
    absent: Vec<Absent>,
    ring_bytes: u32,
    tick: Tick,
    started: Instant,
) -> Attached {
    for absent in &absent {
        log::info!("not to be had here: {}: {}", absent.what, absent.why);
    }
    Attached {
        boottime_ns: tick.boottime_ns,
        realtime_ns: tick.realtime_ns,
        oom_hook: probe.oom_hook().name().to_owned(),
        absent,
        symbols: probe.has_symbols(),
        ring_bytes: u64::from(ring_bytes),
        attach_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        resumed_since_ns: probe.resumed_since_ns(),
    }
}

/// Saves what programs and a journal of another version hold.
fn foreign(probe: &mut Probe, left: Option<&mut Left>) -> Vec<Unwatched> {
    let foreign = probe.take_foreign();
    match left {
        Some(left) => return left.save_foreign(foreign),
        None if foreign.is_empty() => {}
        None => log::error!(
            "what programs of another oomtrace have seen stays where it is: without a store there is no place to save it"
        ),
    }
    Vec::new()
}

/// A recording is not written over what a file holds already.
fn is_free(path: &Path) -> Result<()> {
    if fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() > 0) {
        return Err(anyhow!(
            "{} is there already and is not written over\ndo: remove it, or choose another name",
            path.display()
        ));
    }
    Ok(())
}

fn recording(path: &Path) -> Result<Writer<BufWriter<File>>> {
    File::create(path)
        .and_then(|file| Writer::new(BufWriter::new(file)))
        .with_context(|| format!("{} cannot be written", path.display()))
}
