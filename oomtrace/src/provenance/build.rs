//! From a case to the record that is written: everything in units and words of the record.

use super::{
    actor::{self, Party},
    case::{Case, Kill, Link, Status, Unseen},
    clock::Clock,
    judge::{self, Verdict},
    record::{
        Actor, AncestorRecord, Cause, Death, Evidence, Mechanism, Memory, Oom, OomLevel, Outcome,
        SCHEMA, Sender, Stop, Victim,
    },
    redact::ArgvPolicy,
    rules::Rules,
    signal_names, stop, words,
};
use crate::event::{
    Ancestor, Argv, Constraint, Exit, Group, MemcgLevel, Process, Sigkill, SignalResult,
    entry::Session, text::printable,
};

/// What a record is built with.
pub(super) struct Subject<'a> {
    pub session: &'a Session,
    pub clock: &'a Clock,
    pub rules: &'a Rules,
    pub argv: ArgvPolicy,
    pub stop_window_ns: u64,
    /// Since when the tracer has been there.
    pub attached_ns: u64,
    pub group: Group,
    pub revision: u32,
    pub is_final: bool,
}

impl Subject<'_> {
    /// The death of a process that a SIGKILL was delivered to.
    pub(super) fn killed(&self, case: &Case, killer: &Kill) -> Death {
        let kill = &*killer.event;
        let verdict = judge::judge(
            &judge::Case {
                kill,
                marked: killer.marked,
                hook: killer.hook.as_deref(),
                line: killer.line.as_ref(),
                baseline: &killer.baseline,
                chosen: killer.chosen.as_deref(),
                stop_window_ns: self.stop_window_ns,
                attached_ns: self.attached_ns,
            },
            self.rules,
        );
        let page_bytes = self.session.page_bytes;
        let mut evidence = verdict.evidence.clone();
        words::sender_evidence(&verdict, &kill.sender, &mut evidence);
        case_evidence(case, killer, &mut evidence);
        let image = case.image.as_ref().and_then(|image| image.argv.as_ref());
        readable(Death {
            cause: verdict.cause,
            mechanism: verdict.mechanism,
            summary: words::summary(&verdict, &kill.victim, &kill.sender, page_bytes)
                + if kill.victim.dumping_core == Some(true) {
                    "; it was crashing already (a core was being dumped)"
                } else {
                    ""
                },
            victim: self.victim(&kill.victim, image, kill.boottime_ns),
            sender: (!verdict.sender_is_bystander).then(|| self.sender(&kill.sender)),
            actor: actor_record(&verdict.actor),
            stop: verdict.stop.as_ref().map(|found| self.stop(found)),
            oom: self.oom(&verdict, killer),
            outcome: case
                .exit
                .as_deref()
                .map(|exit| outcome(exit, Some(kill.boottime_ns))),
            kernel_stack: kill.stack.as_ref().map(|stack| stack.to_vec()),
            advice: words::advice(&verdict, &kill.victim, &kill.sender, page_bytes, self.rules),
            evidence,
            ..self.blank(kill.boottime_ns)
        })
    }

    /// The death of a process that no SIGKILL was delivered to, as far as was seen.
    pub(super) fn not_killed(
        &self,
        case: &Case,
        exit: &Exit,
        unseen: Unseen,
        child: Option<&Link>,
    ) -> Death {
        let exited = Status::of(exit.victim.exit_code) == Status::Exited(137);
        let child = child.filter(|_| exited);
        let (cause, mechanism, actor, mut evidence) = if exited {
            (
                Cause::ExitCode,
                Mechanism::Exit,
                own(&exit.victim),
                exit_code_evidence(child),
            )
        } else {
            no_signal(exit, unseen, self.rules)
        };
        for kill in &case.kills {
            evidence.push(other_kill(&kill.event, "a SIGKILL without effect"));
        }
        let mut verdict = Verdict {
            cause,
            mechanism,
            actor,
            sender_is_bystander: true,
            stop: None,
            is_early: false,
            oom: None,
            evidence,
        };
        let page_bytes = self.session.page_bytes;
        let evidence = std::mem::take(&mut verdict.evidence);
        let mut summary = words::summary(&verdict, &exit.victim, &exit.victim, page_bytes);
        let mut advice =
            words::advice(&verdict, &exit.victim, &exit.victim, page_bytes, self.rules);
        if let Some(child) = child {
            let who = words::label(&exit.victim);
            summary = format!(
                "{who} was not killed: it passed on the 137 of {}",
                child.story()
            );
            advice = words::advice_by(
                "exit_code_passed_on",
                |name| (name == "child").then(|| child.story()),
                self.rules,
            );
        }
        readable(Death {
            cause,
            mechanism,
            summary,
            victim: self.victim(&exit.victim, None, exit.boottime_ns),
            sender: None,
            actor: actor_record(&verdict.actor),
            outcome: Some(outcome(exit, None)),
            caused_by: child.map(|child| child.id.clone()),
            advice,
            evidence,
            ..self.blank(exit.boottime_ns)
        })
    }

    fn blank(&self, boottime_ns: u64) -> Death {
        let boot: String = self
            .session
            .boot_id
            .chars()
            .filter(|c| *c != '-')
            .take(8)
            .collect();
        Death {
            schema: SCHEMA,
            id: format!("{boot}-{}-{}", self.group.tgid, self.group.start_ns),
            revision: self.revision,
            is_final: self.is_final,
            node: self.session.node.clone(),
            boot_id: self.session.boot_id.clone(),
            time: self.clock.format(boottime_ns),
            boottime_ns,
            cause: Cause::Unknown,
            mechanism: Mechanism::Unknown,
            summary: String::new(),
            victim: self.victim(&Process::default(), None, boottime_ns),
            sender: None,
            actor: actor_record(&Party::unknown()),
            stop: None,
            oom: None,
            container: None,
            outcome: None,
            caused_by: None,
            kernel_stack: None,
            evidence: Vec::new(),
            advice: Vec::new(),
        }
    }

    fn args(&self, argv: Option<&Argv>) -> (Option<Vec<String>>, bool) {
        (
            argv.map(|argv| self.argv.apply(&argv.args, argv.truncated)),
            argv.is_some_and(|argv| argv.truncated),
        )
    }

    fn victim(&self, process: &Process, image: Option<&Argv>, boottime_ns: u64) -> Victim {
        let (argv, argv_truncated) = self.args(image.or(process.argv.as_ref()));
        let page = self.session.page_bytes;
        let bytes = |pages: u64| pages.saturating_mul(page);
        Victim {
            pid: process.group.tgid,
            ns_pid: process.ns_tgid,
            ppid: process.ppid,
            pgid: process.pgid,
            comm: process.comm.clone(),
            exe: process.exe.clone(),
            argv,
            argv_truncated,
            uid: process.uid,
            cgroup: cgroup(process),
            unified_cgroup: process.unified_cgroup.clone(),
            oom_score_adj: process.oom_score_adj,
            started_at: (process.group.start_ns > 0)
                .then(|| self.clock.format(process.group.start_ns)),
            age_ms: (process.group.start_ns > 0)
                .then(|| boottime_ns.saturating_sub(process.group.start_ns) / 1_000_000),
            role: None,
            is_ns_init: process.is_namespace_init(),
            memory: process.rss.map(|rss| Memory {
                anon_bytes: bytes(rss.anon_pages),
                file_bytes: bytes(rss.file_pages),
                shmem_bytes: bytes(rss.shmem_pages),
                swap_bytes: bytes(rss.swap_pages),
                page_tables_bytes: process.page_tables_bytes,
                total_vm_bytes: process.total_vm_pages.map(bytes),
            }),
            ancestry: ancestry(&process.ancestry),
        }
    }

    fn sender(&self, process: &Process) -> Sender {
        let (argv, argv_truncated) = self.args(process.argv.as_ref());
        Sender {
            pid: process.group.tgid,
            tid: process.tid,
            ns_pid: process.ns_tgid,
            comm: process.comm.clone(),
            exe: process.exe.clone(),
            argv,
            argv_truncated,
            uid: process.uid,
            loginuid: process.login_uid,
            tty: process.tty.clone(),
            cgroup: cgroup(process),
            unified_cgroup: process.unified_cgroup.clone(),
            ancestry: ancestry(&process.ancestry),
        }
    }

    fn stop(&self, found: &stop::Found<'_>) -> Stop {
        let request = found.request;
        Stop {
            signal: signal_names::name(request.signal),
            sent_at: self.clock.format(request.first_ns),
            count: request.count,
            grace_ms: found.grace_ns / 1_000_000,
            configured_grace_ms: None,
            result: stop::result_name(request.first_result),
            reason: found.reason.name(),
            same_actor: found.same_actor,
            sender: self.sender(&request.sender),
        }
    }

    fn oom(&self, verdict: &Verdict<'_>, killer: &Kill) -> Option<Oom> {
        let found = verdict.oom.as_ref()?;
        let kill = &*killer.event;
        let hook = killer.hook.as_deref();
        let page = self.session.page_bytes;
        let bytes = |pages: Option<u64>| pages.map(|pages| pages.saturating_mul(page));
        let limit = found.limit.as_ref();
        let chosen = hook.and_then(|hook| hook.chosen_tgid);
        Some(Oom {
            constraint: found.constraint.map(|constraint| match constraint {
                Constraint::None => "none",
                Constraint::Cpuset => "cpuset",
                Constraint::MemoryPolicy => "memory_policy",
                Constraint::Memcg => "memcg",
            }),
            limit_cgroup: limit.and_then(|level| level.path.clone()),
            limit_bytes: bytes(limit.and_then(|level| level.max_pages)),
            usage_bytes: bytes(limit.and_then(|level| level.usage_pages)),
            peak_bytes: bytes(limit.and_then(|level| level.peak_pages)),
            swap_bytes: bytes(limit.and_then(swap_pages)),
            trigger: Some(AncestorRecord {
                pid: kill.sender.group.tgid,
                comm: kill.sender.comm.clone().unwrap_or_default(),
            }),
            role: match verdict.mechanism {
                Mechanism::OomGroup => "group",
                _ if chosen.is_some_and(|tgid| tgid != kill.victim.group.tgid) => "shared_mm",
                _ => "chosen",
            },
            limit_lowered: found.limit_lowered,
            gfp: hook
                .and_then(|hook| hook.gfp_mask)
                .map(|mask| format!("{mask:#x}")),
            order: hook.and_then(|hook| hook.order),
            points: hook.and_then(|hook| hook.points),
            total_pages: hook.and_then(|hook| hook.total_pages),
            levels: kill
                .victim
                .memcg
                .iter()
                .map(|level| OomLevel {
                    cgroup: level.path.clone(),
                    limit_bytes: bytes(level.max_pages),
                    usage_bytes: bytes(level.usage_pages),
                    peak_bytes: bytes(level.peak_pages),
                })
                .collect(),
        })
    }
}

