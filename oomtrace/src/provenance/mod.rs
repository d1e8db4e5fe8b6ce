//! Events in, deaths out: a pure state machine. It has no I/O and no clock of its own;
//! time, ticks and what was looked up come in as events, so a recorded stream gives the
//! same deaths again.

mod actor;
mod advice;
mod build;
mod case;
mod claims;
mod clock;
mod containers;
mod curve;
mod curves;
mod engine;
mod findings;
mod judge;
mod late;
mod levels;
mod mechanism;
mod memory;
mod naming;
mod node;
mod oom;
pub mod record;
pub mod redact;
mod related;
mod restarts;
mod role;
pub mod rules;
pub mod scope;
mod signal_names;
mod stop;
mod words;

pub(crate) use clock::rfc3339;
pub use engine::Engine;
pub use naming::{pod_label, short as short_id};
use oomtrace_common::maps::CgroupKey;
pub use words::{bytes as human_bytes, duration_ns as human_duration, stretch_ns as human_stretch};

use self::{record::Record, redact::ArgvPolicy};
use crate::event::{Group, container::Ask, memory::MemoryAsk};

/// What can be set.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub argv: ArgvPolicy,
    /// A stop request this long before the SIGKILL still counts.
    pub stop_window_ns: u64,
    /// A victim that is still there after this is written as such.
    pub hang_ns: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            argv: ArgvPolicy::default(),
            stop_window_ns: 30 * 60 * 1_000_000_000,
            hang_ns: 5 * 1_000_000_000,
        }
    }
}

/// What comes out.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    Record(Box<Record>),
    /// A look-up that would help: the state of a process that should be dead by now. The
    /// answer comes in as an event.
    AskState(Group),
    /// The same of a container.
    AskContainer(Ask),
    /// The same of the memory of a cgroup whose limit was hit.
    AskMemory(MemoryAsk),
    /// The same of who holds the node's memory, which has run out.
    AskNodeMemory,
    /// A cgroup is in scope, or it is not.
    Scope {
        cgroup: CgroupKey,
        held: bool,
    },
}

impl Output {
    fn record(record: Record) -> Self {
        Self::Record(Box::new(record))
    }
}
