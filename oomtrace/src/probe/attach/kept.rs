//! Programs that were there before: taken over as they are, or read to the end and removed.

use std::{
    io,
    time::{Duration, Instant},
};

use aya::{
    maps::{MapData, RingBuf},
    programs::{RawTracePoint, links::PinnedLink},
};

use super::{
    Held, Loaded, Options,
    fresh::{names, pinned_map},
    object::{MISSED, TRACEPOINTS, explain, load, map_error},
    oom,
};
use crate::{
    event::entry::{Absent, Lost},
    identity::host,
    probe::{
        error::ProbeError,
        layout::Layout,
        losses::{LossMaps, LossReader},
        pins::Generation,
        support::{Availability, KernelSupport},
    },
};

/// A program that was at work when its hook was taken away has ended by then.
const AT_WORK: Duration = Duration::from_secs(1);

/// Takes over a generation as it is.
pub(super) fn take_over(
    generation: &Generation,
    options: &Options,
    support: &KernelSupport,
    layout: &Layout,
    mut absent: Vec<Absent>,
) -> Result<Loaded, ProbeError> {
    let pin = |error: &dyn std::error::Error| ProbeError::Pin(explain(error));
    let mut links = Vec::new();
    for (name, _) in TRACEPOINTS {
        let link = PinnedLink::from_pin(generation.link(name)).map_err(|error| pin(&error))?;
        links.push(link);
    }
    let kept = oom::take_over(generation);
    links.extend(kept.link);
    let mut symbols = (None, true);
    if support.symbols != Availability::Yes {
        // The program that names is run on demand, and by whoever has loaded it.
        let options = Options {
            ring_bytes: u32::try_from(host::page_bytes()).unwrap_or(options.ring_bytes),
            ..options.clone()
        };
        symbols = names(support, &mut load(&options, layout, &[])?, &mut absent);
    }
    let Read { ring, losses } = read(generation)?;
    Ok(Loaded {
        _held: Held {
            _ebpf: None,
            _links: links,
            _oom: kept.program,
        },
        ring,
        losses,
        logger: None,
        hook: kept.hook,
        namer: symbols.0,
        symbols: symbols.1,
        own: Err("no scope was asked for".to_owned()),
        scope: None,
        absent,
    })
}

/// What is read of a generation.
struct Read {
    ring: RingBuf<MapData>,
    losses: LossReader,
}

fn read(generation: &Generation) -> Result<Read, ProbeError> {
    let ring =
        RingBuf::try_from(pinned_map(generation, "EVENTS")?).map_err(|error| map_error(&error))?;
    let maps = LossMaps {
        counters: pinned_map(generation, "LOSSES")?,
        round: pinned_map(generation, "ROUND")?,
        told: pinned_map(generation, "TOLD")?,
    };
    let mut losses =
        LossReader::new(maps, generation.since_ns).map_err(|error| map_error(&error))?;
    for missed in MISSED
        .iter()
        .filter(|missed| generation.has(missed.program))
    {
        RawTracePoint::from_pin(generation.program(missed.program))
            .and_then(|program| Ok(losses.watch(missed.kind, missed.place, program.fd()?)?))
            .map_err(|error| ProbeError::Pin(explain(&error)))?;
    }
    Ok(Read { ring, losses })
}

/// A generation that goes: its hooks first; what it has seen is read to the end, then it is removed.
pub struct Older {
    generation: Generation,
    read: Read,
    /// Since when its hooks are gone.
    unhooked: Instant,
}

impl Older {
    /// A generation whose hooks are gone. What cannot be read of it is an error, and stays where
    /// it is.
    pub fn of(generation: Generation) -> Result<Self, ProbeError> {
        let mut older = Self::open(generation)?;
        older.unhook()?;
        Ok(older)
    }

    /// The same, with its hooks as they were.
    pub(super) fn open(generation: Generation) -> Result<Self, ProbeError> {
        Ok(Self {
            read: read(&generation)?,
            generation,
            unhooked: Instant::now(),
        })
    }

    pub(super) fn unhook(&mut self) -> Result<(), ProbeError> {
        self.generation
            .detach_all()
            .map_err(|error| ProbeError::Pin(error.to_string()))?;
        self.unhooked = Instant::now();
        Ok(())
    }

    pub(super) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Layout of its records: `wire::VERSION`.
    #[must_use]
    pub fn wire(&self) -> u16 {
        self.generation.wire()
    }

    /// Since when it has watched: `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn since_ns(&self) -> u64 {
        self.generation.since_ns
    }

    /// The next record, handed to `take` before its place is free.
    pub fn next_record<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.read.ring.next().map(|item| take(&item))
    }

    /// No program of it can be at work any more: when nothing is there now, nothing will be.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.unhooked.elapsed() >= AT_WORK
    }

    /// Removes it; returns what it has lost that nobody was told of.
    pub fn remove(mut self) -> io::Result<Vec<Lost>> {
        let lost = self.read.losses.read().map_err(io::Error::other)?;
        self.generation.remove()?;
        Ok(lost)
    }
}
