//! The records that oomtrace writes: DESIGN.md's section "The record" in types. Fields
//! are added, never renamed; what is not known is `null`.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

pub use super::{
    memory::{OomMemory, OomResident, OomSplit, Reading},
    node::{OomCgroup, OomRead},
    role::Role,
};
use crate::event::{container::ContainerKind, entry::Absent};

/// A word that the code chooses, not the node: from a table or a stable code.
pub type Word = Cow<'static, str>;

/// Version of the records' layout.
pub const SCHEMA: u32 = 1;

/// One line of output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    Started(Started),
    Death(Box<Death>),
    Restart(Restart),
    Gap(Gap),
    Stopped(Stopped),
}

/// Every hook is attached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    pub schema: u32,
    pub version: String,
    pub node: String,
    pub boot_id: String,
    pub kernel: String,
    pub time: String,
    pub boottime_ns: u64,
    pub hooks: Hooks,
    /// What is not there, and why.
    pub absent: Vec<Absent>,
    pub ring_bytes: u64,
    /// From the start of the tracer to every hook attached.
    pub attach_ms: f64,
    /// The programs were there before, and have watched without a pause since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing_since: Option<String>,
}

/// What each part of the capture hangs on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hooks {
    pub signal: Word,
    /// `fentry`, `kprobe` or `tracepoint`.
    pub oom: String,
    pub symbols: bool,
}

/// A container or a unit runs again after a death that ended it. `started` tells of the tracer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    pub schema: u32,
    /// The id of that death.
    pub of: String,
    /// When its cgroup was made: its first process is about to start.
    pub time: String,
    pub boottime_ns: u64,
    /// From the end of who died.
    pub after_ms: u64,
    /// The container that runs now: the same, or another one by its name.
    pub container: Option<ContainerName>,
    pub unit: Option<String>,
    pub summary: String,
}

/// The kind of a stretch of which what was seen may not have been kept.
pub(crate) const UNKEPT: &str = "unkept";

/// A stretch in which events were lost, or of which deaths may be missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    pub schema: u32,
    pub lost: u64,
    /// The kind of what was lost; where nothing was counted, `any` (nobody traced) or `unkept` (what
    /// was seen may not have been kept).
    pub kind: String,
    pub cpu: Option<u32>,
    pub from: String,
    pub to: String,
    pub from_boottime_ns: u64,
    pub to_boottime_ns: u64,
    /// False: not so many need have been lost, and what was need not have been a death.
    pub certain: bool,
    pub why: String,
    /// What others say of a stretch in which nobody traced. None of it was seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inferred: Vec<Inferred>,
}

impl Gap {
    /// What was seen in it may not have been kept.
    #[must_use]
    pub fn is_unkept(&self) -> bool {
        self.kind == UNKEPT
    }

    /// That deaths of a stretch (`from … to …`) may be missing, and in which way.
    #[must_use]
    pub fn unseen(&self, stretch: &str) -> String {
        if self.is_unkept() {
            format!("what was seen {stretch} may not have been kept")
        } else {
            format!("nobody traced {stretch}")
        }
    }
}

/// OOM kills that were concluded from what others have counted or logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inferred {
    /// `oom_kill_logged` or `oom_kills_counted`.
    pub code: Word,
    pub cgroup: Option<String>,
    pub kills: u64,
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub limit_cgroup: Option<String>,
    pub text: String,
    pub source: String,
}

/// The tracer has ended, with everything written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stopped {
    pub schema: u32,
    pub time: String,
    pub boottime_ns: u64,
    /// Deaths written, each counted once.
    pub deaths: u64,
    /// Events lost over the whole run.
    pub lost: u64,
    /// Events that may have been lost beside those, at the most.
    pub maybe_lost: u64,
    /// The programs stay attached: the next tracer tells what dies meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// So many were killed and are not written yet: the next one writes them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub open: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Why a process died. DESIGN.md lists when each applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    CgroupOom,
    GlobalOom,
    NumaOom,
    StopTimeout,
    SupervisorKill,
    UserspaceOom,
    ManualKill,
    AppKill,
    SelfKill,
    NamespaceExit,
    ParentDeath,
    TracerExit,
    CpuLimit,
    OwnTimer,
    Bpf,
    Kernel,
    ExitCode,
    Unknown,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::CgroupOom,
        Self::GlobalOom,
        Self::NumaOom,
        Self::StopTimeout,
        Self::SupervisorKill,
        Self::UserspaceOom,
        Self::ManualKill,
        Self::AppKill,
        Self::SelfKill,
        Self::NamespaceExit,
        Self::ParentDeath,
        Self::TracerExit,
        Self::CpuLimit,
        Self::OwnTimer,
        Self::Bpf,
        Self::Kernel,
        Self::ExitCode,
        Self::Unknown,
    ];

    /// As it stands in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CgroupOom => "cgroup_oom",
            Self::GlobalOom => "global_oom",
            Self::NumaOom => "numa_oom",
            Self::StopTimeout => "stop_timeout",
            Self::SupervisorKill => "supervisor_kill",
            Self::UserspaceOom => "userspace_oom",
            Self::ManualKill => "manual_kill",
            Self::AppKill => "app_kill",
            Self::SelfKill => "self_kill",
            Self::NamespaceExit => "namespace_exit",
            Self::ParentDeath => "parent_death",
            Self::TracerExit => "tracer_exit",
            Self::CpuLimit => "cpu_limit",
            Self::OwnTimer => "own_timer",
            Self::Bpf => "bpf",
            Self::Kernel => "kernel",
            Self::ExitCode => "exit_code",
            Self::Unknown => "unknown",
        }
    }
}

