//! Facts of a task and its thread group.

use oomtrace_common::{
    maps::GroupKey,
    signals::SIGKILL,
    wire::{
        Ancestor, COMM_BYTES, CpuLimits, MAX_ANCESTORS, MAX_NAME_BYTES, QueuedKill, TaskFacts,
        cpu_limits, present, tag, who,
    },
};

use crate::{
    kernel::{self, Address, chase, fact, fetch, follow, get, offset},
    memcg, names,
    record::Record,
};

/// The leader of a task's thread group; the task itself if that cannot be read.
#[inline(always)]
pub(crate) fn leader(task: Address) -> Address {
    follow!(task, task_group_leader).unwrap_or(task)
}

/// A thread of the group that `victim` belongs to that has memory: the leader, unless it has
/// ended before the others; then one of those.
#[inline(always)]
pub(crate) fn with_memory(victim: Address, leader: Address) -> Address {
    /// So many of the group's threads are tried.
    const MOST: usize = 4;
    if follow!(leader, task_mm).is_some() {
        return leader;
    }
    if follow!(victim, task_mm).is_some() {
        return victim;
    }
    let Some(node) = offset!(task_thread_node) else {
        return leader;
    };
    let mut next = chase!(victim, task_signal, signal_thread_head);
    for _ in 0..MOST {
        // `thread_node` is a `list_head`, whose first member is `next`. After the last comes
        // the head, which lies in `signal_struct`: what is read there is no address.
        let thread = next.wrapping_sub(node);
        if follow!(thread, task_mm).is_some()
            && chase!(thread, task_signal) == chase!(victim, task_signal)
        {
            return thread;
        }
        let Some(following) = kernel::read::<Address>(next, Some(0)) else {
            break;
        };
        next = following;
    }
    leader
}

/// What names the thread group of `leader`, for maps.
#[inline(always)]
pub(crate) fn group_key(leader: Address) -> Option<GroupKey> {
    Some(GroupKey {
        start_ns: get!(leader, task_start_boottime, u64)?,
        tgid: get!(leader, task_tgid, u32)?,
        pad: 0,
    })
}

/// The real uid of a task, as the first user namespace sees it.
#[inline(always)]
pub(crate) fn uid(task: Address) -> Option<u32> {
    get!(follow!(task, task_cred)?, cred_uid, u32)
}

/// The id that `pid` has in the first PID namespace.
#[inline(always)]
fn global_id(pid: Address) -> Option<u32> {
    kernel::read(pid, Some(offset!(pid_numbers)? + offset!(upid_nr)?))
}

/// Process group of a thread group.
#[inline(always)]
pub(crate) fn pgid(signal: Address) -> Option<u32> {
    global_id(follow!(signal, signal_pid_pgid)?)
}

/// Session of a thread group.
#[inline(always)]
pub(crate) fn sid(signal: Address) -> Option<u32> {
    global_id(follow!(signal, signal_pid_sid)?)
}

/// Copies the name of the controlling terminal.
#[inline(always)]
pub(crate) fn tty(signal: Address, to: &mut [u8; COMM_BYTES]) -> bool {
    let Some(tty) = follow!(signal, signal_tty) else {
        return false;
    };
    let name = offset!(tty_name);
    // SAFETY: `to` is as long as said.
    unsafe { kernel::copy(to.as_mut_ptr(), COMM_BYTES, tty, name) }
}

/// Copies a task's name.
#[inline(always)]
pub(crate) fn comm(task: Address, to: &mut [u8; COMM_BYTES]) -> bool {
    let name = offset!(task_comm);
    // SAFETY: `to` is as long as said.
    unsafe { kernel::copy(to.as_mut_ptr(), COMM_BYTES, task, name) }
}

/// Reads a field straight into the facts, and sets its bit if that worked.
macro_rules! fill {
    ($facts:ident.$field:ident, $bit:ident, $base:expr, $name:ident) => {
        $facts.present |= present::$bit & fetch(&mut $facts.$field, $base, offset!($name))
    };
}

/// Sets a field, and its bit, where there is a value.
macro_rules! set {
    ($facts:ident.$field:ident, $bit:ident, $value:expr) => {
        if let Some(value) = $value {
            $facts.$field = value;
            $facts.present |= present::$bit;
        }
    };
}

