//! From a case to the record that is written: everything in units and words of the record.

use super::{
    actor::Party,
    case::{Case, Kill, Link, Status, Unseen},
    clock::Clock,
    findings,
    judge::{self, Verdict},
    record::{
        Actor, AncestorRecord, Cause, Death, Mechanism, Memory, Oom, OomLevel, Outcome, SCHEMA,
        Sender, Stop, Victim,
    },
    redact::ArgvPolicy,
    rules::Rules,
    signal_names, stop, words,
};
use crate::event::{
    Ancestor, Argv, Constraint, Exit, Group, MemcgLevel, Process, entry::Session, text::printable,
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
        findings::case_evidence(case, killer, &mut evidence);
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
                findings::exit_code_evidence(child),
            )
        } else {
            findings::no_signal(exit, unseen, self.rules)
        };
        for kill in &case.kills {
            evidence.push(findings::other_kill(
                &kill.event,
                "a SIGKILL without effect",
            ));
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
