//! How a SIGKILL was generated: read from the kernel's call path, else from what the
//! tracepoint itself shows.

use oomtrace_common::signals::{SI_QUEUE, SI_TIMER, SI_TKILL};

use super::{record::Mechanism, rules::Rules};
use crate::event::{InfoKind, Sigkill};

/// A mechanism, and whether the call path proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub mechanism: Mechanism,
    pub proven: bool,
}

/// `marked`: the kernel marked the victim of an OOM kill in the same context.
#[must_use]
pub(super) fn find(kill: &Sigkill, marked: bool, rules: &Rules) -> Found {
    if let Some(stack) = &kill.stack {
        // A path of the kernel's that the table does not know is the kernel's still.
        let mechanism = match rules.mechanism(stack) {
            Some(Mechanism::RlimitCpu) => cpu_limit(kill),
            known => known.unwrap_or(Mechanism::Kernel),
        };
        return Found {
            mechanism,
            proven: true,
        };
    }
    Found {
        mechanism: without_stack(kill, marked),
        proven: false,
    }
}

/// Which limit of CPU time it was: both are looked after by one function. The one on all
/// CPU time, once as much is used up; the one on real-time slices, where that is not so.
fn cpu_limit(kill: &Sigkill) -> Mechanism {
    let limits = &kill.cpu_limits;
    let used_up = match (limits.cpu_hard_s, limits.used_ns) {
        (Some(hard_s), Some(used_ns)) => used_ns >= hard_s.saturating_mul(1_000_000_000),
        (Some(_), None) => true,
        (None, _) => false,
    };
    if used_up || limits.rttime_hard_us.is_none() {
        Mechanism::RlimitCpu
    } else {
        Mechanism::RlimitRttime
    }
}

/// KERNEL facts behind it: every mechanism's `info`, group flag and sender were seen on
/// 5.10 to 7.2. Where two look alike, `kernel` is the answer.
fn without_stack(kill: &Sigkill, marked: bool) -> Mechanism {
    let exiting = kill.sender.is_exiting();
    match (kill.info, kill.group) {
        (InfoKind::Priv, true) if marked => Mechanism::OomKiller,
        (InfoKind::Priv, true) if exiting => Mechanism::PidNamespace,
        (InfoKind::Priv, true) if limits_cpu(kill) => cpu_limit(kill),
        (InfoKind::Priv, false) if exiting => Mechanism::PtraceExitkill,
        (InfoKind::None, true) if exiting => Mechanism::Pdeathsig,
        (InfoKind::None, false) if !exiting => Mechanism::CgroupKill,
        (InfoKind::Pointer, _) => match kill.code {
            SI_TKILL => Mechanism::Tgkill,
            SI_QUEUE => Mechanism::RtSigqueueinfo,
            SI_TIMER => Mechanism::PosixTimer,
            code if code > 0 && exiting => Mechanism::ExitSignal,
            code if code > 0 => Mechanism::Sigio,
            _ => Mechanism::Kill,
        },
        _ => Mechanism::Kernel,
    }
}

/// The victim ran and has a limit of CPU time: what else sends so to itself is a BPF program.
fn limits_cpu(kill: &Sigkill) -> bool {
    let limits = &kill.cpu_limits;
    kill.sender.group == kill.victim.group
        && (limits.cpu_hard_s.is_some() || limits.rttime_hard_us.is_some())
}

/// The kernel's own doing: no process decided to send this signal.
#[must_use]
pub(super) fn is_kernels_own(mechanism: Mechanism) -> bool {
    !matches!(
        mechanism,
        Mechanism::Kill
            | Mechanism::Tkill
            | Mechanism::Tgkill
            | Mechanism::RtSigqueueinfo
            | Mechanism::PidfdSendSignal
            | Mechanism::CgroupKill
            | Mechanism::Ptrace
            | Mechanism::Exit
            | Mechanism::Unknown
    )
}
