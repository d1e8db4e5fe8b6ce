//! What the victim was: the init of its container, a unit's main process, a runtime's own
//! helper, …

use serde::{Deserialize, Serialize};

use super::{
    actor,
    containers::{DeadMain, Known},
    rules::{Role as ActorRole, Rules},
};
use crate::{
    event::{Ancestor, Process, Sigkill},
    identity::place::Place,
};

/// The victim's part in where it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The container's process 1: its end is the container's.
    ContainerInit,
    /// Another process in a container.
    Child,
    /// What the service manager itself has started for a unit.
    UnitMain,
    UnitChild,
    Host,
    /// A runtime's own short-lived process, which the runtime itself has killed: noise.
    RuntimeHelper,
}

/// A process that a container's init was started with is there so soon after its cgroup.
const START_NS: u64 = 2_000_000_000;

fn is_systemd(parent: &Ancestor) -> bool {
    let name = parent.exe.as_deref().unwrap_or(&parent.comm);
    parent.group.tgid == 1 || name == "systemd"
}

/// It looks after a container. It has left whoever started it for process 1, and ends with
/// the container's status.
fn watches(process: &Process) -> bool {
    let name = process.comm.as_deref().unwrap_or_default();
    name.starts_with("conmon") || name.starts_with("containerd-shim")
}

/// The role of a victim.
#[must_use]
pub(super) fn of(
    victim: &Process,
    kill: Option<&Sigkill>,
    place: &Place,
    known: Option<&Known>,
    dead_main: Option<DeadMain>,
    rules: &Rules,
) -> Role {
    let is_runtime = |process: &Process| {
        rules
            .actor(process.exe.as_deref(), process.comm.as_deref())
            .is_some_and(|(row, _)| row.kind == ActorRole::Runtime)
    };
    let parent = victim.ancestry.first();
    let of_parent = parent.and_then(|parent| actor::role_of(parent, rules));
    // Killed by its like, or ended with the status of what it watched.
    let is_noise = match kill {
        Some(kill) => is_runtime(&kill.sender),
        None => watches(victim),
    };
    if is_runtime(victim) && is_noise {
        return Role::RuntimeHelper;
    }
    if !place.containers.is_empty() {
        // A runtime inside a container has process ids of its own.
        let init_pid = known
            .and_then(|known| known.facts.as_ref())
            .and_then(|facts| facts.init_pid)
            .filter(|_| place.containers.len() == 1);
        let by_runtime = of_parent == Some(ActorRole::Runtime);
        let other_init = known
            .and_then(|known| known.init)
            .is_some_and(|init| init != victim.group);
        let is_init = if let Some(init_pid) = init_pid {
            init_pid == victim.group.tgid
        } else if other_init {
            false
        } else if victim.is_namespace_init() {
            // Process 1 of a namespace that a process of the container has made is a child.
            by_runtime || of_parent == Some(ActorRole::ServiceManager) || victim.ppid == Some(1)
        } else if !by_runtime || victim.ns_level > 0 {
            // In a PID namespace of its own it is no process 1: somebody ran it in there. (In
            // one that a whole pod shares, only its runtime can tell.)
            false
        } else {
            // In the node's own PID namespace nothing but the time tells the init from what was
            // run in the container later.
            known
                .and_then(|known| known.made_ns)
                .is_some_and(|made_ns| victim.group.start_ns.abs_diff(made_ns) < START_NS)
        };
        return if is_init {
            Role::ContainerInit
        } else {
            Role::Child
        };
    }
    match &place.unit {
        Some(unit) if unit.name.ends_with(".service") => {
            // What a main process leaves behind, the service manager takes on.
            let is_left = dead_main.is_some_and(|main| {
                main.group != victim.group
                    && (main.group.start_ns..=main.died_ns).contains(&victim.group.start_ns)
            });
            let by_systemd = parent.is_some_and(is_systemd);
            if by_systemd && !is_left && !watches(victim) {
                Role::UnitMain
            } else {
                Role::UnitChild
            }
        }
        Some(unit) if unit.name != "init.scope" => Role::UnitChild,
        _ => Role::Host,
    }
}
