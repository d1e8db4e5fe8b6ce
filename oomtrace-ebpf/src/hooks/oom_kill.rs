//! `static void oom_kill_process(struct oom_control *oc, const char *message)`:
//! mm/oom_kill.c, the same from 5.8 to 7.2. Entered once for each OOM kill, before the
//! SIGKILLs, in the context of the trigger. Two programs with one body: whichever of
//! fentry and kprobe the kernel allows is attached, never both.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, kprobe, map},
    maps::PerCpuArray,
    programs::{FEntryContext, ProbeContext},
};
use oomtrace_common::wire::{OomKillBody, kind, oom_present as present, who};

use crate::{
    kernel::{Address, current, get, offset},
    memcg, names,
    record::{Record, Scratch, lost},
};

#[map]
static OOM_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

#[fentry(function = "oom_kill_process")]
pub(crate) fn oom_fentry(ctx: FEntryContext) -> i32 {
    capture(ctx.arg(0))
}

#[kprobe(function = "oom_kill_process")]
pub(crate) fn oom_kprobe(ctx: ProbeContext) -> u32 {
    match ctx.arg::<Address>(0) {
        Some(oom_control) => capture(oom_control) as u32,
        None => 0,
    }
}

#[inline(always)]
fn capture(oom_control: Address) -> i32 {
    if try_capture(oom_control).is_none() {
        lost(kind::OOM_KILL);
    }
    0
}

/// Writes a value, and its bit where there is one.
macro_rules! fill {
    ($body:ident.$field:ident, $bit:ident, $value:expr) => {
        if let Some(value) = $value {
            $body.$field = value;
            $body.present |= present::$bit;
        }
    };
}

#[inline(always)]
fn try_capture(oc: Address) -> Option<()> {
    let (record, body) = Record::begin::<OomKillBody>(&OOM_SCRATCH, kind::OOM_KILL)?;
    body.sender_tid = bpf_get_current_pid_tgid() as u32;
    fill!(body.points, POINTS, get!(oc, oom_chosen_points, i64));
    fill!(
        body.total_pages,
        TOTAL_PAGES,
        get!(oc, oom_total_pages, u64)
    );
    fill!(body.gfp_mask, GFP, get!(oc, oom_gfp_mask, u32));
    fill!(body.order, ORDER, get!(oc, oom_order, i32));
    fill!(body.constraint, CONSTRAINT, get!(oc, oom_constraint, u32));
    if let Some(chosen) = get!(oc, oom_chosen, Address) {
        fill!(body.chosen_tgid, CHOSEN, get!(chosen, task_tgid, u32));
    }
    let memcg = get!(oc, oom_memcg, Address);
    if let Some(memcg) = memcg {
        body.present |= present::MEMCG_KNOWN;
        if !memcg.is_null() {
            body.present |= present::MEMCG;
        }
    }
    if let (Some(memcg), Some(css)) = (memcg.filter(|memcg| !memcg.is_null()), offset!(memcg_css)) {
        let css = memcg.wrapping_add(css);
        memcg::put_unified_root(record, current());
        memcg::put_chain(record, who::LIMIT, css);
        names::put_limit_cgroup(record, css);
    }
    record.submit();
    Some(())
}