/// Appends the facts of `task`; `leader` leads its thread group.
#[inline(never)]
pub(crate) fn put_facts(record: Record, who: u16, task: Address, leader: Address) {
    let Some(facts) = record.put::<TaskFacts>(tag::TASK, who) else {
        return;
    };
    fill!(facts.start_ns, START, leader, task_start_boottime);
    fetch(&mut facts.tgid, task, offset!(task_tgid));
    fetch(&mut facts.tid, task, offset!(task_pid));
    fill!(facts.flags, FLAGS, task, task_flags);
    fill!(facts.exit_code, EXIT_CODE, task, task_exit_code);
    fill!(
        facts.leader_exit_code,
        LEADER_EXIT_CODE,
        leader,
        task_exit_code
    );
    fill!(facts.login_uid, LOGIN_UID, task, task_loginuid);
    // The leader's name is the process's.
    let named = if who == who::VICTIM { leader } else { task };
    fill!(facts.comm, COMM, named, task_comm);
    if who == who::VICTIM {
        fill!(facts.state, STATE, task, task_state);
        fill!(facts.jobctl, JOBCTL, task, task_jobctl);
        fill!(facts.blocked, BLOCKED, task, task_blocked);
        fill!(facts.own_pending, PENDING, task, task_pending);
        fill!(facts.seccomp_mode, SECCOMP, task, task_seccomp_mode);
        fill!(facts.ptrace, PTRACE, task, task_ptrace);
    }
    if let Some(cred) = follow!(task, task_cred) {
        fill!(facts.uid, UID, cred, cred_uid);
    }
    if let Some(parent) = follow!(leader, task_real_parent) {
        fill!(facts.ppid, PARENT, parent, task_tgid);
    }
    if let Some(signal) = follow!(task, task_signal) {
        put_signal_facts(facts, signal);
    }
    if let Some(mm) = follow!(task, task_mm) {
        facts.present |= present::MM;
        if who == who::VICTIM {
            put_memory_facts(facts, mm);
        }
    }
}

/// Appends what is left of the facts of `leader`, of a group that was reaped: its name and how it
/// ended. Whatever else it points to may be gone.
#[inline(always)]
pub(crate) fn put_end(record: Record, who: u16, leader: Address) {
    let Some(facts) = record.put::<TaskFacts>(tag::TASK, who) else {
        return;
    };
    fill!(facts.start_ns, START, leader, task_start_boottime);
    fetch(&mut facts.tgid, leader, offset!(task_tgid));
    fetch(&mut facts.tid, leader, offset!(task_pid));
    fill!(
        facts.leader_exit_code,
        LEADER_EXIT_CODE,
        leader,
        task_exit_code
    );
    fill!(facts.comm, COMM, leader, task_comm);
    // A task holds it until it is gone itself: `__put_task_struct` of kernel/fork.c.
    if let Some(signal) = follow!(leader, task_signal) {
        put_group_status(facts, signal);
    }
}

#[inline(always)]
fn put_group_status(facts: &mut TaskFacts, signal: Address) {
    fill!(facts.signal_flags, SIGNAL_FLAGS, signal, signal_flags);
    fill!(
        facts.group_exit_code,
        GROUP_EXIT_CODE,
        signal,
        signal_group_exit_code
    );
}

#[inline(always)]
fn put_signal_facts(facts: &mut TaskFacts, signal: Address) {
    put_group_status(facts, signal);
    fill!(facts.live, LIVE, signal, signal_live);
    fetch(
        &mut facts.shared_pending,
        signal,
        offset!(signal_shared_pending),
    );
    set!(
        facts.oom_score_adj,
        OOM_SCORE_ADJ,
        get!(signal, signal_oom_score_adj, i16).map(i32::from)
    );
    set!(facts.pgid, PGID, pgid(signal));
    set!(facts.sid, SID, sid(signal));
    if tty(signal, &mut facts.tty) {
        facts.present |= present::TTY;
    }
    if let Some(core_state) = get!(signal, signal_core_state, Address) {
        core_dump(facts, core_state);
    }
    if let Some(pid) = follow!(signal, signal_pid_tgid)
        && let Some(level) = get!(pid, pid_level, u32)
        && let Some(numbers) = offset!(pid_numbers)
        && let Some(nr) = offset!(upid_nr)
    {
        let at = numbers + nr + (level as usize).wrapping_mul(fact!(upid_size) as usize);
        facts.ns_level = level;
        facts.present |= present::NS_PID & fetch(&mut facts.ns_tgid, pid, Some(at));
    }
}

