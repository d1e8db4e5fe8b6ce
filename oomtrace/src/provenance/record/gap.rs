//! What was not seen, or not kept.

use serde::{Deserialize, Serialize};

use super::Word;

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
