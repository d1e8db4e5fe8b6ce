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
    kernel::{Address, chase, current, follow, get},
    memcg, names,
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
    let node = chase!(ctx.arg(0), cgroup_kernfs);
    if let Some(id) = get!(node, kernfs_id, u64) {
        scope::forget(id);
    }
    0
}

#[inline(always)]
fn try_change(cgroup: Address, kind: u16, scratch: &PerCpuArray<Scratch>) -> Option<()> {
    let root = follow!(cgroup, cgroup_root)?;
    let task = current();
    let unified = chase!(task, task_cgroups, css_set_default, cgroup_root);
    let memory = chase!(memcg::css_of(task), css_cgroup, cgroup_root);
    if root != unified && root != memory {
        return None;
    }
    let id = get!(follow!(cgroup, cgroup_kernfs)?, kernfs_id, u64)?;
    if kind == kind::CGROUP_MADE {
        scope::consider(id);
    }
    if !scope::holds_cgroup(cgroup) {
        return None;
    }
    let Some((record, body)) = Record::begin::<CgroupBody>(scratch, kind) else {
        lost(kind);
        return None;
    };
    body.id = id;
    body.unified = u32::from(root == unified);
    names::put_cgroup(record, tag::MEMORY_CGROUP, who::EVENT, cgroup);
    record.submit();
    Some(())
}
