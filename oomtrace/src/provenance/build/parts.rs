//! The parts of a record: everything in its units and words.

use super::{Subject, Survival};
use crate::{
    event::{Ancestor, Argv, Constraint, Exit, MemcgLevel, Process},
    identity::place::Place,
    provenance::{
        actor::Party,
        case::{Kill, Status},
        judge::Verdict,
        levels,
        naming::{self, Located},
        record::{
            Actor, AncestorRecord, ContainerName, Mechanism, Memory, Oom, OomLevel, Outcome,
            Sender, Stop, Unit, Victim,
        },
        signal_names, stop,
    },
};

impl Subject<'_> {
    pub(super) fn args(&self, argv: Option<&Argv>) -> (Option<Vec<String>>, bool) {
        (
            argv.map(|argv| self.argv.apply(&argv.args, argv.truncated)),
            argv.is_some_and(|argv| argv.truncated),
        )
    }

    pub(super) fn victim(
        &self,
        process: &Process,
        at: &Located<'_>,
        image: Option<&Argv>,
        boottime_ns: u64,
    ) -> Victim {
        let (argv, argv_truncated) = self.args(image.or(process.argv.as_ref()));
        let page = self.session.page_bytes;
        let bytes = |pages: u64| pages.saturating_mul(page);
        Victim {
            pid: process.group.tgid,
            ns_pid: process.ns_tgid,
            ppid: process.ppid,
            pgid: process.pgid,
            comm: process.comm.clone(),
            exe: process.exe.clone(),
            argv,
            argv_truncated,
            uid: process.uid,
            cgroup: cgroup(process),
            unified_cgroup: process.unified_cgroup.clone(),
            oom_score_adj: process.oom_score_adj,
            started_at: (process.group.start_ns > 0)
                .then(|| self.clock.format(process.group.start_ns)),
            age_ms: (process.group.start_ns > 0)
                .then(|| boottime_ns.saturating_sub(process.group.start_ns) / 1_000_000),
            role: (process.group.tgid > 0).then_some(at.role),
            is_ns_init: process.is_namespace_init(),
            memory: process.rss.map(|rss| Memory {
                anon_bytes: bytes(rss.anon_pages),
                file_bytes: bytes(rss.file_pages),
                shmem_bytes: bytes(rss.shmem_pages),
                swap_bytes: bytes(rss.swap_pages),
                page_tables_bytes: process.page_tables_bytes,
                total_vm_bytes: process.total_vm_pages.map(bytes),
            }),
            ancestry: ancestry(&process.ancestry),
        }
    }

    /// The containers' names and the units of a process.
    pub(super) fn names(&self, place: &Place) -> (Option<ContainerName>, Option<Unit>) {
        let container = place.containers.first();
        (
            container.map(|container| naming::container_name(container, self.containers)),
            place.unit.as_ref().map(naming::unit),
        )
    }

    pub(super) fn actor(&self, party: &Party, sender: &Process) -> Actor {
        let place = match party.group {
            Some(group) if group == sender.group => self.containers.place(sender),
            Some(group) => sender
                .ancestry
                .iter()
                .find(|ancestor| ancestor.group == group)
                .and_then(|ancestor| ancestor.cgroup.as_deref())
                .map(Place::of_leaf)
                .unwrap_or_default(),
            None => Place::default(),
        };
        let (container, unit) = self.names(&place);
        Actor {
            container,
            unit,
            ..actor_record(party)
        }
    }

    pub(super) fn sender(&self, process: &Process) -> Sender {
        let (container, unit) = self.names(&self.containers.place(process));
        let (argv, argv_truncated) = self.args(process.argv.as_ref());
        Sender {
            pid: process.group.tgid,
            tid: process.tid,
            ns_pid: process.ns_tgid,
            comm: process.comm.clone(),
            exe: process.exe.clone(),
            argv,
            argv_truncated,
            uid: process.uid,
            loginuid: process.login_uid,
            tty: process.tty.clone(),
            cgroup: cgroup(process),
            unified_cgroup: process.unified_cgroup.clone(),
            container,
            unit,
            ancestry: ancestry(&process.ancestry),
        }
    }

    pub(super) fn stop(&self, found: &stop::Found<'_>, configured_grace_ms: Option<u64>) -> Stop {
        let request = found.request;
        Stop {
            signal: signal_names::name(request.signal),
            sent_at: self.clock.format(request.first_ns),
            count: request.count,
            grace_ms: found.grace_ns / 1_000_000,
            configured_grace_ms,
            result: stop::result_name(request.first_result).into(),
            reason: found.reason.name().into(),
            same_actor: found.same_actor,
            sender: self.sender(&request.sender),
        }
    }

    pub(super) fn oom(
        &self,
        verdict: &Verdict<'_>,
        killer: &Kill,
        at: &Located<'_>,
    ) -> Option<Oom> {
        let found = verdict.oom.as_ref()?;
        let kill = &*killer.event;
        let hook = killer.hook.as_deref();
        let page = self.session.page_bytes;
        let bytes = |pages: Option<u64>| pages.map(|pages| pages.saturating_mul(page));
        let limit = found.limit.as_ref();
        let chosen = hook.and_then(|hook| hook.chosen_tgid);
        Some(Oom {
            constraint: found.constraint.map(|constraint| match constraint {
                Constraint::None => "none".into(),
                Constraint::Cpuset => "cpuset".into(),
                Constraint::MemoryPolicy => "memory_policy".into(),
                Constraint::Memcg => "memcg".into(),
            }),
            limit_cgroup: limit.and_then(|level| level.path.clone()),
            limit_of: limit
                .and_then(|level| level.path.as_deref())
                .map(|path| levels::owner(path, at).0.into()),
            limit_bytes: bytes(limit.and_then(|level| level.max_pages)),
            usage_bytes: bytes(limit.and_then(|level| level.usage_pages)),
            peak_bytes: bytes(limit.and_then(|level| level.peak_pages)),
            swap_bytes: bytes(limit.and_then(swap_pages)),
            trigger: Some(AncestorRecord {
                pid: kill.sender.group.tgid,
                comm: kill.sender.comm.clone().unwrap_or_default(),
            }),
            role: match verdict.mechanism {
                Mechanism::OomGroup => "group".into(),
                _ if chosen.is_some_and(|tgid| tgid != kill.victim.group.tgid) => {
                    "shared_mm".into()
                }
                _ => "chosen".into(),
            },
            limit_lowered: found.limit_lowered,
            gfp: hook
                .and_then(|hook| hook.gfp_mask)
                .map(|mask| format!("{mask:#x}")),
            order: hook.and_then(|hook| hook.order),
            points: hook.and_then(|hook| hook.points),
            total_pages: hook.and_then(|hook| hook.total_pages),
            levels: kill
                .victim
                .memcg
                .iter()
                .map(|level| {
                    (
                        level,
                        level.path.as_deref().map(|path| levels::owner(path, at)),
                    )
                })
                .map(|(level, owner)| OomLevel {
                    cgroup: level.path.clone(),
                    of: owner.as_ref().map(|(of, _)| (*of).into()),
                    name: owner.and_then(|(_, name)| name),
                    limit_bytes: bytes(level.max_pages),
                    usage_bytes: bytes(level.usage_pages),
                    peak_bytes: bytes(level.peak_pages),
                })
                .collect(),
            memory: None,
        })
    }
}

