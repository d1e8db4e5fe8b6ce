//! Which entries of a journal are needed yet, where it cannot be cut: those of deaths that are not
//! known whole or not stored, and what came about the time of those.

use std::collections::{BTreeSet, HashSet};

use crate::{
    event::{Event, Group, decode::Decoder, entry::Entry},
    provenance::Engine,
};

/// What came so long before or after a death may tell of it.
const AROUND_NS: u64 = 60_000_000_000;
/// What has come since then may tell of what comes next.
const RECENT_NS: u64 = 600_000_000_000;

/// See the module.
pub(super) struct Needed<'a> {
    engine: &'a Engine,
    decoder: &'a mut Decoder,
    unstored: HashSet<Group>,
    /// When those that are not known whole died, or were killed.
    times_ns: BTreeSet<u64>,
    containers: HashSet<&'a str>,
    now_ns: u64,
}

impl<'a> Needed<'a> {
    /// `unstored`: whose deaths are written and not stored.
    pub(super) fn new(
        engine: &'a Engine,
        decoder: &'a mut Decoder,
        unstored: impl Iterator<Item = Group>,
        now_ns: u64,
    ) -> Self {
        Self {
            engine,
            decoder,
            unstored: unstored.collect(),
            times_ns: engine.unsettled_ns().collect(),
            containers: engine
                .live_containers()
                .map(|facts| facts.id.as_str())
                .collect(),
            now_ns,
        }
    }

    /// Whether an entry that came at a moment is needed.
    pub(super) fn is(&mut self, entry: &Entry, came_ns: u64) -> bool {
        match entry {
            Entry::Kernel(_) => {
                let event = self.decoder.decode(entry).ok().flatten();
                match event.as_ref().and_then(group) {
                    Some(group) => {
                        self.engine.is_unsettled(&group) || self.unstored.contains(&group)
                    }
                    None => self.is_near(came_ns),
                }
            }
            Entry::ContainerFacts(facts) => self.is_of(&facts.id, came_ns),
            Entry::ContainerState(state) => self.is_of(&state.id, came_ns),
            Entry::ContainerUnknown(unknown) => self.is_of(&unknown.id, came_ns),
            Entry::ProcessState(_)
            | Entry::OomLine(_)
            | Entry::Cgroup(_)
            | Entry::MemoryCurve(_)
            | Entry::NodeMemory(_) => self.is_near(came_ns),
            // Losses count for whoever lived then, whenever it dies.
            Entry::Lost(_)
            // Whatever runs next may be what it has waited for.
            | Entry::EndedRun(_)
            | Entry::Session(_)
            | Entry::Attached(_)
            | Entry::Symbols(_)
            | Entry::Tick(_)
            | Entry::Unwatched(_)
            | Entry::Paused(_)
            | Entry::Stopped(_) => true,
        }
    }

    fn is_of(&self, container: &str, came_ns: u64) -> bool {
        self.containers.contains(container) || self.is_near(came_ns)
    }

    fn is_near(&self, came_ns: u64) -> bool {
        let around = came_ns.saturating_sub(AROUND_NS)..=came_ns.saturating_add(AROUND_NS);
        self.now_ns.saturating_sub(came_ns) < RECENT_NS
            || self.times_ns.range(around).next().is_some()
    }
}

/// Whom a record of the kernel's is about, where that is one thread group.
fn group(event: &Event) -> Option<Group> {
    match event {
        Event::Sigkill(kill) => Some(kill.victim.group),
        Event::Exit(exit) => Some(exit.victim.group),
        Event::Image(image) => Some(image.victim),
        _ => None,
    }
}
