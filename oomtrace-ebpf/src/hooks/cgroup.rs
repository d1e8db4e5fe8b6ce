//! `cgroup_mkdir(struct cgroup *cgrp, const char *path)` and `cgroup_notify_populated(struct
//! cgroup *cgrp, const char *path, int val)`: include/trace/events/cgroup.h, the same from 5.8
//! to 7.2. The first runs after the cgroup is there, and before a process can be in it; the
//! second at the end of the last process in it and below it, and at the first one's start.
//!
//! Every hierarchy has its own cgroups; those of the memory controller and of v2 are looked
//! at.

use aya_ebpf::{
    macros::{map, raw_tracepoint},
    maps::PerCpuArray,
    programs::RawTracePointContext,
};
use oomtrace_common::wire::{CgroupBody, kind, tag, who};

use crate::{
    kernel::Address,
    names,
    record::{Record, Scratch, lost},
    scope,
};

#[map]
static MADE_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
#[map]
static EMPTY_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

#[raw_tracepoint(tracepoint = "cgroup_mkdir")]
pub(crate) fn cgroup_made(ctx: RawTracePointContext) -> i32 {
    let _ = try_change(ctx.arg(0), kind::CGROUP_MADE, &MADE_SCRATCH);
    0
}

#[raw_tracepoint(tracepoint = "cgroup_notify_populated")]
pub(crate) fn cgroup_emptied(ctx: RawTracePointContext) -> i32 {
    if ctx.arg::<u32>(2) == 0 {
        let _ = try_change(ctx.arg(0), kind::CGROUP_EMPTIED, &EMPTY_SCRATCH);
    }
    0
}

/// `cgroup_rmdir(struct cgroup *cgrp, const char *path)`: attached only where something is to be
/// forgotten.
#[raw_tracepoint(tracepoint = "cgroup_rmdir")]
pub(crate) fn cgroup_gone(ctx: RawTracePointContext) -> i32 {
    if let Some(key) = scope::key(ctx.arg(0)) {
        scope::forget(&key);
    }
    0
}

#[inline(always)]
fn try_change(cgroup: Address, kind: u16, scratch: &PerCpuArray<Scratch>) -> Option<()> {
    let key = scope::key(cgroup)?;
    if kind == kind::CGROUP_MADE {
        scope::consider(&key);
    }
    if !scope::holds_cgroup(cgroup, key.unified) {
        return None;
    }
    let Some((record, body)) = Record::begin::<CgroupBody>(scratch, kind) else {
        lost(kind);
        return None;
    };
    body.id = key.id;
    body.unified = key.unified;
    names::put_cgroup(record, tag::MEMORY_CGROUP, who::EVENT, cgroup);
    record.submit();
    Some(())
}
