//! Keeping the tracer going where it is needed most: the OOM killer passes over what has the
//! lowest score, and a busy machine runs first what has the higher priority. A tracer that
//! has to wait for its turn loses events.

use std::fs;

use crate::event::entry::Absent;

const FILE: &str = "/proc/self/oom_score_adj";
/// `OOM_SCORE_ADJ_MIN`: never chosen.
const LOWEST: &str = "-1000";

/// Ahead of what runs with the usual 0, behind what is as urgent as can be (-20).
const NICE: libc::c_int = -10;

/// Whether the shield is up, and what score and priority were before, for what the tracer
/// starts.
#[derive(Clone, Debug)]
pub(super) struct Shield {
    before: Option<String>,
    failure: Option<String>,
    nice_before: Option<libc::c_int>,
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
        Self {
            before,
            failure,
            nice_before: hurry(),
        }
    }

    /// The nice value that a child should have, if it differs from what it would inherit.
    pub(super) fn nice_before(&self) -> Option<libc::c_int> {
        self.nice_before
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

/// Raises the priority of this thread and of those that it will start; returns what it was,
/// if it was lower and that was allowed (`CAP_SYS_NICE`).
fn hurry() -> Option<libc::c_int> {
    // SAFETY: no pointers are passed. Of -1, errno would tell whether it is an error; it is
    // above what is wanted all the same.
    let before = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    if before <= NICE {
        return None;
    }
    // SAFETY: no pointers are passed.
    let failed = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0;
    if failed {
        log::debug!(
            "the priority cannot be raised: {}",
            std::io::Error::last_os_error()
        );
    }
    (!failed).then_some(before)
}
