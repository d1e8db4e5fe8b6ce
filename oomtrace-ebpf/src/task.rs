//! Facts of a task and its thread group.

use oomtrace_common::{
    maps::GroupKey,
    wire::{Ancestor, COMM_BYTES, MAX_ANCESTORS, TaskFacts, present, tag},
};

use crate::{
    kernel::{self, Address, fact, fetch, follow, get, offset},
    record::Record,
};

/// The leader of a task's thread group; the task itself if that cannot be read.
#[inline(always)]
pub(crate) fn leader(task: Address) -> Address {
    follow!(task, task_group_leader).unwrap_or(task)
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
    fill!(facts.comm, COMM, task, task_comm);
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
        put_memory_facts(facts, mm);
    }
}

#[inline(always)]
fn put_signal_facts(facts: &mut TaskFacts, signal: Address) {
    fill!(facts.signal_flags, SIGNAL_FLAGS, signal, signal_flags);
    fill!(
        facts.group_exit_code,
        GROUP_EXIT_CODE,
        signal,
        signal_group_exit_code
    );
    fill!(facts.live, LIVE, signal, signal_live);
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
    let mut cred: Address = core::ptr::null();
    fetch(&mut cred, leader, offset!(task_cred));
    // All ones stand for "not known".
    let uid = fetch(&mut ancestor.uid, cred, offset!(cred_uid));
    ancestor.uid |= !uid as u32;
    known != 0
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

/// Appends the ancestors of `leader`, its parent first.
#[inline(never)]
pub(crate) fn put_ancestry(record: Record, who: u16, leader: Address) {
    if !record.section(tag::ANCESTRY, who) {
        return;
    }
    let mut task = leader;
    for _ in 0..MAX_ANCESTORS {
        let Some(parent) = parent(task) else { break };
        let Some(room) = record.room(size_of::<Ancestor>()) else {
            break;
        };
        // SAFETY: `room` promises the bytes; every bit pattern is an `Ancestor`.
        if !fill_ancestor(unsafe { &mut *room.cast::<Ancestor>() }, parent) {
            break;
        }
        record.advance(size_of::<Ancestor>());
        task = parent;
    }
    record.end();
}
