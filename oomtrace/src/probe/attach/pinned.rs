//! A start with pins: those programs are taken over that are there, or they hand over to others.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use oomtrace_common::wire;

use super::{
    Loaded, Older, Options, Pinned, Probe, Stay, fresh, fresh::Pinning, kept, object::mark, oom,
};
use crate::{
    identity::host,
    probe::{
        error::ProbeError,
        layout::Layout,
        pins::{Generation, Pins, Programs},
        plan::Plan,
        support::KernelSupport,
    },
};

/// What a start with pins goes by.
pub(super) struct Start<'a> {
    pub(super) options: &'a Options,
    pub(super) support: &'a KernelSupport,
    pub(super) layout: &'a Layout,
}

impl Start<'_> {
    /// Takes over what is there, if it is what would be loaded now; else loads, and has those
    /// before hand over.
    pub(super) fn attach(
        &self,
        pins: Pins,
        pinned: &Pinned,
        plan: &Plan,
    ) -> Result<Probe, ProbeError> {
        // Where nothing is kept, nothing is known of those before either.
        let nobody = PathBuf::from("/");
        let reader = pinned.reader.as_ref().unwrap_or(&nobody);
        let is_ours = |before: &Generation| before.reader().as_ref() == Some(reader);
        let programs = Programs {
            wire: wire::VERSION,
            mark: mark(self.options),
        };
        let mut older = pins.generations()?;
        let kept = older
            .iter()
            .rposition(|generation| generation.programs == programs);
        if let Some(kept) = kept {
            let generation = older.remove(kept);
            let mut absent = self.layout.absent.clone();
            absent.extend(plan.absent.iter().cloned());
            let taken =
                kept::take_over(&generation, self.options, self.support, self.layout, absent);
            match taken {
                Ok(loaded) => {
                    let before = Before::of(older);
                    let has_seen_all = before.is_whole() && is_ours(&generation);
                    let since_ns = has_seen_all.then_some(generation.since_ns);
                    note_reader(&generation, reader)?;
                    return Ok(probe(loaded, pins, since_ns, before));
                }
                // It is not whole; what it has seen is read all the same.
                Err(error) => {
                    log::warn!("the programs that are there cannot be gone on with: {error}");
                    older.push(generation);
                }
            }
        }
        let before = Before::of(older);
        let latest = before.older.back().map(Older::generation);
        let folder = pins.begin()?;
        let pinning = Pinning {
            folder: &folder,
            before: latest,
        };
        let loaded = fresh::attach(
            self.options,
            self.support,
            self.layout,
            plan.clone(),
            Some(&pinning),
        )
        .inspect_err(|_| pins.give_up())?;
        // Only those that were all there, and can be read, have missed nothing.
        let has_seen_all = |latest: &&Generation| {
            before.is_whole()
                && is_ours(latest)
                // The same that are loaded now were not whole.
                && latest.programs != programs
                && latest.is_hooked(&oom::PROGRAMS).unwrap_or(false)
        };
        let since_ns = latest.filter(has_seen_all).map(|latest| latest.since_ns);
        let now_ns = host::now().boottime_ns;
        let generation = pins.finish(programs, since_ns.unwrap_or(now_ns))?;
        note_reader(&generation, reader)?;
        // From here on there are others: those before go.
        Ok(probe(loaded, pins, since_ns, before))
    }
}

fn note_reader(generation: &Generation, reader: &Path) -> Result<(), ProbeError> {
    generation
        .set_reader(reader)
        .map_err(|error| ProbeError::Pin(format!("who reads them cannot be noted: {error}")))
}

/// Sets of programs that others take the place of.
struct Before {
    older: VecDeque<Older>,
    /// What these have seen cannot be read: they stay where they are, without hooks.
    unreadable: Vec<Generation>,
}

impl Before {
    fn of(generations: Vec<Generation>) -> Self {
        let mut before = Self {
            older: VecDeque::new(),
            unreadable: Vec::new(),
        };
        for generation in generations {
            match Older::open(generation.clone()) {
                Ok(older) => before.older.push_back(older),
                Err(error) => {
                    log::error!("what programs of before have seen cannot be read: {error}");
                    before.unreadable.push(generation);
                }
            }
        }
        before
    }

    /// Whether all can be read that has watched until now.
    fn is_whole(&self) -> bool {
        let is_hooked = |generation: &Generation| generation.has_hooks().unwrap_or(true);
        !self.unreadable.iter().any(is_hooked)
    }
}

fn probe(loaded: Loaded, pins: Pins, since_ns: Option<u64>, before: Before) -> Probe {
    let mut probe = Probe::of(
        loaded,
        Some(Stay {
            _pins: pins,
            since_ns,
        }),
    );
    for mut older in before.older {
        if let Err(error) = older.unhook() {
            log::error!("programs of before stay hooked: {error}");
        }
        probe.older.push_back(older);
    }
    for generation in before.unreadable {
        if let Err(error) = generation.detach_all() {
            log::error!("programs of before stay hooked: {error}");
        }
    }
    probe
}
