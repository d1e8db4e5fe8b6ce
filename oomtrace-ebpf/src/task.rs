//! Facts of a task and its thread group.

use oomtrace_common::{
    maps::GroupKey,
    wire::{Ancestor, COMM_BYTES, MAX_ANCESTORS, TaskFacts, present, tag},
};

use crate::{
    kernel::{self, Address, fact, follow, get, offset},
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

/// Writes a value, and its bit where there is one.
macro_rules! fill {
    ($facts:ident.$field:ident, $bit:ident, $value:expr) => {
        if let Some(value) = $value {
            $facts.$field = value;
            $facts.present |= present::$bit;
        }
    };
}

/// Appends the facts of `task`; `leader` leads its thread group.
#[inline(always)]
pub(crate) fn put_facts(record: &mut Record, who: u16, task: Address, leader: Address) {
    let Some(facts) = record.put::<TaskFacts>(tag::TASK, who) else {
        return;
    };
    fill!(
        facts.start_ns,
        START,
        get!(leader, task_start_boottime, u64)
    );
    facts.tgid = get!(task, task_tgid, u32).unwrap_or(0);
    facts.tid = get!(task, task_pid, u32).unwrap_or(0);
    fill!(facts.flags, FLAGS, get!(task, task_flags, u32));
    fill!(facts.exit_code, EXIT_CODE, get!(task, task_exit_code, i32));
    fill!(
        facts.leader_exit_code,
        LEADER_EXIT_CODE,
        get!(leader, task_exit_code, i32)
    );
    fill!(facts.login_uid, LOGIN_UID, get!(task, task_loginuid, u32));
    fill!(facts.uid, UID, uid(task));
    if comm(task, &mut facts.comm) {
        facts.present |= present::COMM;
    }
    if let Some(parent) = follow!(leader, task_real_parent) {
        fill!(facts.ppid, PARENT, get!(parent, task_tgid, u32));
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
    fill!(
        facts.signal_flags,
        SIGNAL_FLAGS,
        get!(signal, signal_flags, u32)
    );
    fill!(
        facts.group_exit_code,
        GROUP_EXIT_CODE,
        get!(signal, signal_group_exit_code, i32)
    );
    fill!(facts.live, LIVE, get!(signal, signal_live, i32));
    fill!(
        facts.oom_score_adj,
        OOM_SCORE_ADJ,
        get!(signal, signal_oom_score_adj, i16).map(i32::from)
    );
    fill!(facts.pgid, PGID, pgid(signal));
    fill!(facts.sid, SID, sid(signal));
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
        fill!(facts.ns_tgid, NS_PID, kernel::read::<u32>(pid, Some(at)));
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
    if let Some(anon) = get!(mm, mm_rss_anon, i64) {
        facts.rss_anon_pages = anon;
        facts.rss_file_pages = get!(mm, mm_rss_file, i64).unwrap_or(0);
        facts.rss_shmem_pages = get!(mm, mm_rss_shmem, i64).unwrap_or(0);
        facts.swap_pages = get!(mm, mm_rss_swap, i64).unwrap_or(0);
        facts.present |= present::RSS;
    }
    fill!(facts.total_vm_pages, TOTAL_VM, get!(mm, mm_total_vm, u64));
    fill!(
        facts.page_tables_bytes,
        PAGE_TABLES,
        get!(mm, mm_pgtables_bytes, i64)
    );
    if let Some(core_state) = get!(mm, mm_core_state, Address) {
        core_dump(facts, core_state);
    }
}

/// Fills in one ancestor, given its leader; false if it cannot be read.
#[inline(always)]
pub(crate) fn fill_ancestor(ancestor: &mut Ancestor, leader: Address) -> bool {
    let Some(tgid) = get!(leader, task_tgid, u32) else {
        return false;
    };
    ancestor.tgid = tgid;
    ancestor.start_ns = get!(leader, task_start_boottime, u64).unwrap_or(0);
    ancestor.uid = uid(leader).unwrap_or(u32::MAX);
    comm(leader, &mut ancestor.comm)
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
#[inline(always)]
pub(crate) fn put_ancestry(record: &mut Record, who: u16, leader: Address) {
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
