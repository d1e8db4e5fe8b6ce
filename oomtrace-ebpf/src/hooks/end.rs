//! The end of a thread group, which three programs look for: each end is sent once, by the first
//! that sees it.
//!
//! Where programs on tracepoints can be preempted (7.2 does so), a process that ends on the
//! same processor meanwhile is passed over: the kernel lets no program run twice at once on
//! one processor, and counts what it passes over (`recursion_misses`). Of 1,860 processes that
//! died in groups of 31 on an emulated processor, three programs on `sched_process_exit` missed
//! 156 at once. So there are two more places to look, where hardly anything comes between:
//!
//! | program | sees | does not see |
//! |---|---|---|
//! | `process_exit` | every end, at once, with all that the process had | what it is passed over for |
//! | `exit_notify` | the same a little later, without its memory | what has a parent that ignores SIGCHLD, or another signal for its end |
//! | `task_free` | name and status of what got a SIGKILL, an RCU grace period after it was reaped | what ended as if it had got one |
//!
//! What all three do not see is not told: a status of 137 of its own, say, of a process that
//! `process_exit` is passed over for and whose parent ignores SIGCHLD.

use aya_ebpf::maps::PerCpuArray;
use oomtrace_common::{
    maps::Killed,
    signals::SIGKILL,
    wire::{ExitBody, kind, who},
};

use super::KILLED;
use crate::{
    kernel::{Address, BPF_NOEXIST, get, settings},
    names,
    record::{Record, Scratch, lost},
    scope, task,
};

/// `SIGNAL_GROUP_EXIT` of include/linux/sched/signal.h: the group's exit code counts.
const SIGNAL_GROUP_EXIT: u32 = 4;
/// Exit status 137 as the kernel keeps it.
const STATUS_137: u32 = 137 << 8;

/// Sends the end of the group of `task`, its last thread, if it is one that counts: by SIGKILL,
/// with status 137, or after a SIGKILL. `scratch`: the program's own, for it may run while another
/// is preempted.
#[inline(always)]
pub(super) fn put(
    task: Address,
    signal: Address,
    seen: u32,
    scratch: &PerCpuArray<Scratch>,
) -> Option<()> {
    let leader = task::leader(task);
    let code = if get!(signal, signal_flags, u32)? & SIGNAL_GROUP_EXIT != 0 {
        get!(signal, signal_group_exit_code, u32)?
    } else {
        get!(leader, task_exit_code, u32)?
    };
    let key = task::group_key(leader)?;
    let killed = KILLED.get_ptr_mut(&key);
    if code & 0x7f != SIGKILL && code & 0xff00 != STATUS_137 && killed.is_none() {
        return None;
    }
    if !scope::holds(leader) {
        return None;
    }
    if let Some(killed) = killed {
        claim(killed)?;
    } else {
        // For the programs after this one. Without room, they send it again, and the reader
        // drops the second.
        let ended = Killed {
            exit_sent: settings().generation,
            ..Killed::NONE
        };
        let _ = KILLED.insert(&key, &ended, BPF_NOEXIST);
    }
    let (record, body) = begin(scratch)?;
    body.tid = get!(task, task_pid, u32).unwrap_or(0);
    body.seen = seen;
    task::put_facts(record, who::VICTIM, task, leader);
    task::put_ptracer(record, who::VICTIM, task);
    let _ = task::put_queued_kill(record, who::VICTIM, signal);
    task::put_ancestry(record, who::VICTIM, leader);
    names::put_exe(record, who::VICTIM, task);
    names::put_cgroups(record, who::VICTIM, task);
    record.submit();
    Some(())
}

/// Takes it upon this program to send the end; the reader drops one that comes twice.
#[inline(always)]
pub(super) fn claim(killed: *mut Killed) -> Option<()> {
    // SAFETY: a value of the map.
    unsafe { super::claim(&raw mut (*killed).exit_sent) }
}

#[inline(always)]
pub(super) fn begin(scratch: &PerCpuArray<Scratch>) -> Option<(Record, &'static mut ExitBody)> {
    let begun = Record::begin::<ExitBody>(scratch, kind::EXIT);
    if begun.is_none() {
        lost(kind::EXIT);
    }
    begun
}
