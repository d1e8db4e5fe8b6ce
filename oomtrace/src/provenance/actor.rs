//! From a sender to the party on whose behalf it acted.

use super::{
    record::ActorKind,
    rules::{ActorRow, Role, Rules},
};
use crate::event::{Ancestor, Group, Process};

/// The party behind a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Party {
    pub kind: ActorKind,
    pub name: Option<String>,
    pub group: Option<Group>,
    pub comm: Option<String>,
    /// Why it is thought to be this party.
    pub why: String,
}

impl Party {
    /// The kernel itself.
    #[must_use]
    pub(super) fn kernel(name: &str) -> Self {
        Self {
            kind: ActorKind::Kernel,
            name: Some(name.to_owned()),
            group: None,
            comm: None,
            why: "the kernel did this by itself".to_owned(),
        }
    }

    /// Nobody is known.
    #[must_use]
    pub(super) fn unknown() -> Self {
        Self {
            kind: ActorKind::Unknown,
            name: None,
            group: None,
            comm: None,
            why: "no sender was seen".to_owned(),
        }
    }

    fn of(process: &Process, kind: ActorKind, name: Option<&str>, why: String) -> Self {
        Self {
            kind,
            name: name.map(str::to_owned).or_else(|| process.comm.clone()),
            group: Some(process.group),
            comm: process.comm.clone(),
            why,
        }
    }

    fn of_ancestor(ancestor: &Ancestor, kind: ActorKind, name: Option<&str>, why: String) -> Self {
        Self {
            kind,
            name: Some(name.unwrap_or(&ancestor.comm).to_owned()),
            group: Some(ancestor.group),
            comm: Some(ancestor.comm.clone()),
            why,
        }
    }
}

/// Finds the party behind `sender`, which killed `victim`.
#[must_use]
pub(super) fn find(sender: &Process, victim: &Process, rules: &Rules) -> Party {
    let comm = sender.comm.as_deref().unwrap_or("?");
    if sender.is_kernel_thread() {
        return Party::of(
            sender,
            ActorKind::Kernel,
            None,
            format!("{comm} is a kernel thread"),
        );
    }
    match rules.actor(sender.exe.as_deref(), sender.comm.as_deref()) {
        Some(row) => of_known(sender, row, rules),
        None => of_unknown(sender, victim),
    }
}

fn kind_of(role: Role) -> ActorKind {
    match role {
        Role::Runtime => ActorKind::Runtime,
        Role::ServiceManager => ActorKind::ServiceManager,
        Role::OomDaemon => ActorKind::OomDaemon,
        Role::SecurityAgent => ActorKind::SecurityAgent,
        Role::Tool | Role::Shell | Role::Session => ActorKind::Human,
    }
}

fn of_known(sender: &Process, row: &ActorRow, rules: &Rules) -> Party {
    let comm = sender.comm.as_deref().unwrap_or("?");
    match row.kind {
        Role::Tool | Role::Shell | Role::Session => human(sender, row.kind, rules),
        Role::Runtime if row.name.is_none() => supervisor(sender, rules).unwrap_or_else(|| {
            Party::of(
                sender,
                ActorKind::Runtime,
                None,
                format!("{comm} is a container runtime"),
            )
        }),
        role => Party::of(
            sender,
            kind_of(role),
            row.name.as_deref(),
            format!("{comm} is known as one"),
        ),
    }
}

/// The supervisor above a short-lived runtime process: the shim, `podman`, …
fn supervisor(sender: &Process, rules: &Rules) -> Option<Party> {
    sender.ancestry.iter().find_map(|ancestor| {
        let row = rules.actor(None, Some(&ancestor.comm))?;
        let name = row.name.as_deref()?;
        (row.kind == Role::Runtime).then(|| {
            let why = format!(
                "{} was run by {}[{}]",
                sender.comm.as_deref().unwrap_or("?"),
                ancestor.comm,
                ancestor.group.tgid
            );
            Party::of_ancestor(ancestor, ActorKind::Runtime, Some(name), why)
        })
    })
}

/// The human's end of the chain: the outermost of the shells and tools above the sender.
fn human(sender: &Process, role: Role, rules: &Rules) -> Party {
    let comm = sender.comm.as_deref().unwrap_or("?");
    let mut why = match role {
        Role::Shell => format!("{comm} is a shell: its kill is a builtin"),
        _ => format!("{comm} is an interactive tool"),
    };
    if let Some(tty) = &sender.tty {
        why.push_str(", on ");
        why.push_str(tty);
    }
    if let Some(uid) = sender.login_uid {
        why.push_str(", login uid ");
        why.push_str(&uid.to_string());
    }
    let outermost = sender
        .ancestry
        .iter()
        .map_while(|ancestor| {
            let row = rules.actor(None, Some(&ancestor.comm))?;
            matches!(row.kind, Role::Shell | Role::Tool).then_some(ancestor)
        })
        .last();
    match outermost {
        Some(shell) => Party::of_ancestor(shell, ActorKind::Human, None, why),
        None => Party::of(sender, ActorKind::Human, None, why),
    }
}

