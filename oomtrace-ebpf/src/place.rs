//! Where the process that asks runs, as the node sees it: a process in namespaces of its own
//! knows neither its id there nor the path of its cgroup.
//!
//! The program hangs on nothing. It is run on demand (`BPF_PROG_TEST_RUN`, raw tracepoints
//! since 5.10), in the context of whoever asks. Its argument: of so many levels up from the
//! process's cgroup, the cgroups below are named; 0 for none. The answer stays in the map, the
//! latest of all processors' counts.

use aya_ebpf::{
    macros::{map, raw_tracepoint},
    maps::PerCpuArray,
    programs::RawTracePointContext,
};
use oomtrace_common::wire::{CgroupLevel, MAX_CGROUP_NAMES, kind, tag, who};

use crate::{
    kernel::{Address, chase, current, fetch, follow, get, offset},
    names,
    record::{Record, Scratch},
    task,
};

#[map]
static OWN_PLACE: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// So many cgroups below one are looked at.
const MOST_CHILDREN: usize = 64;

#[raw_tracepoint]
pub(crate) fn own_place(ctx: RawTracePointContext) -> i32 {
    let up: u64 = ctx.arg(0);
    i32::from(try_place(up).is_none())
}

#[inline(always)]
fn try_place(up: u64) -> Option<()> {
    let task = current();
    let leader = task::leader(task);
    let (record, ()) = Record::begin::<()>(&OWN_PLACE, kind::OWN_PLACE)?;
    task::put_facts(record, who::SENDER, task, leader);
    names::put_cgroups(record, who::SENDER, task);
    let memory = chase!(task, task_cgroups, css_set_memory, css_cgroup);
    let unified = chase!(task, task_cgroups, css_set_default);
    put_levels(record, tag::MEMORY_LEVELS, memory);
    put_levels(record, tag::UNIFIED_LEVELS, unified);
    if up > 0 {
        put_children(record, memory, up);
    }
    record.leave();
    Some(())
}

#[inline(never)]
fn put_levels(record: Record, tag: u16, cgroup: Address) {
    if !record.section(tag, who::SENDER) {
        return;
    }
    let mut node = chase!(cgroup, cgroup_kernfs);
    for _ in 0..=MAX_CGROUP_NAMES {
        if node.is_null() {
            break;
        }
        let Some(room) = record.room(size_of::<CgroupLevel>()) else {
            break;
        };
        // SAFETY: `room` promises the bytes; every bit pattern is a `CgroupLevel`.
        let level = unsafe { &mut *room.cast::<CgroupLevel>() };
        fetch(&mut level.id, node, offset!(kernfs_id));
        record.advance(size_of::<CgroupLevel>());
        node = chase!(node, kernfs_parent);
    }
    record.end();
}

/// Appends the names of the cgroups with processes below the one that is `up` levels above
/// `cgroup`.
#[inline(never)]
fn put_children(record: Record, cgroup: Address, up: u64) {
    let (Some(children), Some(sibling)) = (offset!(cgroup_children), offset!(css_sibling)) else {
        return;
    };
    // A cgroup starts with a state of its own (`cgroup.self`), by which it hangs in the tree.
    let mut above = cgroup;
    for level in 0..MAX_CGROUP_NAMES as u64 {
        if level >= up {
            break;
        }
        above = chase!(above, css_parent);
    }
    if above.is_null() || !record.section(tag::CHILDREN, who::SENDER) {
        return;
    }
    let head = above.wrapping_add(children);
    let mut link = chase!(above, cgroup_children);
    for _ in 0..MOST_CHILDREN {
        if link == head || link.is_null() {
            break;
        }
        let child = link.wrapping_sub(sibling);
        let populated = get!(child, cgroup_populated_csets, u32).unwrap_or(0)
            | get!(child, cgroup_populated_children, u32).unwrap_or(0);
        if populated != 0 && !names::put_name(record, chase!(child, cgroup_kernfs, kernfs_name)) {
            break;
        }
        let Some(next) = follow!(child, css_sibling) else {
            break;
        };
        link = next;
    }
    record.end();
}
