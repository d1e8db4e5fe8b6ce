//! What happened, in types of the user side: the decoded form of the kernel's records
//! ([`decode`]), the stream that they travel in together with ticks and look-ups
//! ([`entry`]), and that stream as a file ([`recording`]), made of [`frame`]s.
//!
//! Nothing here judges, and nothing reads a clock or /proc.

pub mod container;
pub mod decode;
pub mod entry;
mod facts;
pub(crate) mod frame;
pub mod memory;
pub mod recording;
pub mod text;
mod waiting;

use std::sync::Arc;

use oomtrace_common::wire::{Ancestor as WireAncestor, MemcgLevel as WireLevel, memcg_flags};

pub use self::{facts::CpuLimits, waiting::Waiting};

/// A thread group, safe against reuse of its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    /// The id as the node sees it.
    pub tgid: u32,
    /// Start of its leader, `CLOCK_BOOTTIME`; 0 where the kernel did not tell.
    pub start_ns: u64,
}

impl Group {
    /// Of whom the death with this id is: the id ends with both numbers.
    pub(crate) fn of_id(id: &str) -> Option<Self> {
        let mut parts = id.rsplitn(3, '-');
        let start_ns = parts.next()?.parse().ok()?;
        let tgid = parts.next()?.parse().ok()?;
        Some(Self { tgid, start_ns })
    }
}

/// One step up from a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    pub group: Group,
    /// Id in its own PID namespace, and how deep that lies; of a sender's ancestors only.
    pub ns_tgid: Option<u32>,
    pub ns_level: u32,
    pub comm: String,
    /// File name of its executable.
    pub exe: Option<String>,
    /// Last name of its cgroup's path; of a sender's ancestors only.
    pub cgroup: Option<String>,
}

impl Ancestor {
    /// Process 1 of a PID namespace other than the first.
    #[must_use]
    pub fn is_namespace_init(&self) -> bool {
        self.ns_level > 0 && self.ns_tgid == Some(1)
    }
}

impl From<&WireAncestor> for Ancestor {
    fn from(wire: &WireAncestor) -> Self {
        Self {
            group: Group {
                tgid: wire.tgid,
                start_ns: wire.start_ns,
            },
            ns_tgid: (wire.ns_tgid != 0).then_some(wire.ns_tgid),
            ns_level: wire.ns_level,
            comm: text::comm(&wire.comm),
            exe: None,
            cgroup: None,
        }
    }
}

/// Memory of a process by kind, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rss {
    pub anon_pages: u64,
    pub file_pages: u64,
    pub shmem_pages: u64,
    pub swap_pages: u64,
}

/// Arguments of a process, as its memory held them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Argv {
    pub args: Vec<String>,
    /// The argument area was larger than what was read.
    pub truncated: bool,
}

/// A process as it was at an event. `None`: the kernel did not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    pub group: Group,
    pub tid: u32,
    pub ppid: Option<u32>,
    /// Id in its own PID namespace, and how deep that lies (0 is the first one).
    pub ns_tgid: Option<u32>,
    pub ns_level: u32,
    pub comm: Option<String>,
    pub exe: Option<String>,
    pub argv: Option<Argv>,
    pub uid: Option<u32>,
    pub login_uid: Option<u32>,
    pub tty: Option<String>,
    pub pgid: Option<u32>,
    pub sid: Option<u32>,
    pub oom_score_adj: Option<i32>,
    /// `PF_*`.
    pub flags: Option<u32>,
    /// It has user memory; false for kernel threads and for what is exiting.
    pub has_memory: bool,
    /// A core was being dumped; `None` where this kernel keeps no such state.
    pub dumping_core: Option<bool>,
    pub rss: Option<Rss>,
    pub total_vm_pages: Option<u64>,
    pub page_tables_bytes: Option<u64>,
    /// How it stood towards signals, and what it waited in.
    pub waiting: Waiting,
    /// `seccomp.mode`: 1 strict, 2 filter, 3 dead (since 5.17, once seccomp has ended it).
    pub seccomp_mode: Option<u32>,
    /// Another process traced it by ptrace.
    pub is_traced: bool,
    /// `signal->live`.
    pub live_threads: Option<i32>,
    /// Status as the kernel keeps it, of the group.
    pub exit_code: Option<i32>,
    pub ancestry: Vec<Ancestor>,
    /// Path in the memory controller's hierarchy.
    pub memory_cgroup: Option<String>,
    /// Path in the v2 hierarchy, where that is another one.
    pub unified_cgroup: Option<String>,
    /// Memory cgroups from its own to the root.
    pub memcg: Vec<MemcgLevel>,
}

