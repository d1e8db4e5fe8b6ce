//! What keeps a process from taking a signal: its state, its mask, a freezer.

use oomtrace_common::wire::{StopVictim, TaskFacts, present};

/// How a thread stood towards signals, and what it waited in. `None`: the kernel did not
/// tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// `task_struct.__state`.
    pub state: Option<u32>,
    /// `task_struct.jobctl`.
    pub jobctl: Option<u64>,
    /// `task_struct.flags`.
    pub flags: Option<u32>,
    /// `signal_struct.flags`.
    pub signal_flags: Option<u32>,
    /// Signals that the thread blocks: bit 0 for signal 1.
    pub blocked: Option<u64>,
    /// Signals that wait for the thread or its group.
    pub pending: Option<u64>,
}

impl Waiting {
    /// `TASK_UNINTERRUPTIBLE` of include/linux/sched.h; it is part of `TASK_KILLABLE`, which
    /// a SIGKILL alone ends. `TASK_IDLE` has `TASK_NOLOAD` besides.
    const UNINTERRUPTIBLE: u32 = 2;
    const NOLOAD: u32 = 0x400;
    /// `TASK_FROZEN` since 6.1, `PF_FROZEN` before.
    const FROZEN: u32 = 0x8000;
    const PF_FROZEN: u32 = 0x1_0000;
    /// `JOBCTL_TRAP_FREEZE` of include/linux/sched/jobctl.h: its cgroup (v2) is frozen.
    const TRAP_FREEZE: u64 = 1 << 23;
    /// `SIGNAL_STOP_STOPPED` of include/linux/sched/signal.h.
    const STOP_STOPPED: u32 = 1;

    /// In a sleep that no signal but SIGKILL ends, or none at all (state D).
    #[must_use]
    pub fn is_uninterruptible(&self) -> bool {
        self.state
            .is_some_and(|state| state & Self::UNINTERRUPTIBLE != 0 && state & Self::NOLOAD == 0)
    }

    /// Held by the freezer, of cgroup v1 or v2.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.state.is_some_and(|state| state & Self::FROZEN != 0)
            || self.flags.is_some_and(|flags| flags & Self::PF_FROZEN != 0)
            || self
                .jobctl
                .is_some_and(|jobctl| jobctl & Self::TRAP_FREEZE != 0)
    }

    /// Stopped, as by `SIGSTOP`. A SIGKILL ends that: then this is false again.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.signal_flags
            .is_some_and(|flags| flags & Self::STOP_STOPPED != 0)
    }

    /// The thread blocks the signal.
    #[must_use]
    pub fn blocks(&self, signal: u32) -> bool {
        has_signal(self.blocked, signal)
    }

    /// The signal waits: nothing has taken it yet.
    #[must_use]
    pub fn is_pending(&self, signal: u32) -> bool {
        has_signal(self.pending, signal)
    }

    pub(super) fn of_task(facts: &TaskFacts) -> Self {
        let has = |bit: u64| facts.present & bit != 0;
        Self {
            state: has(present::STATE).then_some(facts.state),
            jobctl: has(present::JOBCTL).then_some(facts.jobctl),
            flags: has(present::FLAGS).then_some(facts.flags),
            signal_flags: has(present::SIGNAL_FLAGS).then_some(facts.signal_flags),
            blocked: has(present::BLOCKED).then_some(facts.blocked),
            pending: has(present::PENDING).then_some(facts.shared_pending | facts.own_pending),
        }
    }

    pub(super) fn of_stop(victim: &StopVictim) -> Self {
        let has = |bit: u64| victim.present & bit != 0;
        Self {
            state: has(present::STATE).then_some(victim.state),
            jobctl: has(present::JOBCTL).then_some(victim.jobctl),
            flags: has(present::FLAGS).then_some(victim.flags),
            signal_flags: has(present::SIGNAL_FLAGS).then_some(victim.signal_flags),
            blocked: has(present::BLOCKED).then_some(victim.blocked),
            pending: None,
        }
    }
}

/// The kernel's sets have bit 0 for signal 1.
fn has_signal(set: Option<u64>, signal: u32) -> bool {
    let bit = signal.checked_sub(1).and_then(|at| 1u64.checked_shl(at));
    matches!((set, bit), (Some(set), Some(bit)) if set & bit != 0)
}