/// How the signal was generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    Kill,
    Tkill,
    Tgkill,
    RtSigqueueinfo,
    PidfdSendSignal,
    CgroupKill,
    OomKiller,
    OomGroup,
    PidNamespace,
    Pdeathsig,
    PtraceExitkill,
    Ptrace,
    RlimitCpu,
    RlimitRttime,
    BpfSendSignal,
    PosixTimer,
    Sigio,
    ExitSignal,
    Sysrq,
    Seccomp,
    MemoryFailure,
    Kernel,
    Exit,
    Unknown,
}

/// The party on whose behalf a sender acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    Human,
    Runtime,
    ServiceManager,
    OomDaemon,
    SecurityAgent,
    Application,
    Kernel,
    Unknown,
}

/// One victim, one cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Death {
    pub schema: u32,
    /// From boot id, thread group and start time: the same in every replay.
    pub id: String,
    pub revision: u32,
    /// No further revision will come.
    #[serde(rename = "final")]
    pub is_final: bool,
    pub node: String,
    pub boot_id: String,
    /// When the SIGKILL was generated; when the victim ended, if there was none.
    pub time: String,
    pub boottime_ns: u64,
    pub cause: Cause,
    pub mechanism: Mechanism,
    pub summary: String,
    pub victim: Victim,
    pub sender: Option<Sender>,
    pub actor: Actor,
    pub stop: Option<Stop>,
    pub oom: Option<Oom>,
    /// Which container it was in.
    pub container: Option<Container>,
    /// Which systemd unit it was in, that is not a container's own.
    pub unit: Option<Unit>,
    /// What the container's runtime says of its end.
    pub runtime_says: Option<RuntimeSays>,
    pub outcome: Option<Outcome>,
    /// Id of the death that led to this one.
    pub caused_by: Option<String>,
    pub kernel_stack: Option<Vec<String>>,
    pub evidence: Vec<Evidence>,
    pub advice: Vec<Advice>,
}

