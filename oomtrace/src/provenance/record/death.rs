//! A death: who, by whom, and all that is known of it.

use serde::{Deserialize, Serialize};

use super::{ActorKind, Cause, Container, ContainerName, Mechanism, OomMemory, Role, Unit, Word};

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

/// When exactly it ended is not known.
pub(in crate::provenance) const END_SEEN_LATE: &str = "end_seen_late";

impl Death {
    /// Whether its evidence has this code.
    #[must_use]
    pub fn has_evidence(&self, code: &str) -> bool {
        self.evidence.iter().any(|evidence| evidence.code == code)
    }

    /// What goes before its latency: where it had ended before that was seen, that is the most
    /// that it can have been.
    #[must_use]
    pub fn at_most(&self) -> &'static str {
        if self.has_evidence(END_SEEN_LATE) {
            "at most "
        } else {
            ""
        }
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

    /// The main process of its container or unit.
    #[must_use]
    pub fn is_main(&self) -> bool {
        matches!(self.role, Some(Role::ContainerInit | Role::UnitMain))
    }
}

/// A process as people speak of it.
#[must_use]
pub(in crate::provenance) fn label(comm: Option<&str>, pid: u32) -> String {
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
    /// From the SIGKILL to the end of the last thread; the most that it can have been where the
    /// evidence has `end_seen_late`.
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
