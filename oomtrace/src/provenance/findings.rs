//! Findings beside the verdict: what else a case shows, and deaths of which no SIGKILL was seen.

use oomtrace_common::signals::SI_TIMER;

use super::{
    actor::{self, Party},
    case::{Case, Kill, Link, Status, Unseen},
    judge,
    record::{Cause, END_SEEN_LATE, Evidence, Mechanism},
    rules::Rules,
    words,
};
use crate::event::{Exit, Sigkill, SignalResult};

/// What the case shows beside its verdict: other SIGKILLs, a crash cut short, a hang.
pub(super) fn case_evidence(case: &Case, killer: &Kill, evidence: &mut Vec<Evidence>) {
    let others = case
        .kills
        .iter()
        .filter(|other| !std::ptr::eq(*other, killer));
    for other in others {
        evidence.push(other_kill(
            &other.event,
            "another SIGKILL, after or without effect",
        ));
    }
    if case.more_kills > 0 {
        evidence.push(Evidence {
            code: "more_sigkills".into(),
            text: format!("{} more SIGKILLs were sent to it", case.more_kills),
            source: "signal_generate".into(),
        });
    }
    if killer.event.victim.dumping_core == Some(true) {
        evidence.push(Evidence {
            code: "dumping_core".into(),
            text: match case.exit.as_ref().map(|exit| Status::of(exit.victim.exit_code)) {
                Some(Status::Signal(9)) => "the process was crashing already: this SIGKILL cut off its core dump, and made its status say 9 instead of the fault",
                _ => "the process was crashing already: this SIGKILL came while its core was dumped",
            }
            .to_owned(),
            source: "signal_generate".into(),
        });
    }
    if let Some(exit) = &case.exit {
        let took_ns = exit.boottime_ns.saturating_sub(killer.event.boottime_ns);
        if exit.is_past {
            evidence.push(Evidence {
                code: END_SEEN_LATE.into(),
                text: "its end was seen only when the kernel gave back what was left of it: it had ended before".to_owned(),
                source: "sched_process_free".into(),
            });
        } else if took_ns >= SLOW_NS {
            evidence.push(slow_death(case, killer, took_ns));
        }
    } else if let Some(state) = &case.state {
        let text = match (&state.state, &state.wait_channel) {
            _ if state.is_hidden && case.is_given_up => {
                "its end was not seen for minutes; whether it is there still cannot be seen from this PID namespace".to_owned()
            }
            _ if state.is_hidden => {
                "its end was not seen yet; whether it is there still cannot be seen from this PID namespace".to_owned()
            }
            (None, _) => "the process is gone, its end was not seen".to_owned(),
            (Some(name), Some(channel)) => {
                format!("still there after the SIGKILL, in state {name}, waiting in {channel}")
            }
            (Some(name), None) => format!("still there after the SIGKILL, in state {name}"),
        };
        evidence.push(Evidence {
            code: if state.is_hidden && !case.is_given_up {
                "state_hidden".into()
            } else if state.state.is_some() {
                "still_there".into()
            } else {
                "end_not_seen".into()
            },
            text,
            source: "/proc".into(),
        });
    }
}

/// A process that takes longer to die than this was held up.
const SLOW_NS: u64 = 1_000_000_000;

fn slow_death(case: &Case, killer: &Kill, took_ns: u64) -> Evidence {
    let waiting = &killer.event.victim.waiting;
    let why = if waiting.is_frozen() {
        "the freezer held it".to_owned()
    } else if waiting.is_uninterruptible() {
        "it was in an uninterruptible sleep (state D) when the SIGKILL came".to_owned()
    } else if let Some(state) = case.state.as_ref().and_then(|state| state.state.as_ref()) {
        format!("in between it was in state {state}")
    } else {
        "what held it up was not seen; much memory to give back takes time, too".to_owned()
    };
    Evidence {
        code: "slow_death".into(),
        text: format!(
            "it took {} to die after the SIGKILL: {why}",
            words::duration_ns(took_ns)
        ),
        source: "sched_process_exit".into(),
    }
}

pub(super) fn other_kill(kill: &Sigkill, what: &str) -> Evidence {
    let became = match kill.result {
        SignalResult::Delivered => "delivered",
        SignalResult::Ignored => "ignored",
        SignalResult::AlreadyPending => "already pending",
        _ => "not queued",
    };
    Evidence {
        code: "other_sigkill".into(),
        text: format!("{what}: from {}, {became}", words::label(&kill.sender)),
        source: "signal_generate".into(),
    }
}

