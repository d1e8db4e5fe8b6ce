//! Containers and units that run again after a death that ended them.

mod runs;

pub(super) use self::runs::Runs;
use self::runs::{Ender, Next};
use super::{
    Output,
    engine::Engine,
    naming,
    record::{Cause, Death, Record, Restart, SCHEMA},
    role::Role,
    words,
};
use crate::{
    event::container::{CgroupChange, CgroupChangeKind, RunName},
    identity::place::Place,
};

impl Engine {
    /// A death was written: a run may be over with it.
    /// Returns what has followed on it already.
    pub(super) fn note_end(&mut self, death: &Death) -> Option<Output> {
        let outcome = death.outcome?;
        let victim = &death.victim;
        let is_main = victim.is_main();
        let along = [Cause::NamespaceExit, Cause::ParentDeath, Cause::TracerExit];
        let went_along = death.caused_by.is_some() || along.contains(&death.cause);
        if !is_main && went_along || victim.role == Some(Role::RuntimeHelper) {
            return None;
        }
        let place = self
            .containers
            .place_at(victim.cgroup.as_deref(), victim.unified_cgroup.as_deref());
        let name = self.container_name(&place);
        let latency_ns = outcome.latency_us.unwrap_or_default().saturating_mul(1_000);
        let ender = Ender {
            id: death.id.clone(),
            died_ns: death.boottime_ns.saturating_add(latency_ns),
            is_main,
            name,
        };
        let mut next = None;
        for path in own_paths(&place) {
            next = next.or(self.runs.died(path, ender.clone()));
        }
        self.restart(next?)
    }

    /// A cgroup came, or its last process has gone.
    pub(super) fn note_run(&mut self, change: &CgroupChange) -> Option<Output> {
        let place = self.containers.locate(&change.path);
        if !own_paths(&place).any(|path| path == change.path) {
            return None;
        }
        let next = match change.kind {
            CgroupChangeKind::Made => self.runs.made(&change.path, change.boottime_ns),
            CgroupChangeKind::Emptied => self.runs.emptied(&change.path, change.boottime_ns),
            CgroupChangeKind::Found => None,
        };
        self.restart(next?)
    }

    /// It is known what a container is called: it may be the next one by that name.
    pub(super) fn note_name(&mut self, id: &str) -> Option<Output> {
        let path = self.containers.get(id)?.cgroup.clone()?;
        let name = self.container_name(&self.containers.locate(&path))?;
        let next = self.runs.named(&path, name)?;
        self.restart(next)
    }

    /// What the container there is called, and by whom.
    fn container_name(&self, place: &Place) -> Option<RunName> {
        let own = place.containers.first()?;
        let container = naming::container_name(own, &self.containers);
        // That it is in a pod, its path tells before anybody has said in which.
        if place.pod.is_some() && container.pod.is_none() {
            return None;
        }
        Some(RunName {
            runtime: container.runtime,
            manager: user_manager(&own.cgroup).map(str::to_owned),
            namespace: container.namespace,
            pod: container.pod,
            container: container.name?,
        })
    }

    fn restart(&self, next: Next) -> Option<Output> {
        let place = self.containers.locate(&next.path);
        let container = place.containers.first();
        let known = container.and_then(|container| self.containers.get(&container.id));
        let in_container = container.map(|container| naming::container_label(container, known));
        let unit = place.unit.as_ref().filter(|unit| unit.cgroup == next.path);
        let is_container = container.is_some_and(|container| container.cgroup == next.path);
        let unit = unit.filter(|_| !is_container);
        let who = match (unit, in_container) {
            (Some(unit), Some(container)) => format!("{} in container {container}", unit.name),
            (Some(unit), None) => match unit.user {
                Some(user) => format!("{} of user {user}", unit.name),
                None => unit.name.clone(),
            },
            (None, Some(container)) => format!("container {container}"),
            (None, None) => return None,
        };
        // Whoever looks into the first one's logs looks in vain.
        let anew = container
            .filter(|_| is_container && next.path != next.before)
            .map_or_else(String::new, |container| {
                let id = naming::short(&container.id);
                format!(" as another container, {id}")
            });
        let after_ns = next.began_ns.saturating_sub(next.ended_ns);
        let after = words::stretch_ns(after_ns);
        Some(Output::record(Record::Restart(Restart {
            schema: SCHEMA,
            of: next.of,
            time: self.clock.format(next.began_ns),
            boottime_ns: next.began_ns,
            after_ms: after_ns / 1_000_000,
            container: container
                .map(|container| naming::container_name(container, &self.containers)),
            unit: unit.map(naming::unit),
            summary: format!("{who} was started again{anew}, {after} after it had ended"),
        })))
    }
}

/// The user's service manager that this cgroup is below, if it is one's.
fn user_manager(path: &str) -> Option<&str> {
    path.split('/')
        .find(|name| name.starts_with("user@") && name.ends_with(".service"))
}

/// The cgroups whose making begins a run of what runs there: its container's own and its unit's own.
fn own_paths(place: &Place) -> impl Iterator<Item = &str> {
    let container = place.containers.first();
    let container = container.map(|container| container.cgroup.as_str());
    let unit = place.unit.as_ref().map(|unit| unit.cgroup.as_str());
    container
        .into_iter()
        .chain(unit.filter(|unit| container != Some(*unit)))
}
