//! `sched_process_exit(struct task_struct *p)`, since 6.16 with `bool group_dead`:
//! include/trace/events/sched.h.
//!
//! Only the last thread counts, and only a group that ended by SIGKILL, with status 137,
//! or after a SIGKILL. Without `group_dead`, `signal->live` has to do, and two threads
//! that end at once can both see it at 0: the reader drops the second.
//!
//! Where programs on tracepoints can be preempted (7.2 does so), a process that ends on the
//! same processor meanwhile is passed over: the kernel lets no program run twice at once on
//! one processor, and counts what it passes over (`recursion_misses`). So there are three
//! programs, each for what those before it did not see; the reader tells what all of them
//! have missed. (Of 1,140 processes of a group that died together on an emulated processor,
//! one program alone missed one in eight, two missed two.)

use aya_ebpf::{
    macros::{map, raw_tracepoint},
    maps::PerCpuArray,
    programs::RawTracePointContext,
};
use oomtrace_common::{
    maps::GroupKey,
    signals::SIGKILL,
    wire::{ExitBody, kind, who},
};

use super::KILLED;
use crate::{
    kernel::{Address, fact, follow, get},
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

/// The group that was seen last on this processor.
#[map]
static EXIT_SEEN: PerCpuArray<GroupKey> = PerCpuArray::with_max_entries(1, 0);

/// `SIGNAL_GROUP_EXIT` of include/linux/sched/signal.h: the group's exit code counts.
const SIGNAL_GROUP_EXIT: u32 = 4;
/// Exit status 137 as the kernel keeps it.
const STATUS_137: u32 = 137 << 8;

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn process_exit(ctx: RawTracePointContext) -> i32 {
    let _ = try_exit::<true>(&ctx, &EXIT_SCRATCH);
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn process_exit_2(ctx: RawTracePointContext) -> i32 {
    let _ = try_exit::<false>(&ctx, &EXIT_SCRATCH_2);
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn process_exit_3(ctx: RawTracePointContext) -> i32 {
    let _ = try_exit::<false>(&ctx, &EXIT_SCRATCH_3);
    0
}

#[inline(always)]
fn try_exit<const FIRST: bool>(
    ctx: &RawTracePointContext,
    scratch: &PerCpuArray<Scratch>,
) -> Option<()> {
    let task: Address = ctx.arg(0);
    let signal = follow!(task, task_signal)?;
    let exact = fact!(exit_group_dead) == 1;
    if exact {
        // A bool in a register: its low byte is what the caller set.
        if ctx.arg::<u8>(1) == 0 {
            return None;
        }
    } else if get!(signal, signal_live, i32)? != 0 {
        return None;
    }

    let leader = task::leader(task);
    let code = if get!(signal, signal_flags, u32)? & SIGNAL_GROUP_EXIT != 0 {
        get!(signal, signal_group_exit_code, u32)?
    } else {
        get!(leader, task_exit_code, u32)?
    };
    let key = task::group_key(leader)?;
    if code & 0x7f != SIGKILL && code & 0xff00 != STATUS_137 && KILLED.get_ptr(&key).is_none() {
        return None;
    }
    if !scope::holds(leader) {
        return None;
    }
    // SAFETY: this processor's own entry. Where another program comes between, or the task
    // goes on on another processor, what was sent is sent again: the reader drops it.
    let seen = unsafe { &mut *EXIT_SEEN.get_ptr_mut(0)? };
    if !FIRST && seen.tgid == key.tgid && seen.start_ns == key.start_ns {
        return None;
    }
    *seen = key;
    let Some((record, body)) = Record::begin::<ExitBody>(scratch, kind::EXIT) else {
        lost(kind::EXIT);
        return None;
    };
    body.tid = get!(task, task_pid, u32).unwrap_or(0);
    body.exact = u32::from(exact);
    task::put_facts(record, who::VICTIM, task, leader);
    task::put_ptracer(record, who::VICTIM, task);
    let _ = task::put_queued_kill(record, who::VICTIM, signal);
    task::put_ancestry(record, who::VICTIM, leader);
    names::put_exe(record, who::VICTIM, task);
    names::put_cgroups(record, who::VICTIM, task);
    record.submit();
    Some(())
}
