//! Records on the ring buffer.
//!
//! A record is a [`RecordHeader`], a body whose type follows from the header's kind, and
//! then sections. A section is a [`SectionHeader`] with its payload, padded to
//! [`ALIGN`] bytes. Sections come in any order, and an unknown one is skipped, so a new
//! one does not need a new version.

use bytemuck::{Pod, Zeroable};

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

/// How a signal's `info` argument looked (`SigkillBody::info_kind`).
pub mod info_kind {
    /// `SEND_SIG_NOINFO`: no information, on behalf of the current task.
    pub const NONE: u32 = 0;
    /// `SEND_SIG_PRIV`: from the kernel.
    pub const PRIV: u32 = 1;
    /// A pointer to a filled `kernel_siginfo`.
    pub const POINTER: u32 = 2;
}

/// Bits of [`TaskFacts::present`]: which fields hold what the kernel said.
pub mod present {
    pub const START: u64 = 1 << 0;
    pub const PARENT: u64 = 1 << 1;
    pub const NS_PID: u64 = 1 << 2;
    pub const FLAGS: u64 = 1 << 3;
    pub const SIGNAL_FLAGS: u64 = 1 << 4;
    pub const EXIT_CODE: u64 = 1 << 5;
    pub const GROUP_EXIT_CODE: u64 = 1 << 6;
    pub const LIVE: u64 = 1 << 7;
    pub const UID: u64 = 1 << 8;
    pub const LOGIN_UID: u64 = 1 << 9;
    pub const PGID: u64 = 1 << 10;
    pub const SID: u64 = 1 << 11;
    pub const OOM_SCORE_ADJ: u64 = 1 << 12;
    pub const TTY: u64 = 1 << 13;
    pub const RSS: u64 = 1 << 14;
    pub const TOTAL_VM: u64 = 1 << 15;
    pub const PAGE_TABLES: u64 = 1 << 16;
    pub const COMM: u64 = 1 << 17;
    /// The task has user memory (`mm`); a sender that is exiting has none.
    pub const MM: u64 = 1 << 18;
    /// A core is being dumped (`signal->core_state` or, before 5.16, `mm->core_state`).
    pub const DUMPING_CORE: u64 = 1 << 19;
    pub const LEADER_EXIT_CODE: u64 = 1 << 20;
    /// The field for a core dump in progress could be read at all.
    pub const CORE_STATE_KNOWN: u64 = 1 << 21;
    pub const STATE: u64 = 1 << 22;
    pub const JOBCTL: u64 = 1 << 23;
    pub const BLOCKED: u64 = 1 << 24;
    pub const PENDING: u64 = 1 << 25;
    pub const SECCOMP: u64 = 1 << 26;
    pub const PTRACE: u64 = 1 << 27;
    pub const HANDLER: u64 = 1 << 28;
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
    /// 1 if the kernel itself said that the group is dead, 0 if it was read from
    /// `signal->live`, which two threads can both see at 0.
    pub exact: u32,
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

/// One cgroup on the way from a task's to the root.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct CgroupLevel {
    /// The kernel's number of it: its inode in cgroupfs.
    pub id: u64,
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

/// Facts of one task and its thread group. A field counts only where its bit in
/// `present` is set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct TaskFacts {
    /// Bits of [`present`].
    pub present: u64,
    /// Start of the thread group's leader, `CLOCK_BOOTTIME`.
    pub start_ns: u64,
    pub tgid: u32,
    pub tid: u32,
    /// The parent's thread group.
    pub ppid: u32,
    /// The thread group's id in its own PID namespace.
    pub ns_tgid: u32,
    /// Depth of that namespace; 0 is the first one.
    pub ns_level: u32,
    /// `task_struct.flags` (`PF_*`).
    pub flags: u32,
    /// `signal_struct.flags` (`SIGNAL_*`).
    pub signal_flags: u32,
    /// `task_struct.exit_code` of this thread.
    pub exit_code: i32,
    /// `signal_struct.group_exit_code`.
    pub group_exit_code: i32,
    /// `task_struct.exit_code` of the group's leader.
    pub leader_exit_code: i32,
    /// `signal_struct.live`: threads that have not ended.
    pub live: i32,
    pub uid: u32,
    /// The audit login uid; `u32::MAX` is "none".
    pub login_uid: u32,
    pub pgid: u32,
    pub sid: u32,
    pub oom_score_adj: i32,
    pub rss_anon_pages: i64,
    pub rss_file_pages: i64,
    pub rss_shmem_pages: i64,
    pub swap_pages: i64,
    pub total_vm_pages: u64,
    pub page_tables_bytes: i64,
    /// `task_struct.jobctl` (`JOBCTL_*`).
    pub jobctl: u64,
    /// Signals 1 to 64 that the thread blocks, the lowest bit for signal 1.
    pub blocked: u64,
    /// Signals that wait for any thread of the group, and those that wait for this one.
    pub shared_pending: u64,
    pub own_pending: u64,
    /// `task_struct.__state` (`TASK_*`).
    pub state: u32,
    /// `task_struct.seccomp.mode`.
    pub seccomp_mode: u32,
    /// `task_struct.ptrace`: not 0 while another process traces it.
    pub ptrace: u32,
    pub pad: u32,
    /// Name of this thread (of the group's leader for a victim); ends at its first NUL.
    pub comm: [u8; COMM_BYTES],
    /// Name of the controlling terminal; ends at its first NUL.
    pub tty: [u8; COMM_BYTES],
}

