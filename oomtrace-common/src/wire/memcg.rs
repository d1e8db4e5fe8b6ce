//! Sections about cgroups.

use bytemuck::{Pod, Zeroable};

use super::layout;

/// One cgroup on the way from a task's to the root.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct CgroupLevel {
    /// The kernel's number of it: its inode in cgroupfs.
    pub id: u64,
}

/// Bits of [`MemcgLevel::flags`]: which fields hold what the kernel said.
pub mod memcg_flags {
    pub const USAGE: u32 = 1;
    pub const MAX: u32 = 2;
    pub const PEAK: u32 = 4;
    pub const SWAP: u32 = 8;
    pub const OOM_EVENTS: u32 = 16;
    pub const OOM_LOCK: u32 = 32;
    pub const ROOT: u32 = 64;
    pub const DEPTH: u32 = 128;
}

/// One memory cgroup at the moment of the event.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct MemcgLevel {
    /// The kernel's address of it: equal for the same cgroup, of no other use.
    pub address: u64,
    pub usage_pages: u64,
    pub max_pages: u64,
    pub peak_pages: u64,
    pub swap_pages: u64,
    pub swap_max_pages: u64,
    /// `memory.events.local`'s `oom`: how often this level's own limit was hit.
    pub oom_events: u64,
    /// The kernel's address of its hierarchy's root: that of the v2 hierarchy, or another.
    pub root: u64,
    /// Depth in its hierarchy; the root is 0.
    pub depth: u32,
    /// Bits of [`memcg_flags`].
    pub flags: u32,
    /// Not 0 while an OOM is being handled here or above.
    pub oom_lock: u8,
    pub pad: [u8; 7],
}

impl MemcgLevel {
    /// Nothing is known of a level.
    pub const NONE: Self = Self {
        address: 0,
        usage_pages: 0,
        max_pages: 0,
        peak_pages: 0,
        swap_pages: 0,
        swap_max_pages: 0,
        oom_events: 0,
        root: 0,
        depth: 0,
        flags: 0,
        oom_lock: 0,
        pad: [0; 7],
    };
}

layout! {
    CgroupLevel: 8 { id @ 0 }
    MemcgLevel: 80 {
        address @ 0,
        usage_pages @ 8,
        oom_events @ 48,
        root @ 56,
        depth @ 64,
        flags @ 68,
        oom_lock @ 72
    }
}