/// `PF_EXITING` and `PF_KTHREAD` of include/linux/sched.h: the same from 5.8 to 7.2.
const PF_EXITING: u32 = 0x4;
const PF_KTHREAD: u32 = 0x20_0000;

impl Process {
    /// The paths of its cgroups: in the memory controller's hierarchy, and in the v2 hierarchy where
    /// that is another one.
    pub fn cgroups(&self) -> impl Iterator<Item = &str> {
        let paths = [&self.memory_cgroup, &self.unified_cgroup];
        paths.into_iter().filter_map(|path| path.as_deref())
    }

    /// On its way out already.
    #[must_use]
    pub fn is_exiting(&self) -> bool {
        self.flags.is_some_and(|flags| flags & PF_EXITING != 0)
    }

    /// A thread of the kernel itself.
    #[must_use]
    pub fn is_kernel_thread(&self) -> bool {
        self.group.tgid == 0 || self.flags.is_some_and(|flags| flags & PF_KTHREAD != 0)
    }

    /// Process 1 of a PID namespace other than the first.
    #[must_use]
    pub fn is_namespace_init(&self) -> bool {
        self.ns_level > 0 && self.ns_tgid == Some(1)
    }
}

/// One memory cgroup at the moment of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemcgLevel {
    /// Equal for the same cgroup within one boot; of no other use.
    pub address: u64,
    /// Its path, where the depths tell how much of the process's path it is.
    pub path: Option<String>,
    pub usage_pages: Option<u64>,
    /// `None`: no limit, or not told.
    pub max_pages: Option<u64>,
    pub peak_pages: Option<u64>,
    /// Swap on cgroup v2; memory plus swap on v1.
    pub swap_pages: Option<u64>,
    pub swap_max_pages: Option<u64>,
    /// How often its own limit was hit.
    pub oom_events: Option<u64>,
    /// An OOM is being handled below it; `None` where this kernel keeps no such lock.
    pub oom_lock: Option<bool>,
    /// On a cgroup v1 hierarchy.
    pub v1: Option<bool>,
}

impl MemcgLevel {
    /// Depth in its hierarchy; the root is 0.
    fn depth(wire: &WireLevel) -> Option<u32> {
        (wire.flags & memcg_flags::DEPTH != 0).then_some(wire.depth)
    }

    fn from_wire(
        wire: &WireLevel,
        path: Option<String>,
        unified_root: Option<u64>,
        page_bytes: u64,
    ) -> Self {
        use memcg_flags as flags;
        // PAGE_COUNTER_MAX of include/linux/page_counter.h: LONG_MAX / PAGE_SIZE.
        let unlimited = i64::MAX as u64 / page_bytes.max(1);
        let has = |flag: u32| wire.flags & flag != 0;
        let limit = |pages: u64| (pages < unlimited).then_some(pages);
        Self {
            address: wire.address,
            path,
            usage_pages: has(flags::USAGE).then_some(wire.usage_pages),
            max_pages: has(flags::MAX).then_some(wire.max_pages).and_then(limit),
            peak_pages: has(flags::PEAK).then_some(wire.peak_pages),
            swap_pages: has(flags::SWAP).then_some(wire.swap_pages),
            swap_max_pages: has(flags::SWAP)
                .then_some(wire.swap_max_pages)
                .and_then(limit),
            oom_events: has(flags::OOM_EVENTS).then_some(wire.oom_events),
            oom_lock: has(flags::OOM_LOCK).then_some(wire.oom_lock != 0),
            v1: unified_root
                .filter(|_| has(flags::ROOT))
                .map(|unified| wire.root != unified),
        }
    }
}