/// One step up from a task.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Ancestor {
    pub start_ns: u64,
    pub tgid: u32,
    /// Its id in its own PID namespace, and the depth of that; both 0: not read.
    pub ns_tgid: u32,
    pub ns_level: u32,
    pub pad: u32,
    pub comm: [u8; COMM_BYTES],
}

/// CPU time of a thread group and its hard limits: `signal_struct.rlim` and what the
/// kernel compares them with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct CpuLimits {
    /// Bits of [`cpu_limits`].
    pub present: u64,
    /// `RLIMIT_CPU`, seconds; all ones: none.
    pub cpu_hard_s: u64,
    /// `RLIMIT_RTTIME`, microseconds; all ones: none.
    pub rttime_hard_us: u64,
    /// User and system time of the group as the CPU timers count it; 0 as long as no timer
    /// and no limit is in force.
    pub user_ns: u64,
    pub system_ns: u64,
}

/// Bits of [`CpuLimits::present`].
pub mod cpu_limits {
    pub const CPU: u64 = 1;
    pub const RTTIME: u64 = 2;
    pub const USED: u64 = 4;
}

/// A SIGKILL that stands in the queue of its process with what was said of it.
///
/// The kernel queues nothing for a SIGKILL (`__send_signal_locked` of kernel/signal.c, 5.8 to 7.2):
/// it is a bit in a set. A POSIX timer alone brings an entry of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct QueuedKill {
    /// `si_code`.
    pub code: i32,
    pub pad: u32,
}

/// First in a [`tag::ARGV`] section.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct ArgvHeader {
    /// Bytes of the process's whole argument area; more than follow here means that the
    /// rest was cut off.
    pub area_bytes: u64,
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

/// The sender of a stop request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct StopSender {
    pub start_ns: u64,
    pub tgid: u32,
    pub tid: u32,
    pub uid: u32,
    pub login_uid: u32,
    pub pgid: u32,
    pub sid: u32,
    /// How many of `ancestry` are filled.
    pub ancestors: u32,
    /// How many bytes of `argv` are filled.
    pub argv_bytes: u32,
    pub comm: [u8; COMM_BYTES],
    pub tty: [u8; COMM_BYTES],
    /// File name of its executable; ends at its first NUL.
    pub exe: [u8; MAX_STOP_EXE_BYTES],
    pub ancestry: [Ancestor; MAX_STOP_ANCESTORS],
    pub argv: [u8; MAX_STOP_ARGV_BYTES],
}

