//! From a sender to the party on whose behalf it acted.

use super::{
    record::ActorKind,
    rules::{ActorRow, By, Role, Rules},
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
    /// It is the victim's relative: of one application.
    pub is_related: bool,
    /// It acted in a session that was opened in a container from outside: how that is known.
    pub exec_session: Option<String>,
    /// The person's end of the chain above a runtime that people call themselves (podman).
    pub operator: Option<String>,
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
            is_related: false,
            exec_session: None,
            operator: None,
        }
    }

    /// The process itself. `to_group`: it sent it to all of its process group.
    #[must_use]
    pub(super) fn own(process: &Process, to_group: bool) -> Self {
        let whom = if to_group {
            "its own process group, and was in it"
        } else {
            "itself"
        };
        let why = format!("{} sent it to {whom}", name(process));
        Self::of(process, ActorKind::Application, None, why)
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
            is_related: false,
            exec_session: None,
            operator: None,
        }
    }

    fn of(process: &Process, kind: ActorKind, name: Option<&str>, why: String) -> Self {
        Self {
            kind,
            name: name.map(str::to_owned).or_else(|| process.comm.clone()),
            group: Some(process.group),
            comm: process.comm.clone(),
            why,
            is_related: false,
            exec_session: None,
            operator: None,
        }
    }

    fn of_ancestor(ancestor: &Ancestor, kind: ActorKind, name: Option<&str>, why: String) -> Self {
        Self {
            kind,
            name: Some(name.unwrap_or(&ancestor.comm).to_owned()),
            group: Some(ancestor.group),
            comm: Some(ancestor.comm.clone()),
            why,
            is_related: false,
            exec_session: None,
            operator: None,
        }
    }
}

/// Finds the party behind `sender`, which killed `victim`.
#[must_use]
pub(super) fn find(sender: &Process, victim: &Process, rules: &Rules) -> Party {
    if sender.is_kernel_thread() {
        let why = format!("{} is a kernel thread", name(sender));
        return Party::of(sender, ActorKind::Kernel, None, why);
    }
    let mut party = match rules.actor(sender.exe.as_deref(), sender.comm.as_deref()) {
        Some((row, by)) => of_known(sender, row, by, rules),
        None => of_unknown(sender, victim, rules),
    };
    if party.kind == ActorKind::Human {
        party.exec_session = exec_session(sender, rules);
    }
    party
}

/// The party that traces another process by ptrace.
#[must_use]
pub(super) fn ptracer(ptracer: &Ancestor, rules: &Rules) -> Party {
    let kind = role_of(ptracer, rules).map_or(ActorKind::Application, kind_of);
    Party::of_ancestor(
        ptracer,
        kind,
        None,
        "it traced the victim by ptrace".to_owned(),
    )
}

/// Whom to ask about a tool that is gone at once: the nearest above it that is no such tool.
/// Process 1 takes in whatever has lost its parent.
#[must_use]
pub(super) fn behind_tool<'a>(sender: &'a Process, rules: &Rules) -> Option<&'a Ancestor> {
    let (row, _) = rules.actor(sender.exe.as_deref(), sender.comm.as_deref())?;
    let is_tool = |link: &&Ancestor| role_of(link, rules) == Some(Role::Tool);
    let behind = sender.ancestry.iter().find(|link| !is_tool(link));
    behind.filter(|link| row.kind == Role::Tool && link.group.tgid > 1)
}

fn name(process: &Process) -> &str {
    process.comm.as_deref().unwrap_or("?")
}

/// The role of a process that stands in a chain of parents.
#[must_use]
pub(super) fn role_of(ancestor: &Ancestor, rules: &Rules) -> Option<Role> {
    row_of(ancestor, rules).map(|row| row.kind)
}

fn row_of<'r>(ancestor: &Ancestor, rules: &'r Rules) -> Option<&'r ActorRow> {
    rules
        .actor(ancestor.exe.as_deref(), Some(&ancestor.comm))
        .map(|(row, _)| row)
}

fn kind_of(role: Role) -> ActorKind {
    match role {
        Role::Runtime => ActorKind::Runtime,
        Role::ServiceManager => ActorKind::ServiceManager,
        Role::OomDaemon => ActorKind::OomDaemon,
        Role::SecurityAgent => ActorKind::SecurityAgent,
        Role::Application | Role::Client => ActorKind::Application,
        Role::Tool | Role::Shell | Role::Session => ActorKind::Human,
    }
}

