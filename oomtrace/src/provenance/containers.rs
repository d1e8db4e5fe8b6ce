//! Containers that are known: what runtimes keep about them, when they came and went. All of
//! it comes in as events.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::record::Death;
use crate::{
    event::{
        Group, Process,
        container::{
            Ask, CgroupChange, CgroupChangeKind, ContainerFacts, ContainerState, ContainerUnknown,
            What,
        },
    },
    identity::place::{ContainerPlace, Place, UnitPlace},
};

/// So many are remembered; the ones that came first go first.
const MOST: usize = 8192;
/// What was asked for and not answered is asked for again after this.
const ASK_AGAIN_NS: u64 = 5_000_000_000;
/// What is said to be no container so often is none: what tells that it is one may be written
/// well after its cgroup was made.
const MOST_DENIALS: u32 = 3;

/// One container.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) facts: Option<Arc<ContainerFacts>>,
    /// Path of its own cgroup, of the latest that was seen.
    pub(super) cgroup: Option<String>,
    /// Nobody knows more than its cgroup's path.
    pub(super) is_unknown: bool,
    asked_ns: Option<u64>,
    /// Its init, once that was seen to die.
    pub(super) init: Option<Group>,
    /// When its cgroup was made, if that was seen.
    pub(super) made_ns: Option<u64>,
    /// When its last process had gone.
    pub(super) emptied_ns: Option<u64>,
    /// How it stands or ended, in its runtime's words.
    pub(super) end: Option<Arc<ContainerState>>,
    end_asked_ns: Option<u64>,
    /// Nobody could tell how it ended.
    pub(super) no_end: bool,
    /// The latest OOM kill in it: when, of whom, and that death's id.
    pub(super) oom: Option<Oom>,
}

/// A death that others are linked to: an OOM kill in a container or unit, mostly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Oom {
    pub(super) boottime_ns: u64,
    pub(super) who: String,
    pub(super) id: String,
}

impl Oom {
    /// A death, as another one speaks of it.
    pub(super) fn of(death: &Death) -> Self {
        Self {
            boottime_ns: death.boottime_ns,
            who: death.victim.label(),
            id: death.id.clone(),
        }
    }
}

impl Known {
    /// What can be known of it is known.
    pub(super) fn is_answered(&self) -> bool {
        self.is_unknown || self.facts.as_ref().is_some_and(|facts| facts.is_final)
    }

    /// Some source here can tell how it ended.
    pub(super) fn can_tell_end(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.can_tell_end)
    }
}

/// What may be a container's cgroup, one in each hierarchy.
#[derive(Debug, Default)]
struct Maybe {
    paths: Vec<String>,
    asked_ns: u64,
    /// How often it was asked, and the answer was no.
    denied: u32,
    /// It is asked, and there is no answer yet.
    is_open: bool,
}

/// All containers that are known, by id.
#[derive(Debug, Default)]
pub(super) struct Containers {
    known: HashMap<String, Known>,
    order: VecDeque<String>,
    /// Cgroups that may be a container's, by what its id would be: runc and crun by themselves
    /// call them as they like.
    maybe: HashMap<String, Maybe>,
    /// Those that are.
    declared: HashMap<String, ContainerPlace>,
    /// The main process of each unit in which it has died, by the unit's cgroup.
    mains: HashMap<String, DeadMain>,
}

/// The main process of a unit, and when it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeadMain {
    pub(super) group: Group,
    pub(super) died_ns: u64,
}

impl Containers {
    /// What is known of those that are there.
    pub(super) fn live(&self) -> impl Iterator<Item = &ContainerFacts> {
        let is_there = |id: &&String| {
            self.known
                .get(*id)
                .is_some_and(|known| known.emptied_ns.is_none())
        };
        let ids = self.order.iter().filter(is_there);
        ids.filter_map(|id| self.known.get(id)?.facts.as_deref())
    }

    pub(super) fn get(&self, id: &str) -> Option<&Known> {
        self.known.get(id)
    }

