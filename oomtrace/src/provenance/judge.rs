//! The verdict: the first row of DESIGN.md's table that fits.

use super::{
    actor::{self, Party},
    case::{Kill, Status},
    mechanism,
    oom::{self, Baseline},
    record::{ActorKind, Cause, Evidence, Mechanism},
    rules::Rules,
    stop, words,
};
use crate::event::{Constraint, OomKill, Process, Sigkill, entry::OomLine};

/// All that was seen of one SIGKILL.
pub(super) struct Case<'a> {
    pub kill: &'a Sigkill,
    /// The kernel marked an OOM victim in the same context.
    pub marked: bool,
    pub hook: Option<&'a OomKill>,
    pub line: Option<&'a OomLine>,
    pub baseline: &'a Baseline,
    /// The kill of the one that the OOM killer had chosen, for a member of its group.
    pub chosen: Option<&'a Kill>,
    /// How long before the SIGKILL a stop request counts.
    pub stop_window_ns: u64,
    /// Since when the tracer has been there.
    pub attached_ns: u64,
}

/// Why the victim died.
#[derive(Clone, Debug)]
pub(super) struct Verdict<'a> {
    pub cause: Cause,
    pub mechanism: Mechanism,
    pub actor: Party,
    /// The mechanism was not one that a process asked for: `current` was no sender.
    pub sender_is_bystander: bool,
    pub stop: Option<stop::Found<'a>>,
    /// The victim is older than the tracer, which has not been there for as long as a request
    /// to stop counts.
    pub is_early: bool,
    pub oom: Option<oom::Found>,
    /// The victim sent it to its whole process group, and was in it.
    pub is_to_own_group: bool,
    pub evidence: Vec<Evidence>,
}

/// Judges one SIGKILL that killed.
#[must_use]
pub(super) fn judge<'a>(case: &Case<'a>, rules: &Rules) -> Verdict<'a> {
    let kill = case.kill;
    let found = mechanism::find(kill, case.marked, rules);
    let mut evidence = vec![mechanism_evidence(found)];
    let stop = stop::find(kill, case.stop_window_ns, rules);
    let (cause, actor, oom) = match kernels_own(case, found.mechanism, rules, &mut evidence) {
        Some(own) => own,
        None => by_actor(kill, stop, rules, &mut evidence),
    };
    if let Some(stop) = stop {
        stop_evidence(&stop, kill.victim.is_namespace_init(), &mut evidence);
    }
    let is_early = kill.victim.group.start_ns < case.attached_ns
        && kill.boottime_ns.saturating_sub(case.attached_ns) < case.stop_window_ns;
    let may_have_been_asked = matches!(
        cause,
        Cause::SupervisorKill | Cause::ManualKill | Cause::AppKill
    );
    if is_early && stop.is_none() && may_have_been_asked {
        evidence.push(Evidence {
            code: "stop_may_be_unseen".into(),
            text: "the tracer started a while before, and the victim is older: a request to stop may have come earlier".to_owned(),
            source: "signal_generate".into(),
        });
    }
    Verdict {
        cause,
        mechanism: found.mechanism,
        sender_is_bystander: matches!(
            found.mechanism,
            Mechanism::PosixTimer | Mechanism::Sigio | Mechanism::BpfSendSignal
        ) && kill.sender.group != kill.victim.group,
        actor,
        stop,
        is_early,
        oom,
        is_to_own_group: cause == Cause::SelfKill && is_to_process_group(kill, rules),
        evidence,
    }
}

fn is_to_process_group(kill: &Sigkill, rules: &Rules) -> bool {
    let stack = kill.stack.as_ref();
    stack.is_some_and(|stack| rules.is_to_process_group(stack))
}

/// Who it is that acts where the victim itself has arranged for the signal.
pub(super) const OWN_ARRANGEMENT: &str = "the victim's own arrangement";

type Own = (Cause, Party, Option<oom::Found>);

/// What the kernel did by itself; `None` if a process asked for it.
fn kernels_own(
    case: &Case<'_>,
    mechanism: Mechanism,
    rules: &Rules,
    evidence: &mut Vec<Evidence>,
) -> Option<Own> {
    let kill = case.kill;
    let by_kernel = |cause, name: &str| Some((cause, Party::kernel(name), None));
    match mechanism {
        Mechanism::OomKiller | Mechanism::OomGroup => Some(oom(case, rules, evidence)),
        Mechanism::PidNamespace => {
            evidence.push(init_end(&kill.sender));
            by_kernel(Cause::NamespaceExit, "pid namespace")
        }
        Mechanism::Pdeathsig => by_kernel(Cause::ParentDeath, "parent death signal"),
        Mechanism::PtraceExitkill => by_kernel(Cause::TracerExit, "ptrace"),
        Mechanism::RlimitCpu | Mechanism::RlimitRttime => by_kernel(Cause::CpuLimit, "cpu limit"),
        Mechanism::PosixTimer | Mechanism::Sigio | Mechanism::ExitSignal => {
            by_kernel(Cause::OwnTimer, OWN_ARRANGEMENT)
        }
        Mechanism::BpfSendSignal => by_kernel(Cause::Bpf, "a BPF program"),
        other if mechanism::is_kernels_own(other) => {
            evidence.push(Evidence {
                code: "kernel_call_path".into(),
                text: match &kill.stack {
                    Some(stack) => format!("the kernel sent it from {}", stack.join(" < ")),
                    None => "the kernel sent it; its call path could not be read".to_owned(),
                },
                source: "signal_generate".into(),
            });
            by_kernel(Cause::Kernel, "kernel")
        }
        _ => None,
    }
}

