//! `signal_deliver(int sig, struct kernel_siginfo *info, struct k_sigaction *ka)`:
//! include/trace/events/signal.h. It runs in the victim, whose memory is still there.
//!
//! It names no sender, and it shows signal 9 for every fatal signal and for every
//! `exit_group` of a program with threads: so only processes that a SIGKILL was sent to
//! are looked at, once each.

use aya_ebpf::{
    macros::{map, raw_tracepoint},
    maps::PerCpuArray,
    programs::RawTracePointContext,
};
use oomtrace_common::{
    signals::SIGKILL,
    wire::{kind, who},
};

use super::{KILLED, claim};
use crate::{
    argv,
    kernel::current,
    record::{Record, Scratch, lost},
    task,
};

#[map]
static IMG_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

#[raw_tracepoint(tracepoint = "signal_deliver")]
pub(crate) fn sig_deliver(ctx: RawTracePointContext) -> i32 {
    let signal: u32 = ctx.arg(0);
    if signal == SIGKILL {
        let _ = try_image();
    }
    0
}

#[inline(always)]
fn try_image() -> Option<()> {
    let victim = current();
    let leader = task::leader(victim);
    let killed = KILLED.get_ptr_mut(&task::group_key(leader)?)?;
    // SAFETY: a value of the map.
    unsafe { claim(&raw mut (*killed).image_sent) }?;
    let Some((record, ())) = Record::begin::<()>(&IMG_SCRATCH, kind::IMAGE) else {
        lost(kind::IMAGE);
        return None;
    };
    task::put_facts(record, who::VICTIM, leader, leader);
    argv::put_current(record, who::VICTIM, victim);
    record.submit();
    Some(())
}
