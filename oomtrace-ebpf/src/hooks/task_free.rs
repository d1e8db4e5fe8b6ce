//! `sched_process_free(struct task_struct *p)`: include/trace/events/sched.h, the same from 5.8 to
//! 7.2. It runs an RCU grace period after the task was reaped (`delayed_put_task_struct` of
//! kernel/exit.c), in a softirq, or in a thread of RCU's own.

use aya_ebpf::{
    macros::{map, raw_tracepoint},
    maps::PerCpuArray,
    programs::RawTracePointContext,
};
use oomtrace_common::wire::{exit_seen, who};

use super::{KILLED, end};
use crate::{
    kernel::{Address, get},
    record::Scratch,
    task,
};

#[map]
static FREE_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

#[raw_tracepoint(tracepoint = "sched_process_free")]
pub(crate) fn task_free(ctx: RawTracePointContext) -> i32 {
    let _ = try_free(&ctx);
    0
}

/// The leader is asked: what other threads point to may be gone before they are.
#[inline(always)]
fn try_free(ctx: &RawTracePointContext) -> Option<()> {
    let task: Address = ctx.arg(0);
    let tid = get!(task, task_pid, u32)?;
    let key = task::group_key(task)?;
    if tid != key.tgid {
        return None;
    }
    end::claim(KILLED.get_ptr_mut(&key)?)?;
    let (record, body) = end::begin(&FREE_SCRATCH)?;
    body.tid = tid;
    body.seen = exit_seen::FREED;
    task::put_end(record, who::VICTIM, task);
    record.submit();
    Some(())
}
