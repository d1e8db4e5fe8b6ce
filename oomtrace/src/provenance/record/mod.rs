//! The records that oomtrace writes: DESIGN.md's section "The record" in types. Fields
//! are added, never renamed; what is not known is `null`.

mod cause;
mod death;
mod gap;
mod place;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub(super) use self::death::{END_SEEN_LATE, label};
pub(crate) use self::gap::UNKEPT;
pub use self::{
    cause::{ActorKind, Cause, Mechanism},
    death::{
        Actor, Advice, AncestorRecord, Death, Evidence, Memory, Oom, OomLevel, Outcome,
        RuntimeSays, Sender, Stop, Victim,
    },
    gap::{Gap, Inferred},
    place::{Container, ContainerName, Unit},
};
pub use super::{
    memory::{OomMemory, OomResident, OomSplit, Reading},
    node::{OomCgroup, OomRead},
    role::Role,
};
use crate::event::entry::Absent;

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
    /// From when the last process of the run before had gone.
    pub after_ms: u64,
    /// The container that runs now: the same, or another one by its name. Of a unit, the one that it
    /// runs in.
    pub container: Option<ContainerName>,
    /// The unit, if it is one that runs again.
    pub unit: Option<Unit>,
    pub summary: String,
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