    fn entry(&mut self, id: &str) -> &mut Known {
        if !self.known.contains_key(id) {
            self.order.push_back(id.to_owned());
            if self.order.len() > MOST {
                self.forget_one();
            }
        }
        self.known.entry(id.to_owned()).or_default()
    }

    /// Forgets the first that is over; where none of the first is, the very first.
    fn forget_one(&mut self) {
        /// So many are looked at.
        const LOOK: usize = 64;
        let is_over = |id: &String| {
            self.known
                .get(id)
                .is_none_or(|known| known.emptied_ns.is_some() || known.is_unknown)
        };
        let at = self.order.iter().take(LOOK).position(is_over);
        match at {
            Some(at) => {
                if let Some(id) = self.order.remove(at) {
                    self.known.remove(&id);
                }
            }
            // They live on: others are looked at the next time.
            None => self.order.rotate_left(LOOK.min(self.order.len())),
        }
        if self.order.len() > 2 * MOST
            && let Some(id) = self.order.pop_front()
        {
            self.known.remove(&id);
        }
    }

    /// The container that begins its next run with this change.
    pub(super) fn begins_anew(&self, change: &CgroupChange) -> Option<String> {
        if change.kind != CgroupChangeKind::Made {
            return None;
        }
        let containers = self.locate(&change.path).containers;
        let own = containers
            .into_iter()
            .find(|container| container.cgroup == change.path)?;
        let known = self.known.get(&own.id)?;
        known.emptied_ns.is_some().then_some(own.id)
    }

    /// Takes a cgroup's coming or going; returns what is to be asked.
    pub(super) fn cgroup(&mut self, change: &CgroupChange) -> Option<Ask> {
        let place = self.locate(&change.path);
        self.mains.remove(&change.path);
        if place == Place::default() && change.kind != CgroupChangeKind::Emptied {
            return self.ask_whether(change);
        }
        // What is below a container's own cgroup says nothing of the container.
        let own = place
            .containers
            .into_iter()
            .find(|container| container.cgroup == change.path)?;
        let known = self.entry(&own.id);
        known.cgroup = Some(own.cgroup.clone());
        match change.kind {
            CgroupChangeKind::Made => {
                // There may be one in each hierarchy; and a container can be started again.
                if known.emptied_ns.is_some() || known.made_ns.is_none() {
                    known.made_ns = Some(change.boottime_ns);
                    known.emptied_ns = None;
                    known.end = None;
                    known.end_asked_ns = None;
                    known.no_end = false;
                    known.oom = None;
                    known.init = None;
                    known.asked_ns = None;
                    known.is_unknown = false;
                    // The names stay; who its process 1 is must be asked anew.
                    if let Some(facts) = &mut known.facts
                        && facts.init_pid.is_some()
                    {
                        Arc::make_mut(facts).init_pid = None;
                    }
                }
                self.ask_facts(&own, change.boottime_ns)
            }
            CgroupChangeKind::Found => self.ask_facts(&own, change.boottime_ns),
            CgroupChangeKind::Emptied => {
                known.emptied_ns.get_or_insert(change.boottime_ns);
                None
            }
        }
    }

    /// A question about a container, unless it was asked just now.
    pub(super) fn ask_facts(&mut self, container: &ContainerPlace, now_ns: u64) -> Option<Ask> {
        let known = self.entry(&container.id);
        let asked = known.asked_ns.is_some_and(|asked| {
            known.is_answered() || now_ns < asked.saturating_add(ASK_AGAIN_NS)
        });
        if asked {
            return None;
        }
        known.asked_ns = Some(now_ns);
        Some(Ask {
            id: container.id.clone(),
            cgroup: container.cgroup.clone(),
            what: What::Facts,
        })
    }

    /// The question how a container has ended, once for each end.
    pub(super) fn ask_end(&mut self, container: &ContainerPlace, now_ns: u64) -> Option<Ask> {
        let known = self.entry(&container.id);
        if known.end_asked_ns.is_some() {
            return None;
        }
        known.end_asked_ns = Some(now_ns);
        Some(Ask {
            id: container.id.clone(),
            cgroup: container.cgroup.clone(),
            what: What::End {
                since_ns: known.made_ns.unwrap_or_default(),
            },
        })
    }