fn of_unknown(sender: &Process, victim: &Process) -> Party {
    let comm = sender.comm.as_deref().unwrap_or("?");
    if let Some(relation) = relation(sender, victim) {
        let why = format!("{comm} is the victim's {relation}");
        return Party::of(sender, ActorKind::Application, None, why);
    }
    match (&sender.tty, sender.login_uid) {
        (Some(tty), _) => {
            let why = format!("{comm} runs on the terminal {tty}");
            Party::of(sender, ActorKind::Human, None, why)
        }
        (None, Some(uid)) => {
            let why = format!("{comm} runs in a login session of uid {uid}");
            Party::of(sender, ActorKind::Human, None, why)
        }
        (None, None) => {
            let why = format!(
                "{comm} is neither a known supervisor nor a tool, and no person's session stands behind it"
            );
            Party::of(sender, ActorKind::Application, None, why)
        }
    }
}

/// How two processes of one application are related.
fn relation(sender: &Process, victim: &Process) -> Option<&'static str> {
    let descends = |from: &Process, to: &Process| {
        from.ancestry
            .iter()
            .any(|ancestor| ancestor.group == to.group)
    };
    if sender.group == victim.group {
        Some("own process")
    } else if descends(victim, sender) {
        Some("parent or a parent of it")
    } else if descends(sender, victim) {
        Some("child or a child of it")
    } else if sender.pgid.is_some() && sender.pgid == victim.pgid {
        Some("peer in its process group")
    } else {
        None
    }
}

/// Whether two processes are one party, or act for one supervisor: the same process, the
/// same parent (other than process 1), the same process group or session, processes of one
/// runtime, or a service manager and what it has run.
#[must_use]
pub(super) fn same_party(one: &Process, other: &Process, rules: &Rules) -> bool {
    // Sessions and groups 0 and 1 are the kernel's and process 1's: everybody's.
    let shared = |a: Option<u32>, b: Option<u32>| a.is_some_and(|id| id > 1) && a == b;
    one.group == other.group
        || shared(one.pgid, other.pgid)
        || shared(one.sid, other.sid)
        || matches!(
            (one.ancestry.first(), other.ancestry.first()),
            (Some(a), Some(b)) if a.group == b.group && a.group.tgid > 1
        )
        || one_runtime(one, other, rules)
        || manages(one, other, rules)
        || manages(other, one, rules)
}

/// Both are a runtime's own processes, and one supervisor stands above them or is one of
/// them. What merely runs in a container has its shim above it as well, and is no runtime.
fn one_runtime(one: &Process, other: &Process, rules: &Rules) -> bool {
    let (ones, others) = (supervisors(one, rules), supervisors(other, rules));
    ones.iter().any(|group| others.contains(group))
}

/// The runtimes that a process acts for: itself, and those above it. None if it is no
/// runtime itself.
fn supervisors(process: &Process, rules: &Rules) -> Vec<Group> {
    let is_runtime = |exe: Option<&str>, comm: Option<&str>| {
        rules
            .actor(exe, comm)
            .is_some_and(|row| row.kind == Role::Runtime)
    };
    if !is_runtime(process.exe.as_deref(), process.comm.as_deref()) {
        return Vec::new();
    }
    let above = process
        .ancestry
        .iter()
        .filter(|ancestor| is_runtime(None, Some(&ancestor.comm)))
        .map(|ancestor| ancestor.group);
    std::iter::once(process.group).chain(above).collect()
}

/// `manager` is a service manager and has run `other`, with nobody's session in between:
/// a unit's stop command acts for it. Below process 1 is everything, orphans too: there it
/// proves nothing.
fn manages(manager: &Process, other: &Process, rules: &Rules) -> bool {
    let role = |exe: Option<&str>, comm: Option<&str>| rules.actor(exe, comm).map(|row| row.kind);
    manager.group.tgid > 1
        && role(manager.exe.as_deref(), manager.comm.as_deref()) == Some(Role::ServiceManager)
        && other
            .ancestry
            .iter()
            .take_while(|ancestor| role(None, Some(&ancestor.comm)) != Some(Role::Session))
            .any(|ancestor| ancestor.group == manager.group)
}