/// How the init of a namespace ended: its status is set when it kills the rest.
fn init_end(init: &Process) -> Evidence {
    let who = words::label(init);
    let (code, text) = match Status::of(init.exit_code) {
        Status::Signal(signal) => (
            "init_killed",
            format!(
                "{who}, process 1 of its PID namespace, was ended by {}",
                super::signal_names::name(signal as u32)
            ),
        ),
        Status::Exited(status) => (
            "init_exited",
            format!("{who}, process 1 of its PID namespace, exited by itself with status {status}"),
        ),
        Status::Unknown => (
            "init_ended",
            format!("{who}, process 1 of its PID namespace, ended; its status could not be read"),
        ),
    };
    Evidence {
        code: code.into(),
        text,
        source: "signal_generate".into(),
    }
}

fn oom(case: &Case<'_>, rules: &Rules, evidence: &mut Vec<Evidence>) -> Own {
    let found = match case.chosen {
        Some(chosen) => oom::of_kill(chosen),
        None => oom::find(case.kill, case.hook, case.line, case.baseline),
    };
    oom_evidence(case, &found, evidence);
    if let Some(chosen) = case.chosen {
        evidence.push(Evidence {
            code: "oom_group".into(),
            text: format!(
                "memory.oom.group: it went with {}, which the OOM killer had chosen",
                words::label(&chosen.event.victim)
            ),
            source: "signal_generate".into(),
        });
    }
    if found.limit_lowered {
        evidence.push(Evidence {
            code: "lowered_limit".into(),
            text: format!(
                "{} wrote the limit below what was in use",
                words::label(&case.kill.sender)
            ),
            source: "signal_generate".into(),
        });
    }
    let cause = match found.constraint {
        Some(Constraint::Memcg) => Cause::CgroupOom,
        Some(Constraint::Cpuset | Constraint::MemoryPolicy) => Cause::NumaOom,
        Some(Constraint::None) | None => Cause::GlobalOom,
    };
    let actor = if found.limit_lowered {
        actor::find(&case.kill.sender, &case.kill.victim, rules)
    } else {
        Party::kernel("OOM killer")
    };
    (cause, actor, Some(found))
}

/// By the party that asked for the SIGKILL.
fn by_actor(
    kill: &Sigkill,
    stop: Option<stop::Found<'_>>,
    rules: &Rules,
    evidence: &mut Vec<Evidence>,
) -> Own {
    let own = kill.sender.group == kill.victim.group;
    let party = if own && !stop.is_some_and(|stop| stop.same_actor) {
        Party::own(&kill.sender, is_to_process_group(kill, rules))
    } else {
        actor::find(&kill.sender, &kill.victim, rules)
    };
    let cause = match party.kind {
        ActorKind::OomDaemon => Cause::UserspaceOom,
        _ if stop.is_some_and(|stop| stop.same_actor) => Cause::StopTimeout,
        _ if own => Cause::SelfKill,
        ActorKind::Runtime | ActorKind::ServiceManager => Cause::SupervisorKill,
        ActorKind::Human => Cause::ManualKill,
        ActorKind::Kernel => Cause::Kernel,
        ActorKind::Application | ActorKind::SecurityAgent | ActorKind::Unknown => Cause::AppKill,
    };
    evidence.push(Evidence {
        code: "actor".into(),
        text: party.why.clone(),
        source: "signal_generate".into(),
    });
    if let Some(operator) = &party.operator {
        evidence.push(Evidence {
            code: "operator".into(),
            text: operator.clone(),
            source: "signal_generate".into(),
        });
    }
    if let Some(session) = &party.exec_session {
        evidence.push(Evidence {
            code: "exec_session".into(),
            text: session.clone(),
            source: "signal_generate".into(),
        });
    }
    (cause, party, None)
}

fn mechanism_evidence(found: mechanism::Found) -> Evidence {
    if found.proven {
        Evidence {
            code: "call_path".into(),
            text: "the kernel's call path shows how the signal was generated".to_owned(),
            source: "signal_generate".into(),
        }
    } else {
        Evidence {
            code: "mechanism_inferred".into(),
            text: "the kernel's symbols are hidden: how the signal was generated is concluded from its kind, its sender and what followed".to_owned(),
            source: "signal_generate".into(),
        }
    }
}