    /// Asks whether a cgroup is a container's of which the path tells nothing.
    fn ask_whether(&mut self, change: &CgroupChange) -> Option<Ask> {
        let id = change.path.rsplit('/').next().filter(|id| !id.is_empty())?;
        if self.maybe.len() >= MOST {
            self.maybe.retain(|_, maybe| maybe.is_open);
        }
        if self.maybe.len() >= MOST {
            self.maybe.clear();
        }
        let maybe = self.maybe.entry(id.to_owned()).or_default();
        maybe.asked_ns = change.boottime_ns;
        maybe.is_open = true;
        maybe.denied = 0;
        maybe.paths.retain(|path| *path != change.path);
        if maybe.paths.len() < 2 {
            maybe.paths.push(change.path.clone());
        }
        Some(Ask {
            id: id.to_owned(),
            cgroup: change.path.clone(),
            what: What::Whether,
        })
    }

    /// Where what runs at this path runs.
    pub(super) fn locate(&self, path: &str) -> Place {
        let mut place = Place::of(path);
        if place.containers.is_empty() && !self.declared.is_empty() {
            let declared = levels(path).find_map(|path| self.declared.get(path));
            place.containers.extend(declared.cloned());
        }
        place
    }

    /// What was asked about a cgroup and is not answered is asked again: not every question finds
    /// room.
    pub(super) fn ask_again(&mut self, path: &str, now_ns: u64) -> Option<Ask> {
        if let Some(container) = self.locate(path).containers.first() {
            return self.ask_facts(container, now_ns);
        }
        let container = self.open_at(path)?;
        let maybe = self.maybe.get_mut(&container.id)?;
        if now_ns < maybe.asked_ns.saturating_add(ASK_AGAIN_NS) {
            return None;
        }
        maybe.asked_ns = now_ns;
        Some(Ask {
            id: container.id,
            cgroup: container.cgroup,
            what: What::Whether,
        })
    }

    /// The innermost cgroup of a path that may be a container's.
    fn maybe_at(&self, path: &str, wanted: impl Fn(&Maybe) -> bool) -> Option<ContainerPlace> {
        levels(path).find_map(|path| {
            let id = path.rsplit('/').next()?;
            let maybe = self.maybe.get(id).filter(|maybe| wanted(maybe))?;
            let is_it = maybe.paths.iter().any(|asked| asked == path);
            is_it.then(|| ContainerPlace {
                runtime: None,
                id: id.to_owned(),
                cgroup: path.to_owned(),
            })
        })
    }

    /// The same, of those of which it is still asked.
    pub(super) fn open_at(&self, path: &str) -> Option<ContainerPlace> {
        self.maybe_at(path, |maybe| maybe.is_open)
    }

    /// What a process may have been in, as far as nobody has said yet.
    pub(super) fn pending(&self, process: &Process) -> Option<ContainerPlace> {
        process.cgroups().find_map(|path| self.open_at(path))
    }

    /// Asks once more whether a process that died was in a container, where the answer was no
    /// when its cgroup was new. A container that nothing but its runtime knows has a PID namespace
    /// of its own.
    pub(super) fn ask_at_death(&mut self, process: &Process, now_ns: u64) -> Option<Ask> {
        if process.ns_level == 0 {
            return None;
        }
        let container = process
            .cgroups()
            .find_map(|path| self.maybe_at(path, |_| true))?;
        let maybe = self.maybe.get_mut(&container.id)?;
        if maybe.is_open {
            return None;
        }
        maybe.is_open = true;
        maybe.asked_ns = now_ns;
        Some(Ask {
            id: container.id,
            cgroup: container.cgroup,
            what: What::Whether,
        })
    }

    /// Whether it is still asked whether this is a container.
    pub(super) fn is_pending(&self, container: &ContainerPlace) -> bool {
        self.maybe
            .get(&container.id)
            .is_some_and(|maybe| maybe.is_open && maybe.paths.contains(&container.cgroup))
    }