/// Swap in use: on cgroup v1 the kernel counts memory plus swap.
pub(super) fn swap_pages(level: &MemcgLevel) -> Option<u64> {
    let swap = level.swap_pages?;
    Some(if level.v1 == Some(true) {
        swap.saturating_sub(level.usage_pages?)
    } else {
        swap
    })
}

pub(super) fn cgroup(process: &Process) -> Option<String> {
    process
        .memory_cgroup
        .clone()
        .or_else(|| process.unified_cgroup.clone())
}

pub(super) fn ancestry(ancestors: &[Ancestor]) -> Vec<AncestorRecord> {
    ancestors
        .iter()
        .map(|ancestor| AncestorRecord {
            pid: ancestor.group.tgid,
            comm: ancestor.comm.clone(),
        })
        .collect()
}

pub(super) fn actor_record(party: &Party) -> Actor {
    Actor {
        kind: party.kind,
        name: party.name.clone(),
        pid: party.group.map(|group| group.tgid),
        comm: party.comm.clone(),
        container: None,
        unit: None,
    }
}

pub(super) fn outcome(exit: &Exit, killed_ns: Option<u64>, survived: Option<Survival>) -> Outcome {
    let (exit_code, signal) = match Status::of(exit.victim.exit_code) {
        Status::Signal(signal) => (128 + signal, Some(signal)),
        Status::Exited(code) => (code, None),
        Status::Unknown => (-1, None),
    };
    Outcome {
        exit_code,
        signal,
        latency_us: killed_ns.map(|killed| exit.boottime_ns.saturating_sub(killed) / 1_000),
        container_survived: survived.map(|survived| survived == Survival::GoesOn),
    }
}