/// How a signal's `info` argument looked to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InfoKind {
    /// No information: on behalf of the current task.
    None,
    /// From the kernel.
    Priv,
    /// Filled in.
    Pointer,
}

/// What became of a signal when it was generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalResult {
    Delivered,
    Ignored,
    AlreadyPending,
    OverflowFail,
    LoseInfo,
    Other(i32),
}

/// A SIGKILL was generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sigkill {
    pub boottime_ns: u64,
    pub result: SignalResult,
    pub code: i32,
    /// To the whole thread group.
    pub group: bool,
    pub info: InfoKind,
    /// The task that was running. In interrupt context that is anybody.
    pub sender: Process,
    pub victim: Process,
    /// The kernel's call path from the signal code outwards; `None` without symbols.
    pub stack: Option<Arc<[String]>>,
    pub stops: Vec<StopRequest>,
    /// The victim's CPU time and its limits.
    pub cpu_limits: CpuLimits,
}

/// What a process has set for a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    Default,
    Ignore,
    Function,
}

/// A run of the same signal to the victim by one party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopRequest {
    pub signal: u32,
    pub count: u32,
    pub first_ns: u64,
    pub last_ns: u64,
    pub first_result: SignalResult,
    pub last_result: SignalResult,
    /// How the victim stood towards it when the last one came.
    pub victim: Waiting,
    /// What the victim had set for the signal.
    pub handler: Option<Handler>,
    /// The victim was stopped (`SIGSTOP` and the like) after the request, and not told to go
    /// on again.
    pub stopped_since: bool,
    pub sender: Process,
}

/// The kernel marked a victim of the OOM killer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkVictim {
    pub boottime_ns: u64,
    pub victim_tid: u32,
    pub sender_tid: u32,
}

/// A thread group ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// When it was seen, `CLOCK_BOOTTIME`.
    pub boottime_ns: u64,
    /// It was seen late: the group had ended before, and little is known of it any more.
    pub is_past: bool,
    pub victim: Process,
    /// The process that traced it by ptrace.
    pub ptracer: Option<Ancestor>,
    /// `si_code` of a SIGKILL that stands in the group's queue of signals still.
    pub queued_kill: Option<i32>,
}

/// Which memory the OOM killer was told to look at: `enum oom_constraint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constraint {
    None,
    Cpuset,
    MemoryPolicy,
    Memcg,
}

/// The OOM killer has chosen, seen at `oom_kill_process`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomKill {
    pub boottime_ns: u64,
    pub sender_tid: u32,
    pub chosen_tgid: Option<u32>,
    pub constraint: Option<Constraint>,
    pub points: Option<i64>,
    pub total_pages: Option<u64>,
    pub gfp_mask: Option<u32>,
    pub order: Option<i32>,
    /// Whether a cgroup's limit was hit; `None` where the kernel did not tell.
    pub is_memcg: Option<bool>,
    /// The cgroup whose limit it was, and those above it.
    pub limit: Vec<MemcgLevel>,
}

/// The victim's own image, read in its own context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub boottime_ns: u64,
    pub victim: Group,
    pub argv: Option<Argv>,
}

/// An event for provenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// First in every stream.
    Session(entry::Session),
    /// Every hook is attached.
    Attached(entry::Attached),
    Sigkill(Box<Sigkill>),
    MarkVictim(MarkVictim),
    Exit(Box<Exit>),
    OomKill(Box<OomKill>),
    Image(Image),
    Lost(entry::Lost),
    Tick(entry::Tick),
    ProcessState(entry::ProcessState),
    OomLine(entry::OomLine),
    Cgroup(container::CgroupChange),
    ContainerFacts(Box<container::ContainerFacts>),
    ContainerState(container::ContainerState),
    ContainerUnknown(container::ContainerUnknown),
    EndedRun(Box<container::EndedRun>),
    MemoryCurve(Box<memory::MemoryCurve>),
    /// Nobody traced in between.
    Unwatched(entry::Unwatched),
    /// The tracer ends, and the next one goes on where it has left off.
    Paused(entry::Tick),
    NodeMemory(Box<memory::NodeMemory>),
    /// The tracer ends.
    Stopped(entry::Tick),
}
