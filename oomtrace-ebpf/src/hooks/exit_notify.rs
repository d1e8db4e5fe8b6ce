//! `signal_generate` (its prototype: signal_generate.rs), where a group that is dead tells its parent
//! by SIGCHLD: `do_notify_parent` of kernel/signal.c. Interrupts are off there, so nothing comes
//! between.
//!
//! A parent that ignores SIGCHLD is not told; process 1 of a PID namespace that ends comes to
//! ignore it (`zap_pid_ns_processes` of kernel/pid_namespace.c).

use aya_ebpf::{
    macros::{map, raw_tracepoint},
    maps::PerCpuArray,
    programs::RawTracePointContext,
};
use oomtrace_common::{signals::SIGCHLD, wire::exit_seen};

use super::end;
use crate::{
    kernel::{Address, current, follow, get},
    record::Scratch,
    task,
};

#[map]
static TOLD_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// `si_code` of a SIGCHLD that tells of an end, from the first to the last:
/// include/uapi/asm-generic/siginfo.h.
const CLD_EXITED: i32 = 1;
const CLD_DUMPED: i32 = 3;

#[raw_tracepoint(tracepoint = "signal_generate")]
pub(crate) fn exit_notify(ctx: RawTracePointContext) -> i32 {
    if ctx.arg::<u32>(0) == SIGCHLD {
        let _ = try_notify(&ctx);
    }
    0
}

#[inline(always)]
fn try_notify(ctx: &RawTracePointContext) -> Option<()> {
    let info: Address = ctx.arg(1);
    if info as u64 <= 1 || !matches!(get!(info, siginfo_code, i32)?, CLD_EXITED..=CLD_DUMPED) {
        return None;
    }
    // It may be another's end that is told, by its tracer or its parent: where they live they are
    // passed over here, and where they have ended it is their own end that is sent.
    let task = current();
    let signal = follow!(task, task_signal)?;
    if get!(signal, signal_live, i32)? != 0 {
        return None;
    }
    // Of threads that are traced, each is told of, the last or not.
    if task != task::leader(task) && get!(task, task_ptrace, u32)? != 0 {
        return None;
    }
    end::put(task, signal, exit_seen::TOLD, &TOLD_SCRATCH)
}