pub(super) fn exit_code_evidence(child: Option<&Link>, unseen: Unseen) -> Vec<Evidence> {
    let text = match child {
        Some(child) => format!(
            "no signal ended it: it exited with status 137 after its child {} had ended so, as a shell does to pass a status on",
            child.who
        ),
        None => "no signal ended it: it called exit with status 137".to_owned(),
    };
    let of_itself = Evidence {
        code: "exit_status_137".into(),
        text,
        source: "sched_process_exit".into(),
    };
    let why = match unseen {
        Unseen::Lost(count) => format!("{count} events of SIGKILLs were lost while it lived"),
        Unseen::StartedLater => {
            "it is older than the tracer, which had only just started".to_owned()
        }
        Unseen::Waited | Unseen::NotGenerated => String::new(),
    };
    let is_open = child.is_none() && !why.is_empty();
    let of_a_child = is_open.then(|| Evidence {
        code: "child_may_be_unseen".into(),
        text: format!(
            "{why}: a child of it may have been killed, by whomever, and not have been seen"
        ),
        source: "sched_process_exit".into(),
    });
    [of_itself].into_iter().chain(of_a_child).collect()
}

/// `SECCOMP_MODE_STRICT` of include/uapi/linux/seccomp.h, and `SECCOMP_MODE_DEAD` of
/// kernel/seccomp.c, which takes its place once seccomp has ended the process (since 5.17).
/// A filter's kill is a `SIGSYS`.
const SECCOMP_STRICT_OR_DEAD: [u32; 2] = [1, 3];

/// A POSIX timer's SIGKILL brings its own entry for the queue of signals, which stays there until
/// the process is gone: it is known though nobody saw it being sent.
fn timers_kill() -> (Cause, Mechanism, Party, Vec<Evidence>) {
    let evidence = Evidence {
        code: "timer_signal_queued".into(),
        text: "the SIGKILL in its queue of signals is that of a POSIX timer; when it was sent was not seen".to_owned(),
        source: "sched_process_exit".into(),
    };
    let party = Party::kernel(judge::OWN_ARRANGEMENT);
    (
        Cause::OwnTimer,
        Mechanism::PosixTimer,
        party,
        vec![evidence],
    )
}

/// A death by signal 9 of which no SIGKILL was seen.
pub(super) fn no_signal(
    exit: &Exit,
    unseen: Unseen,
    rules: &Rules,
) -> (Cause, Mechanism, Party, Vec<Evidence>) {
    if exit.queued_kill == Some(SI_TIMER) {
        return timers_kill();
    }
    let (cause, mut mechanism, mut party, code, text) = match unseen {
        Unseen::Lost(count) => (
            Cause::Unknown,
            Mechanism::Unknown,
            Party::unknown(),
            "events_lost",
            format!("{count} events of SIGKILLs were lost while it lived: its own may have been among them"),
        ),
        Unseen::Waited => (
            Cause::Unknown,
            Mechanism::Unknown,
            Party::unknown(),
            "sigkill_not_seen",
            "a SIGKILL was waiting for it when it ended: it had been sent before the tracer started, or the tracer has missed it".to_owned(),
        ),
        Unseen::StartedLater => (
            Cause::Unknown,
            Mechanism::Unknown,
            Party::unknown(),
            "tracer_started_later",
            "the process is older than the tracer: its SIGKILL was, or may have been, sent before the tracer started".to_owned(),
        ),
        Unseen::NotGenerated => (
            Cause::Kernel,
            Mechanism::Kernel,
            Party::kernel("kernel"),
            "no_signal_generated",
            "no SIGKILL was generated and no event was lost: seccomp's strict mode, a ptrace-injected signal or a kernel oops end a process so".to_owned(),
        ),
    };
    let mut evidence = vec![Evidence {
        code: code.into(),
        text,
        source: "sched_process_exit".into(),
    }];
    if unseen == Unseen::NotGenerated {
        let seccomp = |mode| SECCOMP_STRICT_OR_DEAD.contains(&mode);
        if exit.victim.seccomp_mode.is_some_and(seccomp) {
            mechanism = Mechanism::Seccomp;
            evidence.push(Evidence {
                code: "seccomp_strict".into(),
                text: "it ran in seccomp's strict mode, in which any system call but read, write, exit and sigreturn ends a process so".to_owned(),
                source: "sched_process_exit".into(),
            });
        } else if let Some(ptracer) = &exit.ptracer {
            mechanism = Mechanism::Ptrace;
            party = actor::ptracer(ptracer, rules);
            evidence.push(Evidence {
                code: "ptrace_injected".into(),
                text: format!(
                    "{}[{}] traced it by ptrace, and can let a process go on with any signal, 9 too",
                    ptracer.comm, ptracer.group.tgid
                ),
                source: "sched_process_exit".into(),
            });
        }
    }
    (cause, mechanism, party, evidence)
}
