//! Which request to stop came before a SIGKILL.

use oomtrace_common::signals::{SIGABRT, SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::{actor, rules::Rules};
use crate::event::{Sigkill, SignalResult, StopRequest};

/// The request that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub request: &'a StopRequest,
    /// From the first signal of the run to the SIGKILL.
    pub grace_ns: u64,
    /// Sent by the party that sent the SIGKILL.
    pub same_actor: bool,
}

impl Found<'_> {
    /// The victim had it ignored, or was deaf to it.
    #[must_use]
    pub(super) fn was_ignored(&self) -> bool {
        self.request.first_result == SignalResult::Ignored
    }
}

/// The request of the last `window_ns` that came before `kill`: one of the same party
/// before any other, a signal that is meant for stopping before any other, the latest.
#[must_use]
pub(super) fn find<'a>(kill: &'a Sigkill, window_ns: u64, rules: &Rules) -> Option<Found<'a>> {
    kill.stops
        .iter()
        .filter(|request| request.first_ns <= kill.boottime_ns)
        .filter(|request| kill.boottime_ns.saturating_sub(request.last_ns) <= window_ns)
        .map(|request| Found {
            request,
            grace_ns: kill.boottime_ns.saturating_sub(request.first_ns),
            same_actor: actor::same_party(&request.sender, &kill.sender, rules),
        })
        .max_by_key(|found| {
            (
                found.same_actor,
                means_stop(found.request.signal),
                found.request.last_ns,
            )
        })
}

/// Signals that by custom mean "end": those that a runtime or service manager sends first.
fn means_stop(signal: u32) -> bool {
    const SIGWINCH: u32 = 28;
    const SIGRTMIN_3: u32 = 37;
    matches!(
        signal,
        SIGTERM | SIGINT | SIGQUIT | SIGHUP | SIGABRT | SIGWINCH | SIGRTMIN_3
    )
}

/// What became of the request, in the record's words.
#[must_use]
pub(super) fn result_name(result: SignalResult) -> &'static str {
    match result {
        SignalResult::Delivered => "delivered",
        SignalResult::Ignored => "ignored",
        SignalResult::AlreadyPending => "already_pending",
        SignalResult::OverflowFail | SignalResult::LoseInfo => "queue_full",
        SignalResult::Other(_) => "unknown",
    }
}
