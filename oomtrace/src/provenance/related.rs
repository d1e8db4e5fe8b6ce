//! Deaths that led to others, beyond what parents and namespaces tell: an OOM kill for which a
//! service manager ends the rest of the unit, a dead shim whose container its runtime cleans
//! up.

use std::collections::{HashMap, VecDeque};

use super::{
    claims,
    containers::Oom,
    record::{ActorKind, Cause, Death, Evidence},
    role::Role,
    rules::{Role as ActorRole, Rules},
};
use crate::{
    event::{Process, Sigkill},
    identity::place::Place,
};

/// A service manager begins to end the rest of a unit within this time of an OOM kill.
const UNIT_NS: u64 = 5 * 1_000_000_000;
/// What is left of a unit is killed within this time of its main process.
const REST_NS: u64 = 2 * 1_000_000_000;
/// What lies further back is forgotten when there is too much.
const OLD_NS: u64 = 100 * 1_000_000_000;
/// A runtime cleans up after a dead shim within this time.
const SHIM_NS: u64 = 60 * 1_000_000_000;
/// A client ends within this time of its container.
const CLIENT_NS: u64 = 10 * 1_000_000_000;
/// So many are remembered.
const MOST: usize = 1024;
const MOST_CONTAINERS: usize = 64;

/// What was seen lately.
#[derive(Debug, Default)]
pub(super) struct Related {
    /// The latest OOM kill in each unit, by its cgroup.
    ooms: HashMap<String, Oom>,
    /// The latest of each unit that was killed after it had been asked to stop.
    stops: HashMap<String, Oom>,
    /// The deaths of containers' shims, by what they were told was their container's id: its
    /// pod's sandbox, for some.
    shims: HashMap<String, Oom>,
    /// Containers that ended with 137 lately, the latest last.
    containers: VecDeque<Ended>,
}

/// A container that ended.
#[derive(Debug)]
struct Ended {
    boottime_ns: u64,
    death: String,
    cause: Cause,
    id: String,
    name: Option<String>,
}

impl Related {
    /// Remembers a death.
    pub(super) fn note(&mut self, death: &Death) {
        if self.ooms.len() + self.stops.len() + self.shims.len() > MOST {
            let oldest = death.boottime_ns.saturating_sub(OLD_NS);
            self.ooms.retain(|_, oom| oom.boottime_ns >= oldest);
            self.stops.retain(|_, stop| stop.boottime_ns >= oldest);
            self.shims.retain(|_, shim| shim.boottime_ns >= oldest);
        }
        if let Some(unit) = unit_cgroup(death) {
            let is_newer = |before: Option<&Oom>| {
                before.is_none_or(|before| before.boottime_ns <= death.boottime_ns)
            };
            // The one that was chosen led to it, and not who went along (memory.oom.group).
            let goes_along = death.oom.as_ref().is_some_and(|oom| oom.role == "group")
                && self.ooms.get(&unit).is_some_and(|oom| soon(oom, death));
            if goes_along {
                return;
            }
            if claims::is_oom(death.cause) && is_newer(self.ooms.get(&unit)) {
                self.ooms.insert(unit, Oom::of(death));
            } else if death.cause == Cause::StopTimeout && is_newer(self.stops.get(&unit)) {
                self.stops.insert(unit, Oom::of(death));
            }
        }
        if let (Some(container), Some(Role::ContainerInit)) = (&death.container, death.victim.role)
        {
            let at = self
                .containers
                .iter()
                .position(|ended| ended.death == death.id);
            let ended = Ended {
                boottime_ns: death.boottime_ns,
                death: death.id.clone(),
                cause: death.cause,
                id: container.id.clone(),
                name: container.name.clone(),
            };
            match at.and_then(|at| self.containers.get_mut(at)) {
                Some(before) => *before = ended,
                None => self.containers.push_back(ended),
            }
            while self.containers.len() > MOST_CONTAINERS {
                self.containers.pop_front();
            }
        }
    }

    /// Remembers the death of a shim or monitor. Its arguments as it had them: those of the
    /// record may be masked.
    pub(super) fn note_shim(&mut self, death: &Death, argv: Option<&[String]>, rules: &Rules) {
        let row = rules.actor(death.victim.exe.as_deref(), death.victim.comm.as_deref());
        if row.is_some_and(|(row, _)| row.kind == ActorRole::Runtime)
            && let Some(id) = argv.and_then(told_id)
        {
            self.shims.insert(id.to_owned(), Oom::of(death));
        }
    }

    /// A runtime's client that was run in the foreground ends with the status of its container:
    /// links the two.
    pub(super) fn link_client(&self, death: &mut Death, argv: Option<&[String]>, rules: &Rules) {
        if death.cause != Cause::ExitCode || death.caused_by.is_some() {
            return;
        }
        let row = rules.actor(death.victim.exe.as_deref(), death.victim.comm.as_deref());
        let Some((row, _)) =
            row.filter(|(row, _)| matches!(row.kind, ActorRole::Client | ActorRole::Runtime))
        else {
            return;
        };
        let argv = argv.unwrap_or_default();
        let is_named = |ended: &&Ended| {
            let name = ended.name.as_deref();
            argv.iter().any(|arg| {
                Some(arg.as_str()) == name
                    || name.is_some() && arg.strip_prefix("--name=") == name
                    || arg.len() >= 12 && ended.id.starts_with(arg.as_str())
            })
        };
        let lately = || {
            self.containers.iter().rev().filter(|ended| {
                death
                    .boottime_ns
                    .checked_sub(ended.boottime_ns)
                    .is_some_and(|since_ns| since_ns < CLIENT_NS)
            })
        };
        // One that is not named in the arguments has a name that nobody gave it.
        let Some(ended) = lately().find(is_named).or_else(|| lately().next()) else {
            return;
        };
        let client = row
            .name
            .as_deref()
            .or(death.victim.comm.as_deref())
            .unwrap_or("a runtime");
        let name = ended.name.as_deref().unwrap_or(&ended.id);
        let inferred = if is_named(&ended) {
            ""
        } else {
            " (concluded from the time alone)"
        };
        death.evidence.push(Evidence {
            code: "client_of_container".into(),
            text: format!(
                "{client}'s client ends with the status of the container that it ran in the foreground: {name}, death {}{inferred}",
                ended.death
            ),
            source: "sched_process_exit".into(),
        });
        death.summary.push_str(&format!(
            ", to pass on that of container {name} ({})",
            ended.cause.name()
        ));
        death.caused_by = Some(ended.death.clone());
    }