#[inline(always)]
fn core_dump(facts: &mut TaskFacts, core_state: Address) {
    facts.present |= present::CORE_STATE_KNOWN;
    if !core_state.is_null() {
        facts.present |= present::DUMPING_CORE;
    }
}

#[inline(always)]
fn put_memory_facts(facts: &mut TaskFacts, mm: Address) {
    fill!(facts.rss_anon_pages, RSS, mm, mm_rss_anon);
    fetch(&mut facts.rss_file_pages, mm, offset!(mm_rss_file));
    fetch(&mut facts.rss_shmem_pages, mm, offset!(mm_rss_shmem));
    fetch(&mut facts.swap_pages, mm, offset!(mm_rss_swap));
    fill!(facts.total_vm_pages, TOTAL_VM, mm, mm_total_vm);
    fill!(facts.page_tables_bytes, PAGE_TABLES, mm, mm_pgtables_bytes);
    if let Some(core_state) = get!(mm, mm_core_state, Address) {
        core_dump(facts, core_state);
    }
}

/// Fills in one ancestor, given its leader; false if it cannot be read.
#[inline(always)]
pub(crate) fn fill_ancestor(ancestor: &mut Ancestor, leader: Address) -> bool {
    let known = fetch(&mut ancestor.tgid, leader, offset!(task_tgid));
    fetch(&mut ancestor.start_ns, leader, offset!(task_start_boottime));
    fetch(&mut ancestor.comm, leader, offset!(task_comm));
    ancestor.ns_level = 0;
    ancestor.ns_tgid = 0;
    ancestor.pad = 0;
    known != 0
}

/// Fills in what an ancestor is called in its own PID namespace.
#[inline(always)]
fn fill_namespace(ancestor: &mut Ancestor, leader: Address) {
    let pid = chase!(leader, task_signal, signal_pid_tgid);
    fetch(&mut ancestor.ns_level, pid, offset!(pid_level));
    if let (Some(numbers), Some(nr)) = (offset!(pid_numbers), offset!(upid_nr)) {
        let at = (ancestor.ns_level as usize).wrapping_mul(fact!(upid_size) as usize);
        fetch(
            &mut ancestor.ns_tgid,
            pid,
            Some((numbers + nr).wrapping_add(at)),
        );
    }
}

/// The leader of the parent's thread group; `None` at the top (the idle task is no parent).
#[inline(always)]
pub(crate) fn parent(leader: Address) -> Option<Address> {
    let parent = follow!(leader, task_real_parent)?;
    if get!(parent, task_tgid, u32)? == 0 {
        return None;
    }
    Some(self::leader(parent))
}

/// Appends the file names of the executables of the ancestors that [`put_ancestry`] has just
/// appended.
#[inline(never)]
pub(crate) fn put_ancestry_exe(record: Record, who: u16) {
    put_ancestry_names(record, tag::ANCESTRY_EXE, who, |parent| {
        chase!(parent, task_mm, mm_exe_file, file_dentry, dentry_name)
    });
}

/// Appends the last names of the cgroups of the same ancestors.
#[inline(never)]
pub(crate) fn put_ancestry_cgroup(record: Record, who: u16) {
    put_ancestry_names(record, tag::ANCESTRY_CGROUP, who, |parent| {
        let mut node = chase!(memcg::unified_of(parent), cgroup_kernfs);
        if chase!(node, kernfs_parent).is_null() {
            node = chase!(memcg::cgroup_of(parent), cgroup_kernfs);
        }
        chase!(node, kernfs_name)
    });
}

/// Appends a name of each of the ancestors that were appended last; an empty one where it cannot
/// be read.
#[inline(always)]
fn put_ancestry_names(record: Record, tag: u16, who: u16, name: impl Fn(Address) -> Address) {
    if !record.section(tag, who) {
        return;
    }
    for index in 0..MAX_ANCESTORS {
        let parent = record.ancestor(index);
        if parent.is_null() || record.room(MAX_NAME_BYTES).is_none() {
            break;
        }
        if !names::put_name(record, name(parent)) {
            names::put_no_name(record);
        }
    }
    record.end();
}