impl Death {
    /// Whether its evidence has this code.
    #[must_use]
    pub fn has_evidence(&self, code: &str) -> bool {
        self.evidence.iter().any(|evidence| evidence.code == code)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Victim {
    pub pid: u32,
    pub ns_pid: Option<u32>,
    pub ppid: Option<u32>,
    /// Its process group.
    pub pgid: Option<u32>,
    pub comm: Option<String>,
    pub exe: Option<String>,
    pub argv: Option<Vec<String>>,
    pub argv_truncated: bool,
    pub uid: Option<u32>,
    /// In the memory controller's hierarchy.
    pub cgroup: Option<String>,
    /// In the v2 hierarchy, where that is another one.
    pub unified_cgroup: Option<String>,
    pub oom_score_adj: Option<i32>,
    pub started_at: Option<String>,
    pub age_ms: Option<u64>,
    pub role: Option<Role>,
    pub is_ns_init: bool,
    pub memory: Option<Memory>,
    pub ancestry: Vec<AncestorRecord>,
}

impl Victim {
    /// As people speak of it: `nginx[31744]`.
    #[must_use]
    pub fn label(&self) -> String {
        label(self.comm.as_deref(), self.pid)
    }
}

/// A process as people speak of it.
#[must_use]
pub(super) fn label(comm: Option<&str>, pid: u32) -> String {
    format!("{}[{pid}]", comm.unwrap_or("?"))
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    pub anon_bytes: u64,
    pub file_bytes: u64,
    pub shmem_bytes: u64,
    pub swap_bytes: u64,
    pub page_tables_bytes: Option<u64>,
    pub total_vm_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sender {
    pub pid: u32,
    pub tid: u32,
    pub ns_pid: Option<u32>,
    pub comm: Option<String>,
    pub exe: Option<String>,
    pub argv: Option<Vec<String>>,
    pub argv_truncated: bool,
    pub uid: Option<u32>,
    pub loginuid: Option<u32>,
    pub tty: Option<String>,
    pub cgroup: Option<String>,
    pub unified_cgroup: Option<String>,
    pub container: Option<ContainerName>,
    pub unit: Option<Unit>,
    pub ancestry: Vec<AncestorRecord>,
}

impl Sender {
    /// As people speak of it: `nginx[31744]`.
    #[must_use]
    pub fn label(&self) -> String {
        label(self.comm.as_deref(), self.pid)
    }
}

/// Names of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerName {
    pub runtime: Option<String>,
    pub id: String,
    pub name: Option<String>,
    pub pod: Option<String>,
    pub namespace: Option<String>,
}

/// All that is known of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub runtime: Option<String>,
    pub id: String,
    pub name: Option<String>,
    pub image: Option<String>,
    pub pod: Option<String>,
    pub namespace: Option<String>,
    pub pod_uid: Option<String>,
    /// `guaranteed`, `burstable` or `besteffort`: the pod's class.
    pub qos: Option<Word>,
    pub kind: Option<ContainerKind>,
    pub labels: BTreeMap<String, String>,
    pub cgroup: Option<String>,
    /// The containers around it, the next one first.
    pub outer: Vec<ContainerName>,
    /// Where its names are from.
    pub sources: Vec<String>,
}

/// A systemd unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    pub name: String,
    pub slice: Option<String>,
    /// Of the service manager of this user, not of the system's.
    pub user: Option<u32>,
}

/// What a runtime says of a container's end, and whether that is so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeSays {
    pub runtime: String,
    /// As the runtime words it.
    pub words: String,
    pub oom_killed: Option<bool>,
    pub exit_code: Option<i32>,
    /// It says of this death what the kernel did.
    pub agrees: bool,
    pub why: String,
    pub source: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AncestorRecord {
    pub pid: u32,
    pub comm: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Actor {
    pub kind: ActorKind,
    pub name: Option<String>,
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub container: Option<ContainerName>,
    pub unit: Option<Unit>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    pub signal: String,
    pub sent_at: String,
    pub count: u32,
    /// From the first signal of the run to the SIGKILL.
    pub grace_ms: u64,
    pub configured_grace_ms: Option<u64>,
    pub result: Word,
    /// Why the victim did not stop: `ignored`, `frozen`, `stopped`, `uninterruptible`,
    /// `blocked`, `not_taken`, `ending` or `handled`.
    pub reason: Word,
    /// Sent by the party that sent the SIGKILL, too.
    pub same_actor: bool,
    pub sender: Sender,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Oom {
    /// `none`, `cpuset`, `memory_policy` or `memcg`.
    pub constraint: Option<Word>,
    pub limit_cgroup: Option<String>,
    /// Whose limit it was: `container`, `pod`, `unit`, `slice`, `root`, …
    pub limit_of: Option<Word>,
    pub limit_bytes: Option<u64>,
    pub usage_bytes: Option<u64>,
    pub peak_bytes: Option<u64>,
    pub swap_bytes: Option<u64>,
    pub trigger: Option<AncestorRecord>,
    /// `chosen`, `group` or `shared_mm`.
    pub role: Word,
    /// The limit was written below what was in use: by the sender.
    pub limit_lowered: bool,
    pub gfp: Option<String>,
    pub order: Option<i32>,
    pub points: Option<i64>,
    pub total_pages: Option<u64>,
    /// From the victim's own cgroup to the root.
    pub levels: Vec<OomLevel>,
    /// How memory was used before.
    pub memory: Option<OomMemory>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OomLevel {
    pub cgroup: Option<String>,
    /// What the cgroup is: `container`, `pod`, `unit`, `slice`, `root`, …
    pub of: Option<Word>,
    /// The name of that container, pod, unit or slice.
    pub name: Option<String>,
    pub limit_bytes: Option<u64>,
    pub usage_bytes: Option<u64>,
    pub peak_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// As a shell reports it: 128 + the signal, or the exit status.
    pub exit_code: i32,
    pub signal: Option<i32>,
    /// From the SIGKILL to the end of the last thread.
    pub latency_us: Option<u64>,
    pub container_survived: Option<bool>,
}

/// Why the verdict is what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub code: Word,
    pub text: String,
    pub source: Word,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    pub code: String,
    pub text: String,
}
