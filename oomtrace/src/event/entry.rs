//! The stream between the tracer's outside and its inside: the kernel's records, and with
//! them all that the inside may know of clocks, symbols and /proc. What is in the stream
//! can be recorded and replayed; there is no other way in.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    container::{CgroupChange, ContainerFacts, ContainerState, ContainerUnknown, EndedRun},
    memory::{MemoryCurve, NodeMemory, OomReport},
};

/// What one tracer knows before its first event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The tracer's version.
    pub version: String,
    /// Name of the node.
    pub node: String,
    pub boot_id: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Size of a page, bytes.
    pub page_bytes: u64,
}

/// Every hook is attached: what dies from now on is seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    pub boottime_ns: u64,
    /// `CLOCK_REALTIME` at the same moment.
    pub realtime_ns: i64,
    /// What the OOM killer is watched with: `fentry`, `kprobe` or `tracepoint`.
    pub oom_hook: String,
    /// What this kernel or these privileges do not give, and why.
    pub absent: Vec<Absent>,
    /// Whether the kernel's symbols can be read.
    pub symbols: bool,
    /// Size of the ring buffer, bytes.
    pub ring_bytes: u64,
    /// From the start of the process to here.
    pub attach_us: u64,
    /// The programs were there before this process, and have watched since: `CLOCK_BOOTTIME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_since_ns: Option<u64>,
}

/// Something that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    pub what: String,
    pub why: String,
}

/// Records that were lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Name of the kind of record.
    pub kind: String,
    /// The processor on which it happened, where that is known.
    pub cpu: Option<u32>,
    pub count: u64,
    pub from_ns: u64,
    pub to_ns: u64,
    /// They were lost; else so many may have been, at the most.
    pub certain: bool,
    pub why: String,
}

/// A stretch between two tracers of which deaths may be missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwatched {
    pub from_ns: u64,
    pub to_ns: u64,
    pub why: String,
    /// Somebody traced, and what was seen could not be kept, or not be read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_traced: bool,
    /// What others say of it.
    pub kills: Vec<InferredKill>,
}

/// OOM kills of which nothing was seen: somebody else has counted or named them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InferredKill {
    /// Who says so: `kernel_log`, `memory.events.local`, `memory.oom_control`.
    pub source: String,
    /// The victims' cgroup.
    pub cgroup: Option<String>,
    /// So many processes of it.
    pub kills: u64,
    /// Of one that was named: its id, and the cgroup whose limit was hit.
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub limit_cgroup: Option<String>,
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    pub boottime_ns: u64,
    pub realtime_ns: i64,
}

/// What /proc said of a process that should be dead by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessState {
    pub tgid: u32,
    pub start_ns: u64,
    pub boottime_ns: u64,
    /// The state as `/proc/PID/status` words it; `None` if the process is gone.
    pub state: Option<String>,
    /// The kernel function in which it waits.
    pub wait_channel: Option<String>,
    /// It cannot be looked at: this PID namespace is not the node's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_hidden: bool,
}

/// The name of a kernel function that stood on a call path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symbol {
    pub address: u64,
    /// `None`: no function is known at this address.
    pub name: Option<String>,
}

/// What the kernel's log said of an OOM kill (`oom-kill:constraint=…`; `mm/oom_kill.c`,
/// since 5.0). It is written before the SIGKILL, but not for every kill: it is limited in
/// rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomLine {
    /// `CONSTRAINT_NONE`, `CONSTRAINT_MEMCG`, …
    pub constraint: String,
    /// The cgroup whose limit was hit; `None` for an OOM of the node.
    pub oom_memcg: Option<String>,
    pub task_memcg: Option<String>,
    /// The victim.
    pub tgid: u32,
    /// What stands before the line; the kernel leaves it out where it has said enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Box<OomReport>>,
}

/// One element of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Session(Session),
    Attached(Attached),
    /// A record as the kernel wrote it.
    Kernel(Bytes),
    /// Comes before the first record that needs it.
    Symbols(Vec<Symbol>),
    Lost(Lost),
    Tick(Tick),
    ProcessState(ProcessState),
    OomLine(OomLine),
    /// Looked up; those that come and go later are the kernel's records.
    Cgroup(CgroupChange),
    ContainerFacts(Box<ContainerFacts>),
    ContainerState(ContainerState),
    ContainerUnknown(ContainerUnknown),
    EndedRun(Box<EndedRun>),
    MemoryCurve(Box<MemoryCurve>),
    Unwatched(Unwatched),
    /// The tracer ends, and the next one goes on where it has left off.
    Paused(Tick),
    NodeMemory(Box<NodeMemory>),
    Stopped(Tick),
}
