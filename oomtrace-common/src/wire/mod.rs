//! Records on the ring buffer.
//!
//! A record is a [`RecordHeader`], a body whose type follows from the header's kind, and
//! then sections. A section is a [`SectionHeader`] with its payload, padded to
//! [`ALIGN`] bytes. Sections come in any order, and an unknown one is skipped, so a new
//! one does not need a new version.

mod body;
mod memcg;
mod stop;
mod task;

use bytemuck::{Pod, Zeroable};

pub use self::{
    body::{
        CgroupBody, ExitBody, MarkVictimBody, OomKillBody, SigkillBody, exit_seen, info_kind, kind,
        oom_present,
    },
    memcg::{CgroupLevel, MemcgLevel, memcg_flags},
    stop::{StopSender, StopSlot, StopVictim},
    task::{Ancestor, ArgvHeader, CpuLimits, QueuedKill, TaskFacts, cpu_limits, present},
};

/// Version of the layout; a recording made with another one is refused.
pub const VERSION: u16 = 2;
/// Records, bodies, section headers and payloads start at multiples of this.
pub const ALIGN: usize = 8;
/// No record is longer than this.
pub const MAX_RECORD_BYTES: usize = 16 * 1024;
/// How many ancestors of a task are kept, nearest first.
pub const MAX_ANCESTORS: usize = 8;
/// How many of a stop request's sender's ancestors are kept.
pub const MAX_STOP_ANCESTORS: usize = 4;
/// How many frames of the kernel stack are kept, innermost first.
pub const MAX_FRAMES: usize = 32;
/// How many levels of memory cgroups are kept, from the task's own towards the root.
pub const MAX_MEMCG_LEVELS: usize = 10;
/// How many names of a cgroup path are kept, from the leaf towards the root.
pub const MAX_CGROUP_NAMES: usize = 16;
/// How many names of a file's path are kept, from the file towards the root.
pub const MAX_EXE_NAMES: usize = 16;
/// How many mounts a file's path is followed through.
pub const MAX_EXE_MOUNTS: usize = 4;
/// The longest name of a cgroup or of a file, with its NUL (`NAME_MAX` + 1).
pub const MAX_NAME_BYTES: usize = 256;
/// Past the end of a record there is room for the two largest writes, so that an offset kept
/// within the record by a mask is always in bounds.
pub const SPARE_BYTES: usize = 2 * MAX_ARGV_BYTES + 512;
/// How much of a process's argument area is kept.
pub const MAX_ARGV_BYTES: usize = 4096;
/// How much of the arguments of a stop request's sender is kept.
pub const MAX_STOP_ARGV_BYTES: usize = 128;
/// The longest name of the executable of a stop request's sender that is kept, with its NUL.
pub const MAX_STOP_EXE_BYTES: usize = 32;
/// How many different stop requests to one process are kept.
pub const STOP_SLOTS: usize = 4;
/// `TASK_COMM_LEN` of the kernel.
pub const COMM_BYTES: usize = 16;

/// Tags of sections (`SectionHeader::tag`).
pub mod tag {
    /// One [`TaskFacts`](super::TaskFacts).
    pub const TASK: u16 = 1;
    /// [`Ancestor`](super::Ancestor)s, the parent first. A victim's end at the sender or at
    /// the sender's parent, above which both have the same.
    pub const ANCESTRY: u16 = 2;
    /// A [`ArgvHeader`](super::ArgvHeader), then bytes of the argument area: NUL-terminated strings.
    pub const ARGV: u16 = 3;
    /// NUL-terminated names of the executable's path, the file's first. Here and in the paths
    /// of cgroups an empty name at the end says that the path goes on.
    pub const EXE: u16 = 4;
    /// NUL-terminated names of the memory controller's cgroup, the leaf's first.
    pub const MEMORY_CGROUP: u16 = 5;
    /// The same of the cgroup in the v2 hierarchy, where it is another one.
    pub const UNIFIED_CGROUP: u16 = 6;
    /// [`MemcgLevel`](super::MemcgLevel)s, the task's own first.
    pub const MEMCG: u16 = 7;
    /// Addresses of the kernel stack, innermost first: `u64`s.
    pub const STACK: u16 = 8;
    /// [`StopSlot`](super::StopSlot)s in use.
    pub const STOPS: u16 = 9;
    /// The kernel's address of the root of the v2 hierarchy: a `u64`.
    pub const UNIFIED_ROOT: u16 = 10;
    /// NUL-terminated file names of the ancestors' executables, the parent's first; empty
    /// for a kernel thread.
    pub const ANCESTRY_EXE: u16 = 11;
    /// One [`CpuLimits`](super::CpuLimits).
    pub const CPU_LIMITS: u16 = 12;
    /// One [`Ancestor`](super::Ancestor): the process that traces the victim by ptrace.
    pub const PTRACER: u16 = 13;
    /// NUL-terminated last names of the ancestors' cgroups, the parent's first: that of the v2
    /// hierarchy, or of the memory controller where the former is the root; empty for the root.
    pub const ANCESTRY_CGROUP: u16 = 14;
    /// [`CgroupLevel`](super::CgroupLevel)s of the memory controller's hierarchy of v1, the
    /// leaf's first.
    pub const MEMORY_LEVELS: u16 = 15;
    /// The same of the v2 hierarchy.
    pub const UNIFIED_LEVELS: u16 = 16;
    /// Of the cgroups below one, the oldest first, those without a process left out: its name and
    /// that of a process in it, both NUL-terminated.
    pub const CHILDREN: u16 = 17;
    /// One [`QueuedKill`](super::QueuedKill).
    pub const QUEUED_KILL: u16 = 18;
}

/// Whom a section is about (`SectionHeader::who`).
pub mod who {
    pub const SENDER: u16 = 1;
    pub const VICTIM: u16 = 2;
    /// The memory cgroup whose limit the OOM killer was called for.
    pub const LIMIT: u16 = 3;
    /// The event itself.
    pub const EVENT: u16 = 4;
}

/// First in every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct RecordHeader {
    /// One of [`kind`].
    pub kind: u16,
    /// [`VERSION`].
    pub version: u16,
    /// Bytes of the whole record, this header included.
    pub len: u32,
    /// `CLOCK_BOOTTIME` at the event.
    pub boottime_ns: u64,
    /// The processor on which it happened.
    pub cpu: u32,
    pub pad: u32,
}

/// First in every section.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct SectionHeader {
    /// One of [`tag`].
    pub tag: u16,
    /// One of [`who`].
    pub who: u16,
    /// Bytes of the payload, without padding.
    pub len: u32,
}

/// Holds size and offsets of each type to what stands here.
macro_rules! layout {
    ($($type:ident: $size:literal { $($field:ident @ $offset:literal),* $(,)? })*) => {$(
        const _: () = assert!(size_of::<$type>() == $size);
        const _: () = assert!(size_of::<$type>() % $crate::wire::ALIGN == 0);
        $(const _: () = assert!(core::mem::offset_of!($type, $field) == $offset);)*
    )*};
}
use layout;

layout! {
    RecordHeader: 24 { kind @ 0, version @ 2, len @ 4, boottime_ns @ 8, cpu @ 16 }
    SectionHeader: 8 { tag @ 0, who @ 2, len @ 4 }
}
