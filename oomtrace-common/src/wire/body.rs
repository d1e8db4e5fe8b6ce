//! What follows a record's header, by the header's kind.

use bytemuck::{Pod, Zeroable};

use super::layout;

/// Kinds of records (`RecordHeader::kind`).
pub mod kind {
    /// A SIGKILL was generated: body [`SigkillBody`](super::SigkillBody).
    pub const SIGKILL: u16 = 1;
    /// The kernel marked an OOM victim: body [`MarkVictimBody`](super::MarkVictimBody).
    pub const MARK_VICTIM: u16 = 2;
    /// A thread group ended: body [`ExitBody`](super::ExitBody).
    pub const EXIT: u16 = 3;
    /// The OOM killer has chosen: body [`OomKillBody`](super::OomKillBody).
    pub const OOM_KILL: u16 = 4;
    /// A victim's own image, read in its own context: no body.
    pub const IMAGE: u16 = 5;
    /// A cgroup was made: body [`CgroupBody`](super::CgroupBody).
    pub const CGROUP_MADE: u16 = 6;
    /// The last process in a cgroup and below it has gone: the same body.
    pub const CGROUP_EMPTIED: u16 = 7;
    /// Where the process that asks runs: no body.
    pub const OWN_PLACE: u16 = 8;
    /// How many kinds there are, with the unused 0.
    pub const COUNT: usize = 9;
}

/// How a signal's `info` argument looked (`SigkillBody::info_kind`).
pub mod info_kind {
    /// `SEND_SIG_NOINFO`: no information, on behalf of the current task.
    pub const NONE: u32 = 0;
    /// `SEND_SIG_PRIV`: from the kernel.
    pub const PRIV: u32 = 1;
    /// A pointer to a filled `kernel_siginfo`.
    pub const POINTER: u32 = 2;
}

/// Body of [`kind::SIGKILL`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct SigkillBody {
    /// One of [`signals::result`](crate::signals::result).
    pub result: i32,
    /// `si_code`; 0 where `info` was no pointer.
    pub code: i32,
    /// 1 for the thread group, 0 for a thread.
    pub group: u32,
    /// One of [`info_kind`].
    pub info_kind: u32,
}

/// Body of [`kind::MARK_VICTIM`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct MarkVictimBody {
    /// The marked task's id (any thread of the group).
    pub victim_tid: u32,
    /// The task that was running: the trigger of the OOM.
    pub sender_tid: u32,
}

/// Body of [`kind::EXIT`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct ExitBody {
    /// The thread that ended last.
    pub tid: u32,
    /// One of [`exit_seen`].
    pub seen: u32,
}

/// Values of [`ExitBody::seen`]: at which moment an end was seen.
pub mod exit_seen {
    /// At `sched_process_exit`, `signal->live` being 0: two threads can both see it so.
    pub const NONE_LIVE: u32 = 0;
    /// The kernel itself said that the group is dead.
    pub const DEAD: u32 = 1;
    /// When the kernel freed what was left of it, some time after the end: its name and its
    /// status.
    pub const FREED: u32 = 2;
    /// When its parent was told that it is dead. It has given its memory back by then.
    pub const TOLD: u32 = 3;
}

/// Bits of [`OomKillBody::present`].
pub mod oom_present {
    pub const CHOSEN: u32 = 1;
    pub const POINTS: u32 = 2;
    pub const TOTAL_PAGES: u32 = 4;
    pub const GFP: u32 = 8;
    pub const ORDER: u32 = 16;
    pub const CONSTRAINT: u32 = 32;
    /// `oom_control.memcg` could be read; a null one means that no cgroup's limit was hit.
    pub const MEMCG_KNOWN: u32 = 64;
    pub const MEMCG: u32 = 128;
}

/// Body of [`kind::OOM_KILL`]: `struct oom_control` as `oom_kill_process` got it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct OomKillBody {
    /// Bits of [`oom_present`].
    pub present: u32,
    /// `enum oom_constraint`: 0 none, 1 cpuset, 2 memory policy, 3 memory cgroup.
    pub constraint: u32,
    pub chosen_tgid: u32,
    pub sender_tid: u32,
    pub points: i64,
    pub total_pages: u64,
    pub gfp_mask: u32,
    pub order: i32,
}

/// Body of [`kind::CGROUP_MADE`] and [`kind::CGROUP_EMPTIED`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct CgroupBody {
    /// The kernel's number of it: its inode in cgroupfs.
    pub id: u64,
    /// 1 if it is in the v2 hierarchy, 0 if in the memory controller's of v1.
    pub unified: u32,
    pub pad: u32,
}

layout! {
    SigkillBody: 16 { result @ 0, code @ 4, group @ 8, info_kind @ 12 }
    MarkVictimBody: 8 { victim_tid @ 0, sender_tid @ 4 }
    ExitBody: 8 { tid @ 0, seen @ 4 }
    OomKillBody: 40 { present @ 0, constraint @ 4, chosen_tgid @ 8, sender_tid @ 12, points @ 16, total_pages @ 24, gfp_mask @ 32, order @ 36 }
    CgroupBody: 16 { id @ 0, unified @ 8 }
}