/// Sentences stay on their line, whatever a process in them calls itself. Its names and
/// arguments stand in fields of their own, as they are.
fn readable(mut death: Death) -> Death {
    let evidence = death.evidence.iter_mut().map(|evidence| &mut evidence.text);
    let advice = death.advice.iter_mut().map(|advice| &mut advice.text);
    for text in evidence.chain(advice).chain([&mut death.summary]) {
        *text = printable(text);
    }
    death
}

/// Swap in use: on cgroup v1 the kernel counts memory plus swap.
fn swap_pages(level: &MemcgLevel) -> Option<u64> {
    let swap = level.swap_pages?;
    Some(if level.v1 == Some(true) {
        swap.saturating_sub(level.usage_pages?)
    } else {
        swap
    })
}

fn cgroup(process: &Process) -> Option<String> {
    process
        .memory_cgroup
        .clone()
        .or_else(|| process.unified_cgroup.clone())
}

fn ancestry(ancestors: &[Ancestor]) -> Vec<AncestorRecord> {
    ancestors
        .iter()
        .map(|ancestor| AncestorRecord {
            pid: ancestor.group.tgid,
            comm: ancestor.comm.clone(),
        })
        .collect()
}

fn actor_record(party: &Party) -> Actor {
    Actor {
        kind: party.kind,
        name: party.name.clone(),
        pid: party.group.map(|group| group.tgid),
        comm: party.comm.clone(),
    }
}