/// Appends the CPU time of a task's group, and its limits.
#[inline(always)]
pub(crate) fn put_cpu_limits(record: Record, who: u16, task: Address) {
    let signal = chase!(task, task_signal);
    let Some(limits) = record.put::<CpuLimits>(tag::CPU_LIMITS, who) else {
        return;
    };
    let cpu = fetch(&mut limits.cpu_hard_s, signal, offset!(signal_cpu_hard));
    let rttime = fetch(
        &mut limits.rttime_hard_us,
        signal,
        offset!(signal_rttime_hard),
    );
    let used = fetch(&mut limits.user_ns, signal, offset!(signal_cpu_user))
        & fetch(&mut limits.system_ns, signal, offset!(signal_cpu_system));
    limits.present = cpu & cpu_limits::CPU | rttime & cpu_limits::RTTIME | used & cpu_limits::USED;
}

/// Appends the SIGKILL that was queued last for the thread group, if one was: no other signal is
/// queued once a group ends.
#[inline(always)]
pub(crate) fn put_queued_kill(record: Record, who: u16, signal: Address) -> Option<()> {
    let head = signal.wrapping_add(offset!(signal_shared_queue)?);
    let last = follow!(head, list_prev).filter(|last| *last != head)?;
    let info = last
        .wrapping_sub(offset!(sigqueue_list)?)
        .wrapping_add(offset!(sigqueue_info)?);
    if get!(info, siginfo_signal, u32)? != SIGKILL {
        return None;
    }
    record.put::<QueuedKill>(tag::QUEUED_KILL, who)?.code = get!(info, siginfo_code, i32)?;
    Some(())
}

/// Appends the process that traces `task`, if one does.
#[inline(always)]
pub(crate) fn put_ptracer(record: Record, who: u16, task: Address) {
    if get!(task, task_ptrace, u32).unwrap_or(0) == 0 {
        return;
    }
    let Some(tracer) = follow!(task, task_parent) else {
        return;
    };
    if let Some(ancestor) = record.put::<Ancestor>(tag::PTRACER, who) {
        let _ = fill_ancestor(ancestor, leader(tracer));
    }
}

/// Appends the ancestors of a victim, its parent first, up to the sender or the sender's
/// parent: above those both have the same ancestors, and the sender's stand there already.
#[inline(never)]
pub(crate) fn put_victim_ancestry(record: Record, leader: Address, sender: Address) {
    if !record.section(tag::ANCESTRY, who::VICTIM) {
        return;
    }
    let senders_parent = record.ancestor(0);
    let mut task = leader;
    for _ in 0..MAX_ANCESTORS {
        let Some(parent) = parent(task) else { break };
        let Some(room) = record.room(size_of::<Ancestor>()) else {
            break;
        };
        // SAFETY: `room` promises the bytes; every bit pattern is an `Ancestor`.
        let ancestor = unsafe { &mut *room.cast::<Ancestor>() };
        if !fill_ancestor(ancestor, parent) {
            break;
        }
        record.advance(size_of::<Ancestor>());
        if parent == sender || parent == senders_parent {
            break;
        }
        task = parent;
    }
    record.end();
}

/// Appends the ancestors of `leader`, its parent first.
#[inline(never)]
pub(crate) fn put_ancestry(record: Record, who: u16, leader: Address) {
    if !record.section(tag::ANCESTRY, who) {
        return;
    }
    let mut task = leader;
    for index in 0..MAX_ANCESTORS {
        record.set_ancestor(index, core::ptr::null());
        let Some(parent) = parent(task) else { break };
        let Some(room) = record.room(size_of::<Ancestor>()) else {
            break;
        };
        // SAFETY: `room` promises the bytes; every bit pattern is an `Ancestor`.
        let ancestor = unsafe { &mut *room.cast::<Ancestor>() };
        if !fill_ancestor(ancestor, parent) {
            break;
        }
        // A session in a container is told by the namespaces on the sender's way up.
        if who == who::SENDER {
            fill_namespace(ancestor, parent);
        }
        record.set_ancestor(index, parent);
        record.advance(size_of::<Ancestor>());
        task = parent;
    }
    record.end();
}
