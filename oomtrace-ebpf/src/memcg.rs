//! Memory cgroups: the page counters of a cgroup and of those above it.

use oomtrace_common::wire::{MAX_MEMCG_LEVELS, MemcgLevel, memcg_flags as flags, tag};

use crate::{
    kernel::{Address, follow, get, offset},
    record::Record,
};

/// The memory controller's state of a task's cgroup.
#[inline(always)]
pub(crate) fn css_of(task: Address) -> Option<Address> {
    follow!(follow!(task, task_cgroups)?, css_set_memory)
}

/// The root of the v2 hierarchy, as seen from a task.
#[inline(always)]
pub(crate) fn unified_root(task: Address) -> Option<Address> {
    follow!(
        follow!(follow!(task, task_cgroups)?, css_set_default)?,
        cgroup_root
    )
}

/// Writes a value, and its flag where there is one.
macro_rules! fill {
    ($level:ident.$field:ident, $flag:ident, $value:expr) => {
        if let Some(value) = $value {
            $level.$field = value;
            $level.flags |= flags::$flag;
        }
    };
}

#[inline(always)]
fn fill_level(level: &mut MemcgLevel, css: Address, memcg: Address, unified: Option<Address>) {
    *level = MemcgLevel::NONE;
    level.address = memcg as u64;
    fill!(level.usage_pages, USAGE, get!(memcg, memcg_usage, u64));
    fill!(level.max_pages, MAX, get!(memcg, memcg_max, u64));
    fill!(level.peak_pages, PEAK, get!(memcg, memcg_peak, u64));
    fill!(
        level.oom_events,
        OOM_EVENTS,
        get!(memcg, memcg_oom_events, u64)
    );
    if let Some(usage) = get!(memcg, memcg_swap_usage, u64) {
        level.swap_pages = usage;
        fill!(level.swap_max_pages, SWAP, get!(memcg, memcg_swap_max, u64));
    }
    if let Some(lock) = get!(memcg, memcg_oom_lock, u8) {
        level.flags |= flags::OOM_LOCK_KNOWN;
        if lock != 0 {
            level.flags |= flags::OOM_LOCK;
        }
    }
    if let Some(cgroup) = follow!(css, css_cgroup) {
        fill!(level.depth, DEPTH, get!(cgroup, cgroup_level, u32));
        if let (Some(root), Some(unified)) = (follow!(cgroup, cgroup_root), unified) {
            level.flags |= flags::VERSION_KNOWN;
            if root != unified {
                level.flags |= flags::V1;
            }
        }
    }
}

/// Appends the memory cgroup at `css` and those above it.
#[inline(always)]
pub(crate) fn put_chain(record: &mut Record, who: u16, css: Address, unified: Option<Address>) {
    let Some(memcg_css) = offset!(memcg_css) else {
        return;
    };
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
