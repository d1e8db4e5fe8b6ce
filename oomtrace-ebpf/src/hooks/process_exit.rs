//! `sched_process_exit(struct task_struct *p)`, since 6.16 with `bool group_dead`:
//! include/trace/events/sched.h.
//!
//! Only the last thread counts, and only a group that ended by SIGKILL, with status 137,
//! or after a SIGKILL. Without `group_dead`, `signal->live` has to do, and two threads
//! that end at once can both see it at 0: the reader drops the second.
//!
//! Where programs on tracepoints can be preempted (7.2 does so), a process that ends on the
//! same processor meanwhile is passed over: the kernel lets no program run twice at once on
//! one processor, and counts what it passes over (`recursion_misses`). Of 1,860 processes that
//! died in groups of 31 on an emulated processor, three programs on this tracepoint missed 156
//! at once. So the two others are where nothing can come between:
//!
//! - A group that is dead tells its parent by SIGCHLD (`do_notify_parent` of kernel/signal.c),
//!   and `signal_generate` runs with interrupts off. All that is known at the exit is known here,
//!   too. A parent that ignores SIGCHLD is not told: process 1 of a PID namespace that ends
//!   (`zap_pid_ns_processes` of kernel/pid_namespace.c) is one.
//! - `sched_process_free(struct task_struct *p)`, the same from 5.8 to 7.2, runs in a softirq,
//!   an RCU grace period after the process was reaped (`delayed_put_task_struct` of
//!   kernel/exit.c). Name and status are what is left by then, so it is asked for groups only
//!   that got a SIGKILL: that tells the rest. What ends with status 137 of its own, is passed
//!   over at its exit and has a parent that ignores SIGCHLD is not seen.

use aya_ebpf::{
    macros::{map, raw_tracepoint},
    maps::PerCpuArray,
    programs::RawTracePointContext,
};
use oomtrace_common::{
    maps::Killed,
    signals::{SIGCHLD, SIGKILL},
    wire::{ExitBody, exit_seen, kind, who},
};

use super::KILLED;
use crate::{
    kernel::{Address, BPF_NOEXIST, current, fact, follow, get},
    names,
    record::{Record, Scratch, lost},
    scope, task,
};

#[map]
static EXIT_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// The others' own: they may run while the first is preempted.
#[map]
static EXIT_SCRATCH_2: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
#[map]
static EXIT_SCRATCH_3: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// `SIGNAL_GROUP_EXIT` of include/linux/sched/signal.h: the group's exit code counts.
const SIGNAL_GROUP_EXIT: u32 = 4;
/// Exit status 137 as the kernel keeps it.
const STATUS_137: u32 = 137 << 8;
/// The kernel's `si_code` of a SIGCHLD that tells of an end: include/uapi/asm-generic/siginfo.h.
const CLD_EXITED: i32 = 1;
const CLD_DUMPED: i32 = 3;

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn process_exit(ctx: RawTracePointContext) -> i32 {
    let _ = try_exit(&ctx);
    0
}

#[raw_tracepoint(tracepoint = "signal_generate")]
pub(crate) fn exit_notify(ctx: RawTracePointContext) -> i32 {
    if ctx.arg::<u32>(0) == SIGCHLD {
        let _ = try_notify(&ctx);
    }
    0
}

#[raw_tracepoint(tracepoint = "sched_process_free")]
pub(crate) fn task_free(ctx: RawTracePointContext) -> i32 {
    let _ = try_free(&ctx);
    0
}

#[inline(always)]
fn try_exit(ctx: &RawTracePointContext) -> Option<()> {
    let task: Address = ctx.arg(0);
    let signal = follow!(task, task_signal)?;
    let seen = if fact!(exit_group_dead) == 1 {
        // A bool in a register: its low byte is what the caller set.
        if ctx.arg::<u8>(1) == 0 {
            return None;
        }
        exit_seen::DEAD
    } else if get!(signal, signal_live, i32)? != 0 {
        return None;
    } else {
        exit_seen::NONE_LIVE
    };
    put_exit(task, signal, seen, &EXIT_SCRATCH)
}

#[inline(always)]
fn try_notify(ctx: &RawTracePointContext) -> Option<()> {
    let info: Address = ctx.arg(1);
    if info as u64 <= 1 || !matches!(get!(info, siginfo_code, i32)?, CLD_EXITED..=CLD_DUMPED) {
        return None;
    }
    // Where another one tells of a group (a tracer may), its own is alive.
    let task = current();
    let signal = follow!(task, task_signal)?;
    if get!(signal, signal_live, i32)? != 0 {
        return None;
    }
    put_exit(task, signal, exit_seen::DEAD, &EXIT_SCRATCH_2)
}

/// Sends the end of the group of `task`, its last thread, if it is one that counts and has not
/// been sent.
#[inline(always)]
fn put_exit(
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
    match killed {
        Some(killed) => is_first(killed)?,
        // For the programs after this one. Without room, they send it again, and the reader
        // drops the second.
        None => {
            let _ = KILLED.insert(&key, &Killed::ENDED, BPF_NOEXIST);
        }
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

/// The leader is freed last of its group; of the others, what they point to may be gone.
#[inline(always)]
fn try_free(ctx: &RawTracePointContext) -> Option<()> {
    let task: Address = ctx.arg(0);
    let tid = get!(task, task_pid, u32)?;
    let key = task::group_key(task)?;
    if tid != key.tgid {
        return None;
    }
    is_first(KILLED.get_ptr_mut(&key)?)?;
    let (record, body) = begin(&EXIT_SCRATCH_3)?;
    body.tid = tid;
    body.seen = exit_seen::FREED;
    task::put_end(record, who::VICTIM, task);
    record.submit();
    Some(())
}

/// Whether the end has not been sent before; now it is.
#[inline(always)]
fn is_first(killed: *mut Killed) -> Option<()> {
    // SAFETY: a value of the map. Two threads may both see 0: the end is then sent twice, and the
    // reader drops the second.
    unsafe {
        if (*killed).exit_sent != 0 {
            return None;
        }
        (*killed).exit_sent = 1;
    }
    Some(())
}

#[inline(always)]
fn begin(scratch: &PerCpuArray<Scratch>) -> Option<(Record, &'static mut ExitBody)> {
    let begun = Record::begin::<ExitBody>(scratch, kind::EXIT);
    if begun.is_none() {
        lost(kind::EXIT);
    }
    begun
}
