//! Which request to stop came before a SIGKILL.

use oomtrace_common::signals::{SIGABRT, SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::{actor, rules::Rules};
use crate::event::{Handler, Sigkill, SignalResult, StopRequest};

/// Why the victim did not stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The kernel threw the signal away: `SIG_IGN`, or a namespace's init without a handler.
    Ignored,
    /// Its cgroup was frozen.
    Frozen,
    /// It was stopped, as by `SIGSTOP`.
    Stopped,
    /// It sat in a sleep that only its end, or SIGKILL, ends (state D).
    Uninterruptible,
    /// It blocked the signal.
    Blocked,
    /// Nothing kept it from taking the signal, and it had not yet done so.
    NotTaken,
    /// It took the signal, which has its default action, and had not ended yet.
    Ending,
    /// It took the signal and went on.
    Handled,
}

impl Reason {
    /// As it stands in records.
    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::Frozen => "frozen",
            Self::Stopped => "stopped",
            Self::Uninterruptible => "uninterruptible",
            Self::Blocked => "blocked",
            Self::NotTaken => "not_taken",
            Self::Ending => "ending",
            Self::Handled => "handled",
        }
    }

    /// Why a request had no effect, from how the victim stood when it came, and what of it
    /// was left when the SIGKILL came. A signal that waits still has not been taken: then a
    /// frozen or stopped process could not, whatever its mask says.
    fn of(request: &StopRequest, kill: &Sigkill) -> Self {
        let now = &kill.victim.waiting;
        let then = &request.victim;
        if request.first_result == SignalResult::Ignored {
            return Self::Ignored;
        }
        if !now.is_pending(request.signal) {
            // What is blocked waits, unless sigwait(3) or a signalfd takes it.
            let waited_for = then.blocks(request.signal) || now.blocks(request.signal);
            return match request.handler {
                Some(Handler::Default) if !waited_for => Self::Ending,
                _ => Self::Handled,
            };
        }
        let blocked = now.blocks(request.signal);
        let uninterruptible = [now.is_uninterruptible(), then.is_uninterruptible()];
        if now.is_frozen() || then.is_frozen() {
            Self::Frozen
        } else if then.is_stopped() || request.stopped_since {
            Self::Stopped
        } else if uninterruptible == [true, true] || (!blocked && uninterruptible.contains(&true)) {
            Self::Uninterruptible
        } else if blocked {
            Self::Blocked
        } else {
            Self::NotTaken
        }
    }
}

/// The request that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub request: &'a StopRequest,
    /// From the first signal of the run to the SIGKILL.
    pub grace_ns: u64,
    /// Sent by the party that sent the SIGKILL.
    pub same_actor: bool,
    pub reason: Reason,
    /// The signal waits, and the victim blocks it.
    pub is_blocked: bool,
}

impl Found<'_> {
    /// The victim had it ignored, or was deaf to it.
    #[must_use]
    pub(super) fn was_ignored(&self) -> bool {
        self.reason == Reason::Ignored
    }

    /// The victim had a function for the signal.
    #[must_use]
    pub(super) fn has_handler(&self) -> bool {
        self.request.handler == Some(Handler::Function)
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
        .filter(|request| !means_something_else(request))
        .map(|request| Found {
            request,
            grace_ns: kill.boottime_ns.saturating_sub(request.first_ns),
            same_actor: actor::same_party(&request.sender, &kill.sender, rules),
            reason: Reason::of(request, kill),
            is_blocked: kill.victim.waiting.is_pending(request.signal)
                && kill.victim.waiting.blocks(request.signal),
        })
        .max_by_key(|found| {
            (
                found.same_actor,
                means_stop(found.request.signal),
                found.request.last_ns,
            )
        })
}

/// What asks for something else of a process that has a function for it: to reload, to reopen
/// its logs, to talk to its peers.
fn means_something_else(request: &StopRequest) -> bool {
    request.handler == Some(Handler::Function)
        && (request.signal == SIGHUP || !means_stop(request.signal))
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