fn of_known(sender: &Process, row: &ActorRow, by: By, rules: &Rules) -> Party {
    let comm = name(sender);
    let by = match (by, &sender.exe) {
        (By::Exe, Some(exe)) => format!("by its executable {exe}"),
        _ => "by its name alone".to_owned(),
    };
    match row.kind {
        Role::Tool | Role::Shell | Role::Session => human(sender, row.kind, rules),
        Role::Runtime if row.name.is_none() => supervisor(sender, rules).unwrap_or_else(|| {
            let why = format!("{comm} is a container runtime, {by}");
            Party::of(sender, ActorKind::Runtime, None, why)
        }),
        role => {
            let kind = kind_of(role);
            let why = format!("{comm} is known as {}, {by}", article(kind));
            Party::of(sender, kind, row.name.as_deref(), why)
        }
    }
}

fn article(kind: ActorKind) -> &'static str {
    match kind {
        ActorKind::Human => "a person's tool",
        ActorKind::Runtime => "a container runtime",
        ActorKind::ServiceManager => "a service manager",
        ActorKind::OomDaemon => "a userspace OOM daemon",
        ActorKind::SecurityAgent => "a security agent",
        ActorKind::Application => "a part of the application",
        ActorKind::Kernel | ActorKind::Unknown => "a part of the kernel",
    }
}

/// The supervisor above a short-lived runtime process: the shim, `podman`, …
fn supervisor(sender: &Process, rules: &Rules) -> Option<Party> {
    sender.ancestry.iter().find_map(|ancestor| {
        let row = row_of(ancestor, rules)?;
        let supervisor = row.name.as_deref()?;
        (row.kind == Role::Runtime).then(|| {
            let why = format!(
                "{} was run by {}[{}]",
                name(sender),
                ancestor.comm,
                ancestor.group.tgid
            );
            Party {
                operator: operator(sender, ancestor, rules),
                ..Party::of_ancestor(ancestor, ActorKind::Runtime, Some(supervisor), why)
            }
        })
    })
}

/// Who called the runtime, where that is a person's command and no daemon.
fn operator(sender: &Process, runtime: &Ancestor, rules: &Rules) -> Option<String> {
    let above = sender
        .ancestry
        .iter()
        .skip_while(|ancestor| ancestor.group != runtime.group)
        .skip(1);
    let links: Vec<String> = above
        .take_while(|link| {
            matches!(
                role_of(link, rules),
                Some(Role::Shell | Role::Tool | Role::Session)
            )
        })
        .map(|link| format!("{}[{}]", link.comm, link.group.tgid))
        .collect();
    if links.is_empty() {
        return None;
    }
    let mut text = format!("{} was run by {}", runtime.comm, links.join(" < "));
    if let Some(tty) = &sender.tty {
        text.push_str(", on ");
        text.push_str(tty);
    }
    if let Some(uid) = sender.login_uid {
        text.push_str(&format!(", login uid {uid}"));
    }
    Some(text)
}

/// The human's end of the chain: the outermost of the shells and tools above the sender.
fn human(sender: &Process, role: Role, rules: &Rules) -> Party {
    let comm = name(sender);
    let mut why = match role {
        Role::Shell => format!("{comm} is a shell: its kill is a builtin"),
        _ => format!("{comm} is an interactive tool"),
    };
    let above = human_chain(sender, rules);
    if !above.is_empty() {
        why.push_str(", run by ");
        let links: Vec<String> = above
            .iter()
            .map(|link| format!("{}[{}]", link.comm, link.group.tgid))
            .collect();
        why.push_str(&links.join(" < "));
    }
    if let Some(tty) = &sender.tty {
        why.push_str(", on ");
        why.push_str(tty);
    }
    if let Some(uid) = sender.login_uid {
        why.push_str(", login uid ");
        why.push_str(&uid.to_string());
    }
    let outermost = above
        .iter()
        .rfind(|link| matches!(role_of(link, rules), Some(Role::Shell | Role::Tool)));
    match outermost {
        Some(shell) => Party::of_ancestor(shell, ActorKind::Human, None, why),
        None => Party::of(sender, ActorKind::Human, None, why),
    }
}