    /// Where a process ran.
    pub(super) fn place(&self, process: &Process) -> Place {
        self.place_at(
            process.memory_cgroup.as_deref(),
            process.unified_cgroup.as_deref(),
        )
    }

    /// Where a process ran, by the paths of its cgroups.
    pub(super) fn place_at(&self, memory: Option<&str>, unified: Option<&str>) -> Place {
        let of = |path: Option<&str>| path.map(|path| self.locate(path)).unwrap_or_default();
        let memory = of(memory);
        let unified = of(unified);
        // On hybrid hosts either may be the one that tells.
        if memory.containers.len() >= unified.containers.len() {
            // Of two units the inner one counts: a user's own below `user@1000.service`.
            let depth = |unit: &Option<UnitPlace>| {
                unit.as_ref().map(|unit| unit.cgroup.matches('/').count())
            };
            let unit = if depth(&unified.unit) > depth(&memory.unit) {
                unified.unit
            } else {
                memory.unit
            };
            Place { unit, ..memory }
        } else {
            Place {
                pod: unified.pod.or(memory.pod),
                ..unified
            }
        }
    }

    pub(super) fn facts(&mut self, facts: ContainerFacts) {
        if facts.runtime.is_some() {
            for cgroup in self.maybe.remove(&facts.id).unwrap_or_default().paths {
                if self.declared.len() >= MOST {
                    self.declared.clear();
                }
                let place = ContainerPlace {
                    runtime: None,
                    id: facts.id.clone(),
                    cgroup: cgroup.clone(),
                };
                self.declared.insert(cgroup, place);
            }
        }
        let known = self.entry(&facts.id);
        known.is_unknown = false;
        known.facts = Some(Arc::new(facts));
    }

    pub(super) fn state(&mut self, state: ContainerState) {
        let Some(known) = self.known.get_mut(&state.id) else {
            return;
        };
        // An answer to what was asked of an earlier run.
        if state.since_ns != known.made_ns.unwrap_or_default() {
            return;
        }
        if state.running == Some(true) {
            // It may end yet, and is then asked again.
            known.end_asked_ns = None;
        }
        known.end = Some(Arc::new(state));
    }

    pub(super) fn unknown(&mut self, unknown: &ContainerUnknown) {
        if unknown.is_busy && !unknown.of_end {
            // Whoever waits for it asks again.
            return;
        }
        if let Some(maybe) = self
            .maybe
            .get_mut(&unknown.id)
            .filter(|maybe| maybe.is_open)
        {
            maybe.is_open = false;
            maybe.denied += 1;
            if maybe.denied >= MOST_DENIALS {
                self.maybe.remove(&unknown.id);
            }
            if !self.known.contains_key(&unknown.id) {
                // No container at all, as far as anybody can say now.
                return;
            }
        }
        let Some(known) = self.known.get_mut(&unknown.id) else {
            return;
        };
        if unknown.of_end {
            known.no_end = true;
        } else if known.facts.is_none() {
            known.is_unknown = true;
        }
    }

    /// Remembers the main process of a unit, at its death.
    pub(super) fn main(&mut self, cgroup: &str, group: Group, died_ns: u64) {
        if self.mains.len() >= MOST {
            self.mains.clear();
        }
        self.mains
            .insert(cgroup.to_owned(), DeadMain { group, died_ns });
    }

    /// The main process of a unit that has died.
    pub(super) fn dead_main(&self, cgroup: &str) -> Option<DeadMain> {
        self.mains.get(cgroup).copied()
    }

    /// Remembers who its init was.
    pub(super) fn init(&mut self, id: &str, group: Group) {
        self.entry(id).init = Some(group);
    }

    /// Remembers an OOM kill.
    pub(super) fn oom(&mut self, id: &str, oom: Oom) {
        self.entry(id).oom = Some(oom);
    }
}

/// A path, and those above it up to the root's.
fn levels(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| {
        path.rsplit_once('/').map(|(above, _)| above)
    })
}
