//! `signal_generate(int sig, struct kernel_siginfo *info, struct task_struct *task, int
//! group, int result)`: include/trace/events/signal.h, the same from 5.8 to 7.2. It runs
//! under the victim's siglock with interrupts off, after the signal took effect.
//!
//! `info` is 0 (`SEND_SIG_NOINFO`), 1 (`SEND_SIG_PRIV`) or a pointer; it is only ever
//! probe-read, and only above 1.

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated,
    macros::{map, raw_tracepoint},
    maps::PerCpuArray,
    programs::RawTracePointContext,
};
use aya_log_ebpf::debug;
use oomtrace_common::{
    maps::{GroupKey, Killed},
    signals::{SI_QUEUE, SI_TKILL, SI_USER, SIGCONT, SIGKILL, can_request_stop, suspends},
    wire::{MAX_FRAMES, SigkillBody, info_kind, kind, tag, who},
};

use super::KILLED;
use crate::{
    argv,
    kernel::{Address, BPF_NOEXIST, current, get},
    memcg, names,
    record::{Record, Scratch, lost},
    scope, stops, task,
};

#[map]
static SIG_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

#[raw_tracepoint(tracepoint = "signal_generate")]
pub(crate) fn sig_generate(ctx: RawTracePointContext) -> i32 {
    let signal: u32 = ctx.arg(0);
    if signal == SIGKILL {
        if scope::holds(task::leader(ctx.arg(2))) && try_sigkill(&ctx).is_none() {
            debug!(&ctx, "a SIGKILL could not be captured");
            lost(kind::SIGKILL);
        }
    } else if can_request_stop(signal) {
        let _ = try_stop(&ctx, signal);
    } else if suspends(signal) || signal == SIGCONT {
        let victim = task::leader(ctx.arg(2));
        if let Some(key) = task::group_key(victim) {
            stops::note_stopped(&key, signal != SIGCONT);
        }
    }
    0
}

/// A signal that a process sent to another one; the kernel's own (timers, faults, the
/// terminal) are no requests.
#[inline(always)]
fn try_stop(ctx: &RawTracePointContext, signal: u32) -> Option<()> {
    let info: Address = ctx.arg(1);
    if info as u64 <= 1 {
        return None;
    }
    let code = get!(info, siginfo_code, i32)?;
    if !matches!(code, SI_USER | SI_QUEUE | SI_TKILL) {
        return None;
    }
    let victim: Address = ctx.arg(2);
    let tgid = get!(victim, task_tgid, u32)?;
    if tgid == ctx.tgid() {
        return None;
    }
    let leader = task::leader(victim);
    if !scope::holds(leader) {
        return None;
    }
    let key = task::group_key(leader)?;
    stops::note(&key, victim, signal, ctx.arg(4))
}

#[inline(always)]
fn try_sigkill(ctx: &RawTracePointContext) -> Option<()> {
    let info: Address = ctx.arg(1);
    let victim: Address = ctx.arg(2);
    let victim_leader = task::leader(victim);
    let victim = task::with_memory(victim, victim_leader);
    let sender = current();
    let sender_leader = task::leader(sender);

    let (record, body) = Record::begin::<SigkillBody>(&SIG_SCRATCH, kind::SIGKILL)?;
    body.result = ctx.arg(4);
    body.group = ctx.arg(3);
    body.info_kind = match info as u64 {
        0 => info_kind::NONE,
        1 => info_kind::PRIV,
        _ => info_kind::POINTER,
    };
    if body.info_kind == info_kind::POINTER {
        body.code = get!(info, siginfo_code, i32).unwrap_or(0);
    }

    put_stack(record, ctx);
    task::put_facts(record, who::SENDER, sender, sender_leader);
    task::put_facts(record, who::VICTIM, victim, victim_leader);
    task::put_cpu_limits(record, who::VICTIM, victim);
    task::put_ancestry(record, who::SENDER, sender_leader);
    task::put_ancestry_exe(record, who::SENDER);
    task::put_ancestry_cgroup(record, who::SENDER);
    task::put_victim_ancestry(record, victim_leader, sender_leader);

    memcg::put_unified_root(record, victim);
    memcg::put_chain(record, who::VICTIM, memcg::css_of(victim));
    // Only the OOM killer and a few others of the kernel's own send this way: then the
    // sender may be the trigger, whose limit it may have been. Asked of the record and not
    // of the argument: what the verifier knows of it, it would carry through all the rest.
    // SAFETY: a valid reference; volatile, so that it is read from the map.
    let info_kind = unsafe { (&raw const body.info_kind).read_volatile() };
    if info_kind == info_kind::PRIV {
        memcg::put_chain(record, who::SENDER, memcg::css_of(sender));
    }
    if let Some(key) = task::group_key(victim_leader) {
        note_killed(&key);
        stops::put(record, &key);
    }
    argv::put_current(record, who::SENDER, sender);
    // What finds no more room is cut off: the victim's comes first.
    names::put_exe(record, who::VICTIM, victim);
    names::put_cgroups(record, who::VICTIM, victim);
    names::put_exe(record, who::SENDER, sender);
    names::put_cgroups(record, who::SENDER, sender);
    record.submit();
    Some(())
}

#[inline(always)]
fn note_killed(key: &GroupKey) {
    // One that is there stays as it is.
    let _ = KILLED.insert(key, &Killed::NONE, BPF_NOEXIST);
}

#[inline(always)]
fn put_stack(record: Record, ctx: &RawTracePointContext) {
    const BYTES: usize = MAX_FRAMES * size_of::<u64>();
    if !record.section(tag::STACK, who::EVENT) {
        return;
    }
    if let Some(room) = record.room(BYTES) {
        // SAFETY: `room` promises the bytes.
        let got = unsafe { generated::bpf_get_stack(ctx.as_ptr(), room.cast(), BYTES as u32, 0) };
        if got > 0 {
            record.advance(core::cmp::min(got as usize, BYTES));
        }
    }
    record.end();
}
