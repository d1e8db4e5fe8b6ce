//! One file for each hook, and `end.rs` for what those that look for ends share. Every program
//! returns 0: the kernel ignores it.

mod cgroup;
mod end;
mod exit_notify;
mod mark_victim;
mod oom_kill;
mod process_exit;
mod signal_deliver;
mod signal_generate;
mod task_free;

use aya_ebpf::{macros::map, maps::LruHashMap};
use oomtrace_common::maps::{GroupKey, Killed};

use crate::kernel::settings;

/// Thread groups that got a SIGKILL: their end is reported whatever their exit status, once, and
/// their own image once. So are those that ended as if they had got one.
#[map]
static KILLED: LruHashMap<GroupKey, Killed> = LruHashMap::with_max_entries(16384, 0);

/// Takes it upon this program to send what `sent` stands for, a field of [`Killed`], if none of its
/// generation has.
///
/// # Safety
/// It must be a field of a value of the map.
#[inline(always)]
unsafe fn claim(sent: *mut u32) -> Option<()> {
    let generation = settings().generation;
    // SAFETY: as promised. Two threads may both find it unsent: it is then sent twice, which does
    // no harm.
    unsafe {
        if *sent == generation {
            return None;
        }
        *sent = generation;
    }
    Some(())
}
