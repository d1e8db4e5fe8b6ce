//! Containers and units that run again after a death that ended them, as their cgroups tell: one
//! is made for each run. A container that was made anew is known by its name, once somebody has
//! told that.

use std::collections::HashMap;

use super::{
    Output,
    engine::Engine,
    naming,
    record::{Cause, ContainerName, Death, Record, Restart, SCHEMA},
    role::Role,
    words,
};
use crate::{
    event::container::{CgroupChange, CgroupChangeKind},
    identity::place::ContainerPlace,
};

/// A run that begins so long after the death of a main process is the next one after it still.
const AGAIN_NS: u64 = 24 * 60 * 60 * 1_000_000_000;
/// The same, where another process of it died: that need not have ended anything.
const SOON_AGAIN_NS: u64 = 10 * 60 * 1_000_000_000;
/// So many containers and units are remembered; then the older half of them is forgotten.
const MOST: usize = 4096;

/// By what the next run of the same is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Id(String),
    /// Of a container that was made anew.
    Name {
        runtime: Option<String>,
        namespace: Option<String>,
        pod: Option<String>,
        name: String,
    },
    /// A unit, by its cgroup.
    Unit(String),
}

impl Key {
    fn of_name(container: ContainerName) -> Option<Self> {
        Some(Self::Name {
            runtime: container.runtime,
            namespace: container.namespace,
            pod: container.pod,
            name: container.name?,
        })
    }
}

/// A run that is over, or may be.
#[derive(Clone, Debug)]
struct Over {
    /// The death that ended it.
    id: String,
    died_ns: u64,
    /// The main process itself died, or the container ended with it.
    is_certain: bool,
    keys: Vec<Key>,
    /// The run after it was told.
    is_told: bool,
}

impl Over {
    fn is_followed_at(&self, now_ns: u64) -> bool {
        let within = if self.is_certain {
            AGAIN_NS
        } else {
            SOON_AGAIN_NS
        };
        !self.is_told && now_ns >= self.died_ns && now_ns - self.died_ns <= within
    }

    /// Whether another death, or another revision of this one, changes nothing.
    fn stays(&self, other: &Self) -> bool {
        if self.is_told {
            return self.id == other.id;
        }
        // What dies after the main process went with it.
        self.is_certain && !other.is_certain
    }
}

/// Runs that are over, the latest of each container and unit.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    over: HashMap<Key, Over>,
}

impl Restarts {
    fn note(&mut self, over: &Over) {
        for key in &over.keys {
            if !self.over.get(key).is_some_and(|before| before.stays(over)) {
                self.over.insert(key.clone(), over.clone());
            }
        }
        if self.over.len() > MOST {
            let mut died: Vec<u64> = self.over.values().map(|over| over.died_ns).collect();
            died.sort_unstable();
            let middle = died.get(died.len() / 2).copied().unwrap_or_default();
            self.over.retain(|_, over| over.died_ns > middle);
        }
    }

    /// The run before the one that begins at this time.
    fn take(&mut self, key: &Key, began_ns: u64) -> Option<Over> {
        let over = self.over.get(key)?.clone();
        if !over.is_followed_at(began_ns) {
            return None;
        }
        for key in &over.keys {
            let same = self.over.get_mut(key).filter(|other| other.id == over.id);
            if let Some(same) = same {
                same.is_told = true;
            }
        }
        Some(over)
    }
}

impl Engine {
    /// A death was written: what ran may be over, and run again.
    pub(super) fn note_over(&mut self, death: &Death) {
        let Some(outcome) = death.outcome else {
            return;
        };
        let is_main = matches!(
            death.victim.role,
            Some(Role::ContainerInit | Role::UnitMain)
        );
        let went_along = death.caused_by.is_some()
            || matches!(
                death.cause,
                Cause::NamespaceExit | Cause::ParentDeath | Cause::TracerExit
            );
        if !is_main && went_along || death.victim.role == Some(Role::RuntimeHelper) {
            return;
        }
        let victim = &death.victim;
        let place = self
            .containers
            .place_at(victim.cgroup.as_deref(), victim.unified_cgroup.as_deref());
        let container = place.containers.first();
        let id = container.map(|container| Key::Id(container.id.clone()));
        let name = container.map(|container| naming::container_name(container, &self.containers));
        let name = name.and_then(Key::of_name);
        let unit = place.unit.map(|unit| Key::Unit(unit.cgroup));
        let latency_us = outcome.latency_us.unwrap_or_default();
        self.restarts.note(&Over {
            id: death.id.clone(),
            died_ns: death
                .boottime_ns
                .saturating_add(latency_us.saturating_mul(1_000)),
            is_certain: is_main || outcome.container_survived == Some(false),
            keys: [id, name, unit].into_iter().flatten().collect(),
            is_told: false,
        });
    }

    /// A cgroup was made: a container by the same id, or a unit, may run again.
    pub(super) fn begins_by_cgroup(&mut self, change: &CgroupChange, out: &mut Vec<Output>) {
        if change.kind != CgroupChangeKind::Made {
            return;
        }
        let began_ns = change.boottime_ns;
        let place = self.containers.locate(&change.path);
        let mut containers = place.containers.into_iter();
        if let Some(container) = containers.find(|container| container.cgroup == change.path) {
            let key = Key::Id(container.id.clone());
            if let Some(over) = self.restarts.take(&key, began_ns) {
                self.tell(&over, began_ns, Some(&container), None, out);
            }
        } else if let Some(unit) = place.unit.filter(|unit| unit.cgroup == change.path)
            && let Some(over) = self.restarts.take(&Key::Unit(unit.cgroup), began_ns)
        {
            self.tell(&over, began_ns, None, Some(unit.name), out);
        }
    }

    /// What a container is called is known: it may be the next one of this name.
    pub(super) fn begins_by_name(&mut self, id: &str, out: &mut Vec<Output>) {
        let Some(known) = self.containers.get(id) else {
            return;
        };
        let Some(began_ns) = known.made_ns else {
            return;
        };
        let container = ContainerPlace {
            runtime: None,
            id: id.to_owned(),
            cgroup: String::new(),
        };
        let key = Key::of_name(naming::container_name(&container, &self.containers));
        if let Some(over) = key.and_then(|key| self.restarts.take(&key, began_ns)) {
            self.tell(&over, began_ns, Some(&container), None, out);
        }
    }

    fn tell(
        &self,
        over: &Over,
        began_ns: u64,
        container: Option<&ContainerPlace>,
        unit: Option<String>,
        out: &mut Vec<Output>,
    ) {
        let after_ns = began_ns.saturating_sub(over.died_ns);
        let label = match (container, &unit) {
            (Some(container), _) => {
                let known = self.containers.get(&container.id);
                format!("container {}", naming::container_label(container, known))
            }
            (None, Some(unit)) => unit.clone(),
            (None, None) => return,
        };
        out.push(Output::record(Record::Restart(Restart {
            schema: SCHEMA,
            of: over.id.clone(),
            time: self.clock.format(began_ns),
            boottime_ns: began_ns,
            after_ms: after_ns / 1_000_000,
            container: container
                .map(|container| naming::container_name(container, &self.containers)),
            unit,
            summary: format!(
                "{label} was started again, {} after it had ended",
                words::duration_ns(after_ns)
            ),
        })));
    }
}
