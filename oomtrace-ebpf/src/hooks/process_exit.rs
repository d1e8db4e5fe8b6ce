//! `sched_process_exit(struct task_struct *p)`, since 6.16 with `bool group_dead`:
//! include/trace/events/sched.h.
//!
//! Only the last thread counts. Without `group_dead`, `signal->live` has to do, and two threads
//! that end at once can both see it at 0.

use aya_ebpf::{
    macros::{map, raw_tracepoint},
    maps::PerCpuArray,
    programs::RawTracePointContext,
};
use oomtrace_common::wire::exit_seen;

use super::end;
use crate::{
    kernel::{Address, fact, follow, get},
    record::Scratch,
};

#[map]
static EXIT_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn process_exit(ctx: RawTracePointContext) -> i32 {
    let _ = try_exit(&ctx);
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
    end::put(task, signal, seen, &EXIT_SCRATCH)
}
