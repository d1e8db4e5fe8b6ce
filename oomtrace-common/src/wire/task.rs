//! Sections about a task and its thread group.

use bytemuck::{Pod, Zeroable};

use super::{COMM_BYTES, layout};

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

/// First in a [`tag::ARGV`](super::tag::ARGV) section.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct ArgvHeader {
    /// Bytes of the process's whole argument area; more than follow here means that the
    /// rest was cut off.
    pub area_bytes: u64,
}

layout! {
    TaskFacts: 208 { present @ 0, start_ns @ 8, tgid @ 16, flags @ 36, exit_code @ 44, uid @ 60, rss_anon_pages @ 80, jobctl @ 128, state @ 160, comm @ 176, tty @ 192 }
    Ancestor: 40 { start_ns @ 0, tgid @ 8, ns_tgid @ 12, ns_level @ 16, comm @ 24 }
    CpuLimits: 40 { present @ 0, cpu_hard_s @ 8, rttime_hard_us @ 16, user_ns @ 24, system_ns @ 32 }
    QueuedKill: 8 { code @ 0, pad @ 4 }
    ArgvHeader: 8 { area_bytes @ 0 }
}
