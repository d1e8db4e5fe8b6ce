//! Memory cgroups: the page counters of a cgroup and of those above it.

use oomtrace_common::wire::{MAX_MEMCG_LEVELS, MemcgLevel, memcg_flags as flags, tag, who};

use crate::{
    kernel::{Address, chase, fetch, follow, offset},
    record::Record,
};

/// The memory controller's state of a task's cgroup, or null.
#[inline(always)]
pub(crate) fn css_of(task: Address) -> Address {
    chase!(task, task_cgroups, css_set_memory)
}

/// The cgroup that a task has in the memory controller's hierarchy, or null.
#[inline(always)]
pub(crate) fn cgroup_of(task: Address) -> Address {
    chase!(css_of(task), css_cgroup)
}

/// The cgroup that a task has in the v2 hierarchy, or null.
#[inline(always)]
pub(crate) fn unified_of(task: Address) -> Address {
    chase!(task, task_cgroups, css_set_default)
}

/// No branch: every one would double what the verifier has to follow, at each level.
#[inline(always)]
fn fill_level(level: &mut MemcgLevel, css: Address, memcg: Address) {
    *level = MemcgLevel::NONE;
    level.address = memcg as u64;
    let cgroup = chase!(css, css_cgroup);
    let swap = fetch(&mut level.swap_pages, memcg, offset!(memcg_swap_usage))
        & fetch(&mut level.swap_max_pages, memcg, offset!(memcg_swap_max));
    let known = u64::from(flags::USAGE)
        & fetch(&mut level.usage_pages, memcg, offset!(memcg_usage))
        | u64::from(flags::MAX) & fetch(&mut level.max_pages, memcg, offset!(memcg_max))
        | u64::from(flags::PEAK) & fetch(&mut level.peak_pages, memcg, offset!(memcg_peak))
        | u64::from(flags::SWAP) & swap
        | u64::from(flags::OOM_EVENTS)
            & fetch(&mut level.oom_events, memcg, offset!(memcg_oom_events))
        | u64::from(flags::OOM_LOCK) & fetch(&mut level.oom_lock, memcg, offset!(memcg_oom_lock))
        | u64::from(flags::ROOT) & fetch(&mut level.root, cgroup, offset!(cgroup_root))
        | u64::from(flags::DEPTH) & fetch(&mut level.depth, cgroup, offset!(cgroup_level));
    level.flags = known as u32;
}

/// Appends the root of the v2 hierarchy, as seen from a task: what is not below it is on a
/// v1 hierarchy.
#[inline(always)]
pub(crate) fn put_unified_root(record: Record, task: Address) {
    if let Some(root) = record.put::<u64>(tag::UNIFIED_ROOT, who::EVENT) {
        *root = chase!(unified_of(task), cgroup_root) as u64;
    }
}

/// Appends the memory cgroup at `css` and those above it.
#[inline(never)]
pub(crate) fn put_chain(record: Record, who: u16, css: Address) {
    let Some(memcg_css) = offset!(memcg_css) else {
        return;
    };
    if css.is_null() {
        return;
    }
    if !record.section(tag::MEMCG, who) {
        return;
    }
    let mut css = css;
    for _ in 0..MAX_MEMCG_LEVELS {
        let Some(room) = record.room(size_of::<MemcgLevel>()) else {
            break;
        };
        // `struct mem_cgroup` has its state inside.
        let memcg = css.wrapping_sub(memcg_css);
        // SAFETY: `room` promises the bytes; every bit pattern is a `MemcgLevel`.
        fill_level(unsafe { &mut *room.cast::<MemcgLevel>() }, css, memcg);
        record.advance(size_of::<MemcgLevel>());
        let Some(parent) = follow!(css, css_parent) else {
            break;
        };
        css = parent;
    }
    record.end();
}
