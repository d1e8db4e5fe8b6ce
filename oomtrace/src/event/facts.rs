//! Facts of processes and signals, from wire types to typed ones.

use oomtrace_common::{
    signals::result,
    wire::{
        ArgvHeader, CpuLimits as WireLimits, MAX_ANCESTORS, MAX_STOP_ANCESTORS, StopSlot,
        TaskFacts, cpu_limits, present,
    },
};

use super::{
    Ancestor, Argv, Constraint, Group, Handler, Process, Rss, SignalResult, StopRequest, Waiting,
    decode::{DecodeError, take},
    text,
};

/// CPU time of a process, and its hard limits. `None`: no limit, or not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuLimits {
    /// `RLIMIT_CPU`.
    pub cpu_hard_s: Option<u64>,
    /// `RLIMIT_RTTIME`.
    pub rttime_hard_us: Option<u64>,
    /// User and system time together.
    pub used_ns: Option<u64>,
}

impl CpuLimits {
    pub(super) fn from_wire(wire: &WireLimits) -> Self {
        let has = |bit: u64| wire.present & bit != 0;
        // RLIM_INFINITY.
        let limit = |value: u64| (value != u64::MAX).then_some(value);
        Self {
            cpu_hard_s: limit(wire.cpu_hard_s).filter(|_| has(cpu_limits::CPU)),
            rttime_hard_us: limit(wire.rttime_hard_us).filter(|_| has(cpu_limits::RTTIME)),
            used_ns: has(cpu_limits::USED).then(|| wire.user_ns.saturating_add(wire.system_ns)),
        }
    }
}

/// A process, without what comes in sections of its own.
pub(super) fn task(facts: &TaskFacts) -> Process {
    let has = |bit: u64| facts.present & bit != 0;
    // SIGNAL_GROUP_EXIT of include/linux/sched/signal.h: then the group's code counts,
    // else the leader's (5.10 ends a seccomp or ptrace death without the flag).
    let group_exit = has(present::SIGNAL_FLAGS) && facts.signal_flags & 4 != 0;
    let exit_code = if group_exit {
        has(present::GROUP_EXIT_CODE).then_some(facts.group_exit_code)
    } else {
        has(present::LEADER_EXIT_CODE).then_some(facts.leader_exit_code)
    };
    Process {
        group: Group {
            tgid: facts.tgid,
            start_ns: if has(present::START) {
                facts.start_ns
            } else {
                0
            },
        },
        tid: facts.tid,
        ppid: has(present::PARENT).then_some(facts.ppid),
        ns_tgid: has(present::NS_PID).then_some(facts.ns_tgid),
        ns_level: if has(present::NS_PID) {
            facts.ns_level
        } else {
            0
        },
        comm: has(present::COMM).then(|| text::comm(&facts.comm)),
        uid: has(present::UID).then_some(facts.uid),
        login_uid: has(present::LOGIN_UID)
            .then_some(facts.login_uid)
            .filter(|uid| *uid != u32::MAX),
        tty: has(present::TTY)
            .then(|| text::tty(&facts.tty))
            .filter(|name| !name.is_empty()),
        pgid: has(present::PGID)
            .then_some(facts.pgid)
            .filter(|id| *id != 0),
        sid: has(present::SID).then_some(facts.sid).filter(|id| *id != 0),
        oom_score_adj: has(present::OOM_SCORE_ADJ).then_some(facts.oom_score_adj),
        flags: has(present::FLAGS).then_some(facts.flags),
        has_memory: has(present::MM),
        dumping_core: has(present::CORE_STATE_KNOWN).then(|| has(present::DUMPING_CORE)),
        rss: has(present::RSS).then(|| Rss {
            anon_pages: pages(facts.rss_anon_pages),
            file_pages: pages(facts.rss_file_pages),
            shmem_pages: pages(facts.rss_shmem_pages),
            swap_pages: pages(facts.swap_pages),
        }),
        total_vm_pages: has(present::TOTAL_VM).then_some(facts.total_vm_pages),
        page_tables_bytes: has(present::PAGE_TABLES).then(|| pages(facts.page_tables_bytes)),
        waiting: Waiting::of_task(facts),
        seccomp_mode: has(present::SECCOMP).then_some(facts.seccomp_mode),
        is_traced: has(present::PTRACE) && facts.ptrace != 0,
        live_threads: has(present::LIVE).then_some(facts.live),
        exit_code,
        ..Process::default()
    }
}