/// The shells and tools above a sender, and what carries the session above them.
fn human_chain<'a>(sender: &'a Process, rules: &Rules) -> &'a [Ancestor] {
    let of_person = |link: &&Ancestor| {
        matches!(
            role_of(link, rules),
            Some(Role::Shell | Role::Tool | Role::Session)
        )
    };
    // `kill` under sudo under a shell under sshd.
    let length = sender.ancestry.iter().take_while(of_person).count();
    sender.ancestry.get(..length).unwrap_or_default()
}

/// Whether the sender belongs to a session that somebody has opened in a container
/// (`docker exec`, `kubectl exec`): the outermost process of it is a child of the runtime's
/// supervisor, and not the container's init.
fn exec_session(sender: &Process, rules: &Rules) -> Option<String> {
    if sender.ns_level == 0 || sender.is_namespace_init() {
        return None;
    }
    // The supervisor stands outside of the container: in an outer namespace.
    let at = sender.ancestry.iter().position(|link| {
        link.ns_level < sender.ns_level && role_of(link, rules) == Some(Role::Runtime)
    })?;
    let shim = sender.ancestry.get(at)?;
    let opened = match at.checked_sub(1) {
        None => format!("{}[{}]", name(sender), sender.group.tgid),
        Some(below) => {
            let top = sender.ancestry.get(below)?;
            if top.ns_level <= shim.ns_level || top.is_namespace_init() {
                return None;
            }
            format!("{}[{}]", top.comm, top.group.tgid)
        }
    };
    Some(format!(
        "{opened} was started in the container from outside, as docker exec and kubectl exec do, and probes and hooks too: it is a child of {}[{}] and not the container's init",
        shim.comm, shim.group.tgid
    ))
}

fn of_unknown(sender: &Process, victim: &Process, rules: &Rules) -> Party {
    let comm = name(sender);
    if let Some(relation) = relation(sender, victim) {
        let why = format!("{comm} is the victim's {relation}");
        return Party {
            is_related: true,
            ..Party::of(sender, ActorKind::Application, None, why)
        };
    }
    // A container may have a terminal of its own, and the login uid of whoever started it: there
    // a session is one that was opened from outside, with a shell in it.
    let (tty, login_uid) = if sender.ns_level == 0 {
        (sender.tty.as_ref(), sender.login_uid)
    } else {
        (None, None)
    };
    let in_session =
        || !human_chain(sender, rules).is_empty() && exec_session(sender, rules).is_some();
    let (kind, why) = match (tty, login_uid) {
        (Some(tty), _) => (
            ActorKind::Human,
            format!("{comm} runs on the terminal {tty}"),
        ),
        (None, Some(uid)) => (
            ActorKind::Human,
            format!("{comm} runs in a login session of uid {uid}"),
        ),
        (None, None) if in_session() => (
            ActorKind::Human,
            format!("{comm} was run in a session in the container"),
        ),
        (None, None) => (
            ActorKind::Application,
            format!(
                "{comm} is neither a known supervisor nor a tool, and no person's session stands behind it"
            ),
        ),
    };
    Party::of(sender, kind, None, why)
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
    let own = rules.actor(process.exe.as_deref(), process.comm.as_deref());
    if !own.is_some_and(|(row, _)| row.kind == Role::Runtime) {
        return Vec::new();
    }
    let above = process
        .ancestry
        .iter()
        .filter(|ancestor| role_of(ancestor, rules) == Some(Role::Runtime))
        .map(|ancestor| ancestor.group);
    std::iter::once(process.group).chain(above).collect()
}

/// `manager` is a service manager and has run `other`, with nobody's session in between:
/// a unit's stop command acts for it. Below process 1 is everything, orphans too: there it
/// proves nothing.
fn manages(manager: &Process, other: &Process, rules: &Rules) -> bool {
    let own = rules.actor(manager.exe.as_deref(), manager.comm.as_deref());
    manager.group.tgid > 1
        && own.is_some_and(|(row, _)| row.kind == Role::ServiceManager)
        && other
            .ancestry
            .iter()
            .take_while(|ancestor| role_of(ancestor, rules) != Some(Role::Session))
            .any(|ancestor| ancestor.group == manager.group)
}