    /// Links a death to the one that led to it. `dying`: the OOM kill in a unit whose victim has
    /// not ended yet.
    pub(super) fn link(
        &self,
        death: &mut Death,
        kill: &Sigkill,
        sandbox: Option<&str>,
        dying: impl FnOnce(&str) -> Option<Oom>,
    ) {
        if death.caused_by.is_some() {
            return;
        }
        let soon = |oom: &&Oom, within_ns: u64| {
            let since_ns = death.boottime_ns.checked_sub(oom.boottime_ns);
            oom.id != death.id && since_ns.is_some_and(|since_ns| since_ns < within_ns)
        };
        // Its own request to stop, or the SIGKILL itself, came as soon.
        let began_ns = kill
            .stops
            .iter()
            .filter(|stop| stop.sender.group == kill.sender.group)
            .map(|stop| stop.first_ns)
            .fold(death.boottime_ns, u64::min);
        let own_id = death.id.clone();
        let led_to_it = |oom: &Oom| {
            let since_ns = began_ns.checked_sub(oom.boottime_ns);
            oom.id != own_id && since_ns.is_some_and(|since_ns| since_ns < UNIT_NS)
        };
        // A service manager that lowers a limit is behind an OOM kill, and ends nothing by that.
        let ends = death.actor.kind == ActorKind::ServiceManager && !claims::is_oom(death.cause);
        let unit = unit_cgroup(death).filter(|_| ends);
        if death.cause == Cause::SupervisorKill
            && let Some(unit) = &unit
            && let Some(stop) = self.stops.get(unit).filter(|stop| soon(stop, REST_NS))
        {
            death.evidence.push(Evidence {
                code: "unit_was_asked".into(),
                text: format!(
                    "its unit had been asked to stop, as death {} of {} tells: this process came too late to be asked itself",
                    stop.id, stop.who
                ),
                source: "signal_generate".into(),
            });
            death.summary.push_str("; its unit had been asked to stop");
        }
        if let Some(unit) = &unit
            && let Some(oom) = self
                .ooms
                .get(unit)
                .filter(|oom| led_to_it(oom))
                .cloned()
                .or_else(|| dying(unit).filter(led_to_it))
        {
            death.evidence.push(Evidence {
                code: "unit_oom".into(),
                text: format!(
                    "the OOM killer had taken {} of the same unit: {} ends the rest of it (OOMPolicy)",
                    oom.who,
                    death.actor.name.as_deref().unwrap_or("the service manager"),
                ),
                source: "signal_generate".into(),
            });
            death.caused_by = Some(oom.id);
        }
        if death.actor.kind != ActorKind::Runtime || !cleans_up(&kill.sender) {
            return;
        }
        let ids = death
            .container
            .iter()
            .map(|container| container.id.as_str());
        let shim = ids
            .chain(sandbox)
            .find_map(|id| self.shims.get(id))
            .filter(|shim| soon(shim, SHIM_NS));
        death.evidence.push(Evidence {
            code: "shim_gone".into(),
            text: match shim {
                Some(shim) => format!(
                    "the container's shim {} had been killed: containerd cleans up what it leaves behind",
                    shim.who
                ),
                None => "containerd itself had this done: it cleans up after a shim that is gone".to_owned(),
            },
            source: "signal_generate".into(),
        });
        death.caused_by = shim.map(|shim| shim.id.clone());
    }
}

/// Whether an OOM kill and a death lie close together.
fn soon(oom: &Oom, death: &Death) -> bool {
    death.boottime_ns.abs_diff(oom.boottime_ns) < UNIT_NS
}

/// The cgroup of the unit that a victim was in: of two with one name, each has its own.
fn unit_cgroup(death: &Death) -> Option<String> {
    let name = &death.unit.as_ref()?.name;
    [&death.victim.cgroup, &death.victim.unified_cgroup]
        .into_iter()
        .flatten()
        .filter_map(|path| Place::of(path).unit)
        .find(|unit| unit.name == *name)
        .map(|unit| unit.cgroup)
}

/// The container that a shim or monitor was told to look after: `-id ID`, conmon's `-c ID`.
fn told_id(argv: &[String]) -> Option<&str> {
    let at = argv
        .iter()
        .position(|arg| matches!(arg.as_str(), "-id" | "-c" | "--cid"))?;
    argv.get(at + 1).map(String::as_str)
}

/// A shim that containerd runs itself, instead of one that stands alone: it is there to clean
/// up (`containerd-shim … delete`).
fn cleans_up(sender: &Process) -> bool {
    let mut above = sender
        .ancestry
        .iter()
        .map(|ancestor| ancestor.exe.as_deref().unwrap_or(&ancestor.comm))
        .skip_while(|name| !name.starts_with("containerd-shim"));
    above.next().is_some() && above.next() == Some("containerd")
}