/// A victim's ancestors end at the sender or at the sender's parent: above those both have the
/// same.
pub(super) fn complete_ancestry(victim: &mut Process, sender: &Process) {
    let Some(last) = victim.ancestry.last().map(|last| last.group) else {
        return;
    };
    let above = if last == sender.group {
        Some(sender.ancestry.as_slice())
    } else {
        sender
            .ancestry
            .iter()
            .position(|ancestor| ancestor.group == last)
            .and_then(|at| sender.ancestry.get(at + 1..))
    };
    let room = MAX_ANCESTORS.saturating_sub(victim.ancestry.len());
    victim
        .ancestry
        .extend(above.unwrap_or_default().iter().take(room).cloned());
}

/// Counters are kept per CPU and summed up late: they can be a little below zero.
fn pages(counter: i64) -> u64 {
    u64::try_from(counter).unwrap_or(0)
}

/// Arguments from the bytes of the argument area; `None` where there are some and none
/// could be read.
pub(super) fn argv(bytes: &[u8]) -> Result<Option<Argv>, DecodeError> {
    let (header, area) = take::<ArgvHeader>(bytes, "an argv")?;
    if area.is_empty() && header.area_bytes > 0 {
        return Ok(None);
    }
    // A title that does not end in the area goes on in the environment behind it: so does
    // get_mm_cmdline() of fs/proc/base.c read it.
    let goes_on = area.last().is_some_and(|last| *last != 0);
    Ok(Some(Argv {
        args: text::strings(area),
        truncated: goes_on || (area.len() as u64) < header.area_bytes,
    }))
}

/// A run of requests to stop.
pub(super) fn stop_request(slot: &StopSlot) -> StopRequest {
    let sender = &slot.sender;
    let some_uid = |uid: u32| (uid != u32::MAX).then_some(uid);
    let ancestors = (sender.ancestors as usize).min(MAX_STOP_ANCESTORS);
    let argv = sender
        .argv
        .get(..sender.argv_bytes as usize)
        .unwrap_or_default();
    let tty = text::tty(&sender.tty);
    let exe = text::comm(&sender.exe);
    StopRequest {
        signal: slot.signal,
        count: slot.count,
        first_ns: slot.first_ns,
        last_ns: slot.last_ns,
        first_result: signal_result(slot.first_result),
        last_result: signal_result(slot.last_result),
        victim: Waiting::of_stop(&slot.victim),
        handler: (slot.victim.present & present::HANDLER != 0).then_some(
            match slot.victim.handler {
                0 => Handler::Default,
                1 => Handler::Ignore,
                _ => Handler::Function,
            },
        ),
        stopped_since: slot.victim.stopped_since != 0,
        sender: Process {
            group: Group {
                tgid: sender.tgid,
                start_ns: sender.start_ns,
            },
            tid: sender.tid,
            ppid: sender
                .ancestry
                .first()
                .filter(|_| ancestors > 0)
                .map(|a| a.tgid),
            comm: Some(text::comm(&sender.comm)),
            exe: (!exe.is_empty()).then_some(exe),
            argv: (!argv.is_empty()).then(|| Argv {
                args: text::strings(argv),
                truncated: argv.len() + 1 >= sender.argv.len(),
            }),
            uid: some_uid(sender.uid),
            login_uid: some_uid(sender.login_uid),
            tty: (!tty.is_empty()).then_some(tty),
            pgid: (sender.pgid != 0).then_some(sender.pgid),
            sid: (sender.sid != 0).then_some(sender.sid),
            has_memory: !argv.is_empty(),
            ancestry: sender
                .ancestry
                .iter()
                .take(ancestors)
                .map(Ancestor::from)
                .collect(),
            ..Process::default()
        },
    }
}

/// `TRACE_SIGNAL_*`.
pub(super) fn signal_result(value: i32) -> SignalResult {
    match value {
        result::DELIVERED => SignalResult::Delivered,
        result::IGNORED => SignalResult::Ignored,
        result::ALREADY_PENDING => SignalResult::AlreadyPending,
        result::OVERFLOW_FAIL => SignalResult::OverflowFail,
        result::LOSE_INFO => SignalResult::LoseInfo,
        other => SignalResult::Other(other),
    }
}

/// `enum oom_constraint` of include/linux/oom.h.
pub(super) fn constraint(value: u32) -> Option<Constraint> {
    Some(match value {
        0 => Constraint::None,
        1 => Constraint::Cpuset,
        2 => Constraint::MemoryPolicy,
        3 => Constraint::Memcg,
        _ => return None,
    })
}
