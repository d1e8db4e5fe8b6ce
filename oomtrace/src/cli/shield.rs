//! Keeping the tracer alive where it is needed most: the OOM killer passes over what has
//! the lowest score.

use std::fs;

use crate::event::entry::Absent;

const FILE: &str = "/proc/self/oom_score_adj";
/// `OOM_SCORE_ADJ_MIN`: never chosen.
const LOWEST: &str = "-1000";

/// Whether the shield is up, and what the score was before, for what the tracer starts.
#[derive(Clone, Debug)]
pub(super) struct Shield {
    before: Option<String>,
    failure: Option<String>,
}

impl Shield {
    /// Raises it, where that is allowed.
    pub(super) fn raise() -> Self {
        let before = fs::read_to_string(FILE)
            .ok()
            .map(|text| text.trim().to_owned())
            .filter(|before| before != LOWEST);
        let failure = if before.is_some() {
            fs::write(FILE, LOWEST).err().map(|error| error.to_string())
        } else {
            None
        };
        Self { before, failure }
    }

    /// That it could not be raised, and why.
    pub(super) fn absent(&self) -> Option<Absent> {
        self.failure.as_ref().map(|error| Absent {
            what: "shield of oomtrace itself against the OOM killer".to_owned(),
            why: format!("{FILE} cannot be set to {LOWEST}: {error}; CAP_SYS_RESOURCE allows it"),
        })
    }

    /// The score that a child should have, if it differs from what it would inherit.
    pub(super) fn before(&self) -> Option<&str> {
        self.before.as_deref().filter(|_| self.failure.is_none())
    }
}
