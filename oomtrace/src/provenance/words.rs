//! What a person reads: one line for each death, and what to do about it.

use super::{
    build::Survival,
    judge::Verdict,
    levels,
    naming::Located,
    record::{self, ActorKind, Cause, Evidence, Mechanism},
    signal_names,
};
use crate::event::{Process, container::ContainerFacts};

/// Bytes in the largest unit that keeps them readable.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!(
        "{value:.1} {}",
        UNITS.get(unit).copied().unwrap_or_default()
    )
}

/// A stretch of time: microseconds, milliseconds, or seconds.
#[must_use]
pub fn duration_ns(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} us", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

/// The same of a long one, in its largest unit as people say it.
#[must_use]
pub fn stretch_ns(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (unit, name) = match seconds {
        0..120 => return duration_ns(ns),
        120..7_200 => (60, "min"),
        7_200..172_800 => (3_600, "h"),
        _ => (86_400, "days"),
    };
    // To the nearest.
    format!("{} {name}", (seconds + unit / 2) / unit)
}

/// A process as people speak of it: `nginx[31744]`.
#[must_use]
pub(super) fn label(process: &Process) -> String {
    record::label(process.comm.as_deref(), process.group.tgid)
}

/// The actor as people speak of it.
#[must_use]
pub(super) fn actor_label(verdict: &Verdict<'_>, sender: &Process) -> String {
    let actor = &verdict.actor;
    let pid = actor
        .group
        .map(|group| format!("[{}]", group.tgid))
        .unwrap_or_default();
    let name = actor.name.as_deref().unwrap_or("?");
    match actor.group {
        // A runtime's own program, which is gone at once, says less than the runtime's name.
        Some(group) if group != sender.group && actor.kind == ActorKind::Runtime => {
            format!("{name} ({})", label(sender))
        }
        Some(group) if group != sender.group => format!("{} (run by {name}{pid})", label(sender)),
        _ => format!("{name}{pid}"),
    }
}

/// The one line that answers "what killed it?".
#[must_use]
pub(super) fn summary(
    verdict: &Verdict<'_>,
    at: &Located<'_>,
    victim: &Process,
    sender: &Process,
    page_bytes: u64,
) -> String {
    let who = at.label(victim);
    let actor = actor_label(verdict, sender);
    if verdict.mechanism == Mechanism::OomGroup && verdict.cause != Cause::CgroupOom {
        return format!(
            "{who} was killed with its group (memory.oom.group), of which the OOM killer had chosen one: the memory that {} may use ran out",
            label(sender)
        );
    }
    match verdict.cause {
        Cause::CgroupOom => cgroup_oom(verdict, at, &who, sender, page_bytes),
        Cause::GlobalOom if verdict.oom.as_ref().is_some_and(|oom| oom.by_sysrq) => {
            format!("{who} was chosen by the OOM killer, which somebody called by hand (SysRq-f)")
        }
        Cause::GlobalOom => {
            format!(
                "{who} was chosen by the OOM killer: the node ran out of memory when {} asked for more",
                label(sender)
            )
        }
        Cause::NumaOom => {
            format!(
                "{who} was chosen by the OOM killer: the memory that {} may use ran out, not the node's",
                label(sender)
            )
        }
        Cause::StopTimeout => match verdict.stop {
            Some(stop) => format!(
                "{who} did not stop within {} of {}{}; {actor} killed it",
                duration_ns(stop.grace_ns),
                signal_names::name(stop.request.signal),
                if stop.was_ignored() {
                    ", which it ignored"
                } else {
                    ""
                },
            ),
            None => format!("{who} did not stop in time; {actor} killed it"),
        },
        Cause::SupervisorKill => match verdict.stop {
            Some(stop) => format!(
                "{who} was killed by {actor} at once; {} before, {} had come from {}",
                duration_ns(stop.grace_ns),
                signal_names::name(stop.request.signal),
                label(&stop.request.sender)
            ),
            None if verdict.is_early => format!(
                "{who} was killed by {actor}; a request to stop may have come before the tracer started"
            ),
            None => {
                format!("{who} was killed by {actor} at once, with no request to stop before")
            }
        },
        Cause::UserspaceOom => format!("{who} was killed by the userspace OOM daemon {actor}"),
        Cause::ManualKill => format!("{who} was killed by hand or by a script: {actor}"),
        Cause::AppKill => {
            if verdict.actor.is_related {
                format!("{who} was killed by {actor}, another process of the application")
            } else if verdict.actor.kind == ActorKind::SecurityAgent {
                format!("{who} was killed by the security agent {actor}")
            } else {
                format!(
                    "{who} was killed by {actor}, a process that is no known supervisor, tool or session"
                )
            }
        }
        Cause::SelfKill => self_kill(verdict, &who),
        Cause::NamespaceExit => {
            format!(
                "{who} ended with its PID namespace: process 1 of it, {}, ended",
                label(sender)
            )
        }
        Cause::ParentDeath => format!(
            "{who} was killed because its parent {} ended and it had asked for that (PR_SET_PDEATHSIG)",
            label(sender)
        ),
        Cause::TracerExit => format!(
            "{who} was killed because its tracer {} ended (PTRACE_O_EXITKILL)",
            label(sender)
        ),
        Cause::CpuLimit if verdict.mechanism == Mechanism::RlimitRttime => {
            format!(
                "{who} ran for longer at a stretch than its real-time limit allows (RLIMIT_RTTIME)"
            )
        }
        Cause::CpuLimit => format!("{who} used up its CPU time limit (RLIMIT_CPU)"),
        Cause::OwnTimer => match verdict.mechanism {
            Mechanism::PosixTimer => {
                format!("{who} was killed by a POSIX timer that was set to SIGKILL")
            }
            Mechanism::Sigio => {
                format!("{who} was killed by a file descriptor's signal that was set to SIGKILL")
            }
            _ => format!("{who} was killed by a child's exit signal that was set to SIGKILL"),
        },
        Cause::Bpf => format!("{who} was killed by a BPF program"),
        Cause::Kernel => by_kernel(verdict.mechanism, &who, &actor),
        Cause::ExitCode => format!("{who} was not killed: it exited with status 137 by itself"),
        Cause::Unknown => format!("{who} died of SIGKILL; who sent it was not seen"),
    }
}

