//! Memory cgroups: the page counters of a cgroup and of those above it.

use oomtrace_common::wire::{MAX_MEMCG_LEVELS, MemcgLevel, memcg_flags as flags, tag};

use crate::{
    kernel::{Address, chase, fetch, follow, offset},
    record::Record,
};

/// The memory controller's state of a task's cgroup, or null.
#[inline(always)]
pub(crate) fn css_of(task: Address) -> Address {
    chase!(task, task_cgroups, css_set_memory)
}

/// The root of the v2 hierarchy, as seen from a task, or null.
#[inline(always)]
pub(crate) fn unified_root(task: Address) -> Address {
    chase!(task, task_cgroups, css_set_default, cgroup_root)
}

#[inline(always)]
fn fill_level(level: &mut MemcgLevel, css: Address, memcg: Address, unified: Address) {
    *level = MemcgLevel::NONE;
    level.address = memcg as u64;
    let usage = fetch(&mut level.usage_pages, memcg, offset!(memcg_usage));
    let max = fetch(&mut level.max_pages, memcg, offset!(memcg_max));
    let peak = fetch(&mut level.peak_pages, memcg, offset!(memcg_peak));
    let events = fetch(&mut level.oom_events, memcg, offset!(memcg_oom_events));
    let swap = fetch(&mut level.swap_pages, memcg, offset!(memcg_swap_usage))
        & fetch(&mut level.swap_max_pages, memcg, offset!(memcg_swap_max));
    let mut lock = 0_u8;
    let lock_known = fetch(&mut lock, memcg, offset!(memcg_oom_lock));
    let cgroup = chase!(css, css_cgroup);
    let depth = fetch(&mut level.depth, cgroup, offset!(cgroup_level));
    let mut root: Address = core::ptr::null();
    let version = fetch(&mut root, cgroup, offset!(cgroup_root));
    let mut bits = u64::from(flags::USAGE) & usage
        | u64::from(flags::MAX) & max
        | u64::from(flags::PEAK) & peak
        | u64::from(flags::SWAP) & swap
        | u64::from(flags::OOM_EVENTS) & events
        | u64::from(flags::OOM_LOCK_KNOWN) & lock_known
        | u64::from(flags::DEPTH) & depth;
    if lock != 0 {
        bits |= u64::from(flags::OOM_LOCK);
    }
    if !unified.is_null() {
        bits |= u64::from(flags::VERSION_KNOWN) & version;
        if root != unified {
            bits |= u64::from(flags::V1) & version;
        }
    }
    level.flags = bits as u32;
}

/// Appends the memory cgroup at `css` and those above it.
#[inline(never)]
pub(crate) fn put_chain(record: Record, who: u16, css: Address, unified: Address) {
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
        fill_level(
            unsafe { &mut *room.cast::<MemcgLevel>() },
            css,
            memcg,
            unified,
        );
        record.advance(size_of::<MemcgLevel>());
        let Some(parent) = follow!(css, css_parent) else {
            break;
        };
        css = parent;
    }
    record.end();
}
