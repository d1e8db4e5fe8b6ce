//! Where the process that asks runs, as the node sees it: a process in namespaces of its own
//! knows neither its id there nor the path of its cgroup.
//!
//! The program hangs on nothing. It is run on demand (`BPF_PROG_TEST_RUN`, raw tracepoints
//! since 5.10), in the context of whoever asks. Its arguments: of so many levels up from the
//! process's cgroup, the cgroups below are named, 0 for none; and 1 if those are levels of v2's
//! hierarchy. The answer stays in the map, the latest of all processors' counts.

use aya_ebpf::{
    macros::{map, raw_tracepoint},
    maps::PerCpuArray,
    programs::RawTracePointContext,
};
use oomtrace_common::wire::{CgroupLevel, MAX_CGROUP_NAMES, kind, tag, who};

use crate::{
    kernel::{Address, chase, current, fetch, follow, get, offset},
    memcg, names,
    record::{Record, Scratch},
    task,
};

#[map]
static OWN_PLACE: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// So many cgroups below one are looked at.
const MOST_CHILDREN: usize = 64;
/// In so many sets of cgroups a process is looked for.
const MOST_SETS: usize = 8;

#[raw_tracepoint]
pub(crate) fn own_place(ctx: RawTracePointContext) -> i32 {
    let (up, of_unified): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    i32::from(try_place(up, of_unified == 1).is_none())
}

#[inline(always)]
fn try_place(up: u64, of_unified: bool) -> Option<()> {
    let task = current();
    let leader = task::leader(task);
    let (record, ()) = Record::begin::<()>(&OWN_PLACE, kind::OWN_PLACE)?;
    task::put_facts(record, who::SENDER, task, leader);
    names::put_cgroups(record, who::SENDER, task);
    let memory = memcg::cgroup_of(task);
    let unified = memcg::unified_of(task);
    // On v2 alone it is the same hierarchy, with the same numbers.
    if chase!(memory, cgroup_root) != chase!(unified, cgroup_root) {
        put_levels(record, tag::MEMORY_LEVELS, memory);
    }
    put_levels(record, tag::UNIFIED_LEVELS, unified);
    if up > 0 {
        put_children(record, if of_unified { unified } else { memory }, up);
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
/// `cgroup`, each with the name of a process in it.
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
        if populated != 0 {
            if !names::put_name(record, chase!(child, cgroup_kernfs, kernfs_name)) {
                break;
            }
            put_comm(record, child);
        }
        let Some(next) = follow!(child, css_sibling) else {
            break;
        };
        link = next;
    }
    record.end();
}

/// Appends the name of a process in a cgroup, an empty one if none is found in it itself.
///
/// The tasks of a cgroup hang on sets of cgroups (`css_set`), and those on the cgroup by links
/// of their own (`cgrp_cset_link`). No lock is held: what changes meanwhile ends the walk, for
/// every read may fail.
#[inline(never)]
fn put_comm(record: Record, cgroup: Address) {
    let (Some(links), Some(in_cgroup), Some(tasks), Some(in_set), Some(comm)) = (
        offset!(cgroup_cset_links),
        offset!(cset_link_node),
        offset!(css_set_tasks),
        offset!(task_cg_list),
        offset!(task_comm),
    ) else {
        return names::put_no_name(record);
    };
    let head = cgroup.wrapping_add(links);
    let mut node = chase!(cgroup, cgroup_cset_links);
    for _ in 0..MOST_SETS {
        if node == head || node.is_null() {
            break;
        }
        let link = node.wrapping_sub(in_cgroup);
        let set = chase!(link, cset_link_set);
        let first = chase!(set, css_set_tasks);
        if !first.is_null() && first != set.wrapping_add(tasks) {
            let task = first.wrapping_sub(in_set);
            if !names::put_name(record, task.wrapping_add(comm)) {
                break;
            }
            return;
        }
        node = chase!(link, cset_link_node);
    }
    names::put_no_name(record);
}