fn oom_evidence(case: &Case<'_>, found: &oom::Found, evidence: &mut Vec<Evidence>) {
    if case.marked {
        evidence.push(Evidence {
            code: "mark_victim".into(),
            text: "the kernel marked the victim of an OOM kill".to_owned(),
            source: "mark_victim".into(),
        });
    }
    if !found.is_memcg_exact {
        evidence.push(Evidence {
            code: "oom_kind_inferred".into(),
            text: "neither the call path nor a hook nor the kernel log said whether a cgroup or the node ran out: concluded from the limits".to_owned(),
            source: "memory cgroups".into(),
        });
    }
    if let Some(source) = found.limit_source {
        let (code, text, origin) = match source {
            oom::Source::OomControl => (
                "limit_from_oom_control",
                "the OOM killer itself was told this cgroup",
                "oom_kill_process",
            ),
            oom::Source::KernelLog => (
                "limit_from_kernel_log",
                "the kernel log names this cgroup",
                "kmsg",
            ),
            oom::Source::OomEvents => (
                "limit_from_oom_events",
                "this cgroup's own count of hit limits has risen, and no other's",
                "memory cgroups",
            ),
            oom::Source::OomLock => (
                "limit_from_oom_lock",
                "this is the topmost cgroup under the OOM lock",
                "memory cgroups",
            ),
            oom::Source::Exhausted => (
                "limit_inferred",
                "the lowest cgroup of trigger and victim that had nothing left: concluded, not said by the kernel",
                "memory cgroups",
            ),
        };
        evidence.push(Evidence {
            code: code.into(),
            text: text.to_owned(),
            source: origin.into(),
        });
    }
    if let Some(line) = case.line {
        evidence.push(Evidence {
            code: "kernel_log".into(),
            text: format!(
                "the kernel log: constraint={}{}",
                line.constraint,
                line.oom_memcg
                    .as_ref()
                    .map_or_else(String::new, |memcg| format!(", oom_memcg={memcg}"))
            ),
            source: "kmsg".into(),
        });
    }
    if found.by_sysrq {
        evidence.push(Evidence {
            code: "sysrq_f".into(),
            text: "the OOM killer was called by hand (SysRq-f): memory need not have been short"
                .to_owned(),
            source: "signal_generate".into(),
        });
    }
    if found.constraint.is_none() {
        evidence.push(Evidence {
            code: "constraint_unknown".into(),
            text: "that no cgroup's limit was hit is certain; whether a cpuset or memory policy was in force could not be seen here".to_owned(),
            source: "signal_generate".into(),
        });
    }
}

fn stop_evidence(stop: &stop::Found<'_>, is_init: bool, evidence: &mut Vec<Evidence>) {
    let signal = super::signal_names::name(stop.request.signal);
    let (code, text) = match stop.reason {
        stop::Reason::Ignored if is_init => (
            "stop_signal_ignored",
            format!(
                "{signal} was ignored: the victim is process 1 of its PID namespace and has no handler for it"
            ),
        ),
        stop::Reason::Ignored => (
            "stop_signal_ignored",
            format!("{signal} was ignored: the victim, or what started it, has set it so"),
        ),
        stop::Reason::Frozen => (
            "victim_frozen",
            format!("{signal} could not be taken: the freezer held the victim"),
        ),
        stop::Reason::Stopped => (
            "victim_stopped",
            format!("{signal} could not be taken: the victim was stopped (SIGSTOP and the like)"),
        ),
        stop::Reason::Uninterruptible => (
            "victim_uninterruptible",
            format!(
                "{signal} could not be taken: the victim was in an uninterruptible sleep (state D)"
            ),
        ),
        stop::Reason::Blocked => (
            "stop_signal_blocked",
            format!("{signal} was not taken: the victim blocks it"),
        ),
        stop::Reason::NotTaken => (
            "stop_signal_not_taken",
            format!("{signal} was waiting still: the victim had not run to take it"),
        ),
        stop::Reason::Ending => (
            "stop_signal_ending",
            format!("{signal} was taken and has no handler: the victim was on its way out already"),
        ),
        stop::Reason::Handled if stop.has_handler() => (
            "stop_signal_handled",
            format!("{signal} was taken: the victim has a handler for it, and went on"),
        ),
        stop::Reason::Handled => (
            "stop_signal_handled",
            format!(
                "{signal} was taken and the victim went on: it waits for the signal itself (sigwait, signalfd)"
            ),
        ),
    };
    evidence.push(Evidence {
        code: code.into(),
        text,
        source: "signal_generate".into(),
    });
    let held = matches!(stop.reason, stop::Reason::Frozen | stop::Reason::Stopped);
    if held && stop.is_blocked {
        evidence.push(Evidence {
            code: "stop_signal_blocked".into(),
            text: format!(
                "it blocks {signal}, too: once it goes on, it takes it by sigwait or signalfd, or not at all"
            ),
            source: "signal_generate".into(),
        });
    }
    if !stop.same_actor {
        evidence.push(Evidence {
            code: "stop_by_another".into(),
            text: format!("the {signal} before came from another party than the SIGKILL"),
            source: "signal_generate".into(),
        });
    }
}
