//! Keeping the tracer alive where it is needed most: the OOM killer passes over what has
//! the lowest score.

use std::fs;

const FILE: &str = "/proc/self/oom_score_adj";
/// `OOM_SCORE_ADJ_MIN`: never chosen.
const LOWEST: &str = "-1000";

/// What the score was before, for what the tracer itself starts.
#[derive(Clone, Debug)]
pub(super) struct Shield {
    before: Option<String>,
}

impl Shield {
    /// Raises it; says so where it may not.
    pub(super) fn raise() -> Self {
        let before = fs::read_to_string(FILE)
            .ok()
            .map(|text| text.trim().to_owned());
        if before.as_deref() != Some(LOWEST)
            && let Err(error) = fs::write(FILE, LOWEST)
        {
            log::info!(
                "oomtrace itself may be chosen by the OOM killer: {FILE} cannot be lowered to {LOWEST} ({error}); CAP_SYS_RESOURCE allows it"
            );
            return Self { before: None };
        }
        Self { before }
    }

    /// The score that a child should have, if it differs from what it would inherit.
    pub(super) fn before(&self) -> Option<&str> {
        self.before.as_deref().filter(|before| *before != LOWEST)
    }
}