/// How a process stood towards a stop request when it came. A field counts only where its
/// bit in `present` is set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct StopVictim {
    /// Bits of [`present`]: `STATE`, `JOBCTL`, `BLOCKED`, `FLAGS`, `SIGNAL_FLAGS`, `HANDLER`.
    pub present: u64,
    pub jobctl: u64,
    pub blocked: u64,
    /// `sigaction.sa_handler` of the signal: 0 is `SIG_DFL`, 1 is `SIG_IGN`.
    pub handler: u64,
    pub state: u32,
    pub flags: u32,
    pub signal_flags: u32,
    /// 1 if the process was stopped (`SIGSTOP` and the like) after the request and has not
    /// been told to go on since.
    pub stopped_since: u32,
}

/// A run of the same signal to the same process by the same party.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct StopSlot {
    /// 0: not in use.
    pub signal: u32,
    pub count: u32,
    pub first_ns: u64,
    pub last_ns: u64,
    /// One of [`signals::result`](crate::signals::result), of the first of the run.
    pub first_result: i32,
    pub last_result: i32,
    /// How the victim was when the last one came.
    pub victim: StopVictim,
    /// The last one's sender.
    pub sender: StopSender,
}

macro_rules! layout {
    ($($type:ident: $size:literal { $($field:ident @ $offset:literal),* $(,)? })*) => {$(
        const _: () = assert!(size_of::<$type>() == $size);
        const _: () = assert!(size_of::<$type>() % ALIGN == 0);
        $(const _: () = assert!(core::mem::offset_of!($type, $field) == $offset);)*
    )*};
}

layout! {
    RecordHeader: 24 { kind @ 0, version @ 2, len @ 4, boottime_ns @ 8, cpu @ 16 }
    SigkillBody: 16 { result @ 0, code @ 4, group @ 8, info_kind @ 12 }
    MarkVictimBody: 8 { victim_tid @ 0, sender_tid @ 4 }
    ExitBody: 8 { tid @ 0, exact @ 4 }
    OomKillBody: 40 { present @ 0, constraint @ 4, chosen_tgid @ 8, sender_tid @ 12, points @ 16, total_pages @ 24, gfp_mask @ 32, order @ 36 }
    CgroupBody: 16 { id @ 0, unified @ 8 }
    CgroupLevel: 8 { id @ 0 }
    SectionHeader: 8 { tag @ 0, who @ 2, len @ 4 }
    TaskFacts: 208 { present @ 0, start_ns @ 8, tgid @ 16, flags @ 36, exit_code @ 44, uid @ 60, rss_anon_pages @ 80, jobctl @ 128, state @ 160, comm @ 176, tty @ 192 }
    Ancestor: 40 { start_ns @ 0, tgid @ 8, ns_tgid @ 12, ns_level @ 16, comm @ 24 }
    QueuedKill: 8 { code @ 0, pad @ 4 }
    CpuLimits: 40 { present @ 0, cpu_hard_s @ 8, rttime_hard_us @ 16, user_ns @ 24, system_ns @ 32 }
    ArgvHeader: 8 { area_bytes @ 0 }
    MemcgLevel: 80 {
        address @ 0,
        usage_pages @ 8,
        oom_events @ 48,
        root @ 56,
        depth @ 64,
        flags @ 68,
        oom_lock @ 72
    }
    StopSender: 392 { start_ns @ 0, tgid @ 8, comm @ 40, tty @ 56, exe @ 72, ancestry @ 104, argv @ 264 }
    StopVictim: 48 { present @ 0, jobctl @ 8, handler @ 24, state @ 32, stopped_since @ 44 }
    StopSlot: 472 { signal @ 0, count @ 4, first_ns @ 8, last_ns @ 16, first_result @ 24, victim @ 32, sender @ 80 }
}