fn self_kill(verdict: &Verdict<'_>, who: &str) -> String {
    if verdict.is_to_own_group {
        format!("{who} killed itself: it sent SIGKILL to its own process group, and was in it")
    } else {
        format!("{who} killed itself")
    }
}

fn by_kernel(mechanism: Mechanism, who: &str, actor: &str) -> String {
    match mechanism {
        Mechanism::Seccomp => {
            format!("{who} was ended by seccomp: it made a system call that strict mode forbids")
        }
        Mechanism::Ptrace => {
            format!(
                "{who} was ended by its tracer {actor}, which let it go on with signal 9 (ptrace)"
            )
        }
        Mechanism::Sysrq => {
            format!("{who} was killed by the kernel, which somebody told to (SysRq)")
        }
        Mechanism::MemoryFailure => {
            format!("{who} was killed by the kernel: memory of it has gone bad")
        }
        _ => format!("{who} was killed by the kernel itself"),
    }
}

fn cgroup_oom(
    verdict: &Verdict<'_>,
    at: &Located<'_>,
    who: &str,
    sender: &Process,
    page_bytes: u64,
) -> String {
    let limit = verdict.oom.as_ref().and_then(|oom| oom.limit.as_ref());
    let size = limit.and_then(|level| level.max_pages).map_or_else(
        || "memory limit".to_owned(),
        |pages| {
            format!(
                "memory limit of {}",
                bytes(pages.saturating_mul(page_bytes))
            )
        },
    );
    let size = levels::phrase(limit, at, &size);
    if verdict.mechanism == Mechanism::OomGroup {
        return format!("{who} was killed with its group (memory.oom.group) when {size} was hit");
    }
    if verdict.oom.as_ref().is_some_and(|oom| oom.limit_lowered) {
        return format!(
            "{who} was chosen by the OOM killer: {} lowered the limit below what was in use ({size})",
            label(sender)
        );
    }
    format!("{who} was chosen by the OOM killer: {size} was hit")
}

/// What became of the container, for a process in it that was not its init.
pub(super) fn survival(survived: Option<Survival>, summary: &mut String) {
    match survived {
        Some(Survival::GoesOn) => summary.push_str("; the container goes on without it"),
        Some(Survival::EndedAfter(ns)) => {
            summary.push_str(&format!("; the container ended {} later", duration_ns(ns)));
        }
        Some(Survival::Ended) | None => {}
    }
}

/// A stop that waited for less than was configured, and what does that.
#[must_use]
pub(super) fn grace_shorter(grace_ns: u64, configured_ms: u64, facts: &ContainerFacts) -> String {
    let waited = duration_ns(grace_ns);
    let configured = duration_ns(configured_ms.saturating_mul(1_000_000));
    let does = shortens_grace(facts);
    format!("it had {waited} of the {configured} that are configured: what does that is {does}")
}

/// What has a container killed before its grace is over.
#[must_use]
pub(super) fn shortens_grace(facts: &ContainerFacts) -> &'static str {
    match (&facts.pod, facts.pre_stop) {
        (Some(_), true) => {
            "its preStop hook, whose time counts, or else a forced delete, a hard eviction, or a probe's own grace period"
        }
        (Some(_), false) => {
            "a forced delete (--force, --grace-period), a hard eviction, or a probe's own grace period"
        }
        (None, _) => {
            "a shorter time asked for with the stop itself (stop -t, restart -t, rm -f -t)"
        }
    }
}

/// Evidence about the sender that every killed process's record gets.
pub(super) fn sender_evidence(
    verdict: &Verdict<'_>,
    sender: &Process,
    evidence: &mut Vec<Evidence>,
) {
    if sender.argv.is_none() && verdict.actor.kind != ActorKind::Kernel {
        let text = if sender.is_exiting() {
            "the sender was exiting: it had no memory left to read its arguments from"
        } else {
            "the sender's arguments could not be read"
        };
        evidence.push(Evidence {
            code: "sender_argv_absent".into(),
            text: text.to_owned(),
            source: "signal_generate".into(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_people() {
        assert_eq!(bytes(52_428_800), "50.0 MiB");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(duration_ns(1_004_000_000), "1.0 s");
        assert_eq!(duration_ns(812_000), "812 us");
        assert_eq!(duration_ns(12_300_000), "12 ms");
    }
}
