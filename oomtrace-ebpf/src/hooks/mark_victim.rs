//! `mark_victim(int pid)`, in newer kernels `mark_victim(struct task_struct *task, uid_t
//! uid)`: include/trace/events/oom.h. Which of the two it is, BTF tells, and not the
//! version: the newer form was brought back to older releases.
//!
//! It follows the SIGKILL of an OOM kill. By itself it proves none: it also marks
//! processes that were exiting anyway.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{map, raw_tracepoint},
    maps::PerCpuArray,
    programs::RawTracePointContext,
};
use oomtrace_common::wire::{MarkVictimBody, kind};

use crate::{
    kernel::{Address, fact, get},
    record::{Record, Scratch, lost},
};

#[map]
static MARK_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

#[raw_tracepoint(tracepoint = "mark_victim")]
pub(crate) fn mark_victim(ctx: RawTracePointContext) -> i32 {
    if try_mark(&ctx).is_none() {
        lost(kind::MARK_VICTIM);
    }
    0
}

#[inline(always)]
fn try_mark(ctx: &RawTracePointContext) -> Option<()> {
    let tid = if fact!(mark_victim_task) == 1 {
        get!(ctx.arg::<Address>(0), task_pid, u32)?
    } else {
        ctx.arg(0)
    };
    let (record, body) = Record::begin::<MarkVictimBody>(&MARK_SCRATCH, kind::MARK_VICTIM)?;
    body.victim_tid = tid;
    body.sender_tid = bpf_get_current_pid_tgid() as u32;
    record.submit();
    Some(())
}