fn own(victim: &Process) -> Party {
    Party {
        kind: super::record::ActorKind::Application,
        name: victim.comm.clone(),
        group: Some(victim.group),
        comm: victim.comm.clone(),
        why: "the process itself chose its status".to_owned(),
        is_related: true,
        exec_session: None,
    }
}

fn outcome(exit: &Exit, killed_ns: Option<u64>) -> Outcome {
    let (exit_code, signal) = match Status::of(exit.victim.exit_code) {
        Status::Signal(signal) => (128 + signal, Some(signal)),
        Status::Exited(code) => (code, None),
        Status::Unknown => (-1, None),
    };
    Outcome {
        exit_code,
        signal,
        latency_us: killed_ns.map(|killed| exit.boottime_ns.saturating_sub(killed) / 1_000),
        container_survived: None,
    }
}

/// What the case shows beside its verdict: other SIGKILLs, a crash cut short, a hang.
fn case_evidence(case: &Case, killer: &Kill, evidence: &mut Vec<Evidence>) {
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
            code: "more_sigkills",
            text: format!("{} more SIGKILLs were sent to it", case.more_kills),
            source: "signal_generate",
        });
    }
    if killer.event.victim.dumping_core == Some(true) {
        evidence.push(Evidence {
            code: "dumping_core",
            text: match case.exit.as_ref().map(|exit| Status::of(exit.victim.exit_code)) {
                Some(Status::Signal(9)) => "the process was crashing already: this SIGKILL cut off its core dump, and made its status say 9 instead of the fault",
                _ => "the process was crashing already: this SIGKILL came while its core was dumped",
            }
            .to_owned(),
            source: "signal_generate",
        });
    }
    if let Some(exit) = &case.exit {
        let took_ns = exit.boottime_ns.saturating_sub(killer.event.boottime_ns);
        if took_ns >= SLOW_NS {
            evidence.push(slow_death(case, killer, took_ns));
        }
    } else if let Some(state) = &case.state {
        let text = match (&state.state, &state.wait_channel) {
            (None, _) => "the process is gone, its end was not seen".to_owned(),
            (Some(name), Some(channel)) => {
                format!("still there after the SIGKILL, in state {name}, waiting in {channel}")
            }
            (Some(name), None) => format!("still there after the SIGKILL, in state {name}"),
        };
        evidence.push(Evidence {
            code: if state.state.is_some() {
                "still_there"
            } else {
                "end_not_seen"
            },
            text,
            source: "/proc",
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
        code: "slow_death",
        text: format!(
            "it took {} to die after the SIGKILL: {why}",
            words::duration_ns(took_ns)
        ),
        source: "sched_process_exit",
    }
}

fn other_kill(kill: &Sigkill, what: &str) -> Evidence {
    let became = match kill.result {
        SignalResult::Delivered => "delivered",
        SignalResult::Ignored => "ignored",
        SignalResult::AlreadyPending => "already pending",
        _ => "not queued",
    };
    Evidence {
        code: "other_sigkill",
        text: format!("{what}: from {}, {became}", words::label(&kill.sender)),
        source: "signal_generate",
    }
}

fn exit_code_evidence(child: Option<&Link>) -> Vec<Evidence> {
    let text = match child {
        Some(child) => format!(
            "no signal ended it: it exited with status 137 after its child {} had ended so, as a shell does to pass a status on",
            child.who
        ),
        None => "no signal ended it: it called exit with status 137".to_owned(),
    };
    vec![Evidence {
        code: "exit_status_137",
        text,
        source: "sched_process_exit",
    }]
}

/// `SECCOMP_MODE_STRICT` of include/uapi/linux/seccomp.h, and `SECCOMP_MODE_DEAD` of
/// kernel/seccomp.c, which takes its place once seccomp has ended the process (since 5.17).
/// A filter's kill is a `SIGSYS`.
const SECCOMP_STRICT_OR_DEAD: [u32; 2] = [1, 3];

/// A death by signal 9 of which no SIGKILL was seen.
fn no_signal(
    exit: &Exit,
    unseen: Unseen,
    rules: &Rules,
) -> (Cause, Mechanism, Party, Vec<Evidence>) {
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
        code,
        text,
        source: "sched_process_exit",
    }];
    if unseen == Unseen::NotGenerated {
        let seccomp = |mode| SECCOMP_STRICT_OR_DEAD.contains(&mode);
        if exit.victim.seccomp_mode.is_some_and(seccomp) {
            mechanism = Mechanism::Seccomp;
            evidence.push(Evidence {
                code: "seccomp_strict",
                text: "it ran in seccomp's strict mode, in which any system call but read, write, exit and sigreturn ends a process so".to_owned(),
                source: "sched_process_exit",
            });
        } else if let Some(ptracer) = &exit.ptracer {
            mechanism = Mechanism::Ptrace;
            party = actor::ptracer(ptracer, rules);
            evidence.push(Evidence {
                code: "ptrace_injected",
                text: format!(
                    "{}[{}] traced it by ptrace, and can let a process go on with any signal, 9 too",
                    ptracer.comm, ptracer.group.tgid
                ),
                source: "sched_process_exit",
            });
        }
    }
    (cause, mechanism, party, evidence)
}
