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
use crate::event::{Process, Sigkill};

/// A service manager ends the rest of a unit within this time of an OOM kill: the default of
/// `TimeoutStopSec`, and a little.
const UNIT_NS: u64 = 100 * 1_000_000_000;
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
    /// The latest OOM kill in each unit, by name.
    ooms: HashMap<String, Oom>,
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
    pub(super) fn note(&mut self, death: &Death, rules: &Rules) {
        let oom = || Oom {
            boottime_ns: death.boottime_ns,
            who: format!(
                "{}[{}]",
                death.victim.comm.as_deref().unwrap_or("?"),
                death.victim.pid
            ),
            id: death.id.clone(),
        };
        if self.ooms.len() + self.shims.len() > MOST {
            let oldest = death.boottime_ns.saturating_sub(UNIT_NS);
            self.ooms.retain(|_, oom| oom.boottime_ns >= oldest);
            self.shims.retain(|_, shim| shim.boottime_ns >= oldest);
        }
        if let (Some(unit), true) = (&death.unit, claims::is_oom(death.cause)) {
            self.ooms.insert(unit.name.clone(), oom());
        }
        if let (Some(container), Some(Role::ContainerInit)) = (&death.container, death.victim.role)
        {
            self.containers.retain(|ended| ended.death != death.id);
            self.containers.push_back(Ended {
                boottime_ns: death.boottime_ns,
                death: death.id.clone(),
                cause: death.cause,
                id: container.id.clone(),
                name: container.name.clone(),
            });
            while self.containers.len() > MOST_CONTAINERS {
                self.containers.pop_front();
            }
        }
        let row = rules.actor(death.victim.exe.as_deref(), death.victim.comm.as_deref());
        if row.is_some_and(|(row, _)| row.kind == ActorRole::Runtime)
            && let Some(id) = death.victim.argv.as_deref().and_then(told_id)
        {
            self.shims.insert(id.to_owned(), oom());
        }
    }

    /// A runtime's client that was run in the foreground ends with the status of its container:
    /// links the two.
    pub(super) fn link_client(&self, death: &mut Death, rules: &Rules) {
        if death.cause != Cause::ExitCode || death.caused_by.is_some() {
            return;
        }
        let row = rules.actor(death.victim.exe.as_deref(), death.victim.comm.as_deref());
        let Some((row, _)) = row.filter(|(row, _)| row.kind == ActorRole::Client) else {
            return;
        };
        let argv = death.victim.argv.as_deref().unwrap_or_default();
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
        let client = row.name.as_deref().unwrap_or("the client");
        let name = ended.name.as_deref().unwrap_or(&ended.id);
        let inferred = if is_named(&ended) {
            ""
        } else {
            " (concluded from the time alone)"
        };
        death.evidence.push(Evidence {
            code: "client_of_container",
            text: format!(
                "{client}'s client ends with the status of the container that it ran in the foreground: {name}, death {}{inferred}",
                ended.death
            ),
            source: "sched_process_exit",
        });
        death.summary.push_str(&format!(
            ", to pass on that of container {name} ({})",
            ended.cause.name()
        ));
        death.caused_by = Some(ended.death.clone());
    }

    /// Links a death to the one that led to it.
    pub(super) fn link(&self, death: &mut Death, kill: &Sigkill, sandbox: Option<&str>) {
        if death.caused_by.is_some() {
            return;
        }
        let soon = |oom: &&Oom, within_ns: u64| {
            let since_ns = death.boottime_ns.checked_sub(oom.boottime_ns);
            oom.id != death.id && since_ns.is_some_and(|since_ns| since_ns < within_ns)
        };
        if death.actor.kind == ActorKind::ServiceManager
            && let Some(unit) = &death.unit
            && let Some(oom) = self.ooms.get(&unit.name).filter(|oom| soon(oom, UNIT_NS))
        {
            death.evidence.push(Evidence {
                code: "unit_oom",
                text: format!(
                    "the OOM killer had taken {} of the same unit: {} ends the rest of it (OOMPolicy)",
                    oom.who,
                    death.actor.name.as_deref().unwrap_or("the service manager"),
                ),
                source: "signal_generate",
            });
            death.caused_by = Some(oom.id.clone());
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
            code: "shim_gone",
            text: match shim {
                Some(shim) => format!(
                    "the container's shim {} had been killed: containerd cleans up what it leaves behind",
                    shim.who
                ),
                None => "containerd itself had this done: it cleans up after a shim that is gone".to_owned(),
            },
            source: "signal_generate",
        });
        death.caused_by = shim.map(|shim| shim.id.clone());
    }
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
