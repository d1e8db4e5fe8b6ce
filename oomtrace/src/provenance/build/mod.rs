//! From a case to the record that is written: everything in units and words of the record.

mod parts;

use self::parts::{actor_record, outcome};
use super::{
    actor::Party,
    advice::{self, About},
    case::{Case, Kill, Link, Status, Unseen},
    claims,
    clock::Clock,
    containers::Containers,
    findings,
    judge::{self, Verdict},
    levels, memory,
    naming::{self, Located},
    record::{ActorKind, Cause, Death, Evidence, Mechanism, Oom, OomMemory, RuntimeSays, SCHEMA},
    redact::ArgvPolicy,
    role::{self, Role},
    rules::Rules,
    words,
};
use crate::{
    event::{Exit, Group, Process, Sigkill, entry::Session, text::printable},
    identity::place::Place,
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
    pub containers: &'a Containers,
    /// Whether the container went on without the victim, once that is known.
    pub survived: Option<Survival>,
}

/// What became of a container after a death in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survival {
    GoesOn,
    /// So long after the death its last process had gone.
    EndedAfter(u64),
    /// It ended by this death.
    Ended,
}

impl Subject<'_> {
    /// The death of a process that a SIGKILL was delivered to.
    pub(super) fn killed(&self, case: &Case, killer: &Kill) -> Death {
        let kill = &*killer.event;
        let at = self.located(&kill.victim, Some(kill));
        let mut verdict = judge::judge(
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
        self.name_runtime(&mut verdict.actor, &at);
        let survived = self.survived(&at, verdict.cause, kill);
        let page_bytes = self.session.page_bytes;
        let mut evidence = verdict.evidence.clone();
        words::sender_evidence(&verdict, &kill.sender, &mut evidence);
        findings::case_evidence(case, killer, &mut evidence);
        let grace = Self::grace_evidence(&verdict, &at, &mut evidence);
        let configured_ms = grace.map(|grace| grace.configured_ms);
        let limit = verdict.oom.as_ref().and_then(|oom| oom.limit.as_ref());
        if let Some(text) = levels::same_as_container(limit, &kill.victim.memcg, &at, page_bytes) {
            evidence.push(Evidence {
                code: "pod_and_container_limit".into(),
                text,
                source: "memory cgroups".into(),
            });
        }
        let mut summary = words::summary(&verdict, &at, &kill.victim, &kill.sender, page_bytes);
        if kill.victim.dumping_core == Some(true) {
            summary.push_str("; it was crashing already (a core was being dumped)");
        }
        if let Some(stop) = verdict.stop.filter(|_| verdict.cause == Cause::StopTimeout)
            && let Some(configured_ms) = configured_ms
            && is_shorter(stop.grace_ns, configured_ms)
        {
            summary.push_str(&format!(
                "; {} was configured",
                words::duration_ns(configured_ms.saturating_mul(1_000_000))
            ));
        }
        if at.role == Role::Child && verdict.cause != Cause::NamespaceExit {
            words::survival(survived, &mut summary);
        }
        let oom = self.oom(&verdict, killer, &at);
        let known = memory::Known {
            killer,
            curve: case.memory.as_deref(),
            node: case.node.as_deref(),
            limit,
            limit_lowered: verdict.oom.as_ref().is_some_and(|oom| oom.limit_lowered),
            node_ran_out: verdict.cause == Cause::GlobalOom
                && verdict.oom.as_ref().is_some_and(|oom| !oom.by_sysrq),
            page_bytes,
        };
        let mut memory = oom.as_ref().and_then(|_| known.before());
        self.name_cgroups(memory.as_mut());
        evidence.extend(memory.as_ref().and_then(|memory| known.evidence(memory)));
        let image = case.image.as_ref().and_then(|image| image.argv.as_ref());
        readable(Death {
            cause: verdict.cause,
            mechanism: verdict.mechanism,
            summary,
            victim: self.victim(&kill.victim, &at, image, kill.boottime_ns),
            sender: (!verdict.sender_is_bystander).then(|| self.sender(&kill.sender)),
            actor: self.actor(&verdict.actor, &kill.sender),
            stop: verdict
                .stop
                .as_ref()
                .map(|found| self.stop(found, configured_ms)),
            outcome: case
                .exit
                .as_deref()
                .map(|exit| outcome(exit, Some(kill.boottime_ns), survived)),
            kernel_stack: kill.stack.as_ref().map(|stack| stack.to_vec()),
            advice: advice::of(
                &About {
                    verdict: &verdict,
                    at: &at,
                    victim: &kill.victim,
                    sender: &kill.sender,
                    argv: case.argv(),
                    survived,
                    grace,
                    page_bytes,
                    node_bytes: case.node.as_ref().and_then(|node| node.total_bytes),
                    memory: memory.as_ref(),
                },
                self.rules,
            ),
            oom: oom.map(|oom| Oom { memory, ..oom }),
            evidence,
            runtime_says: self.runtime_says(&at, verdict.cause, case.exit.as_deref()),
            container: naming::container(&at.place, self.containers),
            unit: at.place.unit.as_ref().map(naming::unit),
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
                findings::exit_code_evidence(child, unseen),
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
            is_to_own_group: false,
            evidence,
        };
        let page_bytes = self.session.page_bytes;
        let at = self.located(&exit.victim, None);
        let survived = if at.role == Role::ContainerInit {
            Some(Survival::Ended)
        } else {
            self.survived
        };
        let evidence = std::mem::take(&mut verdict.evidence);
        let mut summary = words::summary(&verdict, &at, &exit.victim, &exit.victim, page_bytes);
        let mut advice = advice::of(
            &About {
                verdict: &verdict,
                at: &at,
                victim: &exit.victim,
                sender: &exit.victim,
                argv: case.argv(),
                survived,
                grace: None,
                page_bytes,
                node_bytes: None,
                memory: None,
            },
            self.rules,
        );
        if let Some(child) = child {
            let who = at.label(&exit.victim);
            summary = format!(
                "{who} was not killed: it passed on the 137 of {}",
                child.story()
            );
            let story = |name: &str| (name == "child").then(|| child.story());
            advice = advice::row("exit_code_passed_on", story, self.rules)
                .into_iter()
                .collect();
        }
        readable(Death {
            cause,
            mechanism,
            summary,
            victim: self.victim(&exit.victim, &at, None, exit.boottime_ns),
            sender: None,
            actor: self.actor(&verdict.actor, &exit.victim),
            outcome: Some(outcome(exit, None, survived)),
            runtime_says: self.runtime_says(&at, cause, Some(exit)),
            container: naming::container(&at.place, self.containers),
            unit: at.place.unit.as_ref().map(naming::unit),
            caused_by: child.map(|child| child.id.clone()),
            advice,
            evidence,
            ..self.blank(exit.boottime_ns)
        })
    }

    fn blank(&self, boottime_ns: u64) -> Death {
        Death {
            schema: SCHEMA,
            id: self.id(),
            revision: self.revision,
            is_final: self.is_final,
            node: self.session.node.clone(),
            boot_id: self.session.boot_id.clone(),
            time: self.clock.format(boottime_ns),
            boottime_ns,
            cause: Cause::Unknown,
            mechanism: Mechanism::Unknown,
            summary: String::new(),
            victim: self.victim(
                &Process::default(),
                &Located {
                    place: Place::default(),
                    known: None,
                    role: Role::Host,
                },
                None,
                boottime_ns,
            ),
            sender: None,
            actor: actor_record(&Party::unknown()),
            stop: None,
            oom: None,
            container: None,
            unit: None,
            runtime_says: None,
            outcome: None,
            caused_by: None,
            kernel_stack: None,
            evidence: Vec::new(),
            advice: Vec::new(),
        }
    }

    /// The death's id: the same in every revision and every replay.
    pub(super) fn id(&self) -> String {
        let boot_id = self.session.boot_id.chars();
        let boot: String = boot_id.filter(|c| *c != '-').take(8).collect();
        format!("{boot}-{}-{}", self.group.tgid, self.group.start_ns)
    }

    /// Where the victim ran, and as what.
    pub(super) fn located(&self, victim: &Process, kill: Option<&Sigkill>) -> Located<'_> {
        let place = self.containers.place(victim);
        let known = place
            .containers
            .first()
            .and_then(|container| self.containers.get(&container.id));
        let unit = place.unit.as_ref();
        let dead_main = unit.and_then(|unit| self.containers.dead_main(&unit.cgroup));
        Located {
            role: role::of(victim, kill, &place, known, dead_main, self.rules),
            place,
            known,
        }
    }

    fn runtime_says(
        &self,
        at: &Located<'_>,
        cause: Cause,
        exit: Option<&Exit>,
    ) -> Option<RuntimeSays> {
        let exit_code = exit.map(|exit| outcome(exit, None, None).exit_code);
        claims::check(at.role, cause, exit_code, &self.id(), at.known?)
    }

    /// How long a stop should have waited; and evidence where it did not.
    fn grace_evidence(
        verdict: &Verdict<'_>,
        at: &Located<'_>,
        evidence: &mut Vec<Evidence>,
    ) -> Option<Grace> {
        let facts = at.known?.facts.as_deref()?;
        let configured_ms = facts.stop_grace_ms?;
        let stop = verdict.stop?;
        let is_forced = stop.same_actor
            && verdict.actor.kind == ActorKind::Runtime
            && at.role == Role::ContainerInit
            && is_shorter(stop.grace_ns, configured_ms);
        if is_forced {
            evidence.push(Evidence {
                code: "grace_shorter".into(),
                text: words::grace_shorter(stop.grace_ns, configured_ms, facts),
                source: "container runtime".into(),
            });
        }
        Some(Grace {
            configured_ms,
            is_forced,
        })
    }

    /// What became of the container. With its init, the kernel ends all of it.
    fn survived(&self, at: &Located<'_>, cause: Cause, kill: &Sigkill) -> Option<Survival> {
        let ends_it = at.role == Role::ContainerInit
            || cause == Cause::NamespaceExit
                && self.located(&kill.sender, None).role == Role::ContainerInit;
        if ends_it {
            Some(Survival::Ended)
        } else {
            self.survived
        }
    }

    /// Whose the largest cgroups are.
    fn name_cgroups(&self, memory: Option<&mut OomMemory>) {
        for one in memory.into_iter().flat_map(|memory| &mut memory.cgroups) {
            let place = self.containers.place_at(Some(&one.cgroup), None);
            (one.container, one.unit) = self.names(&place);
        }
    }

    /// Docker's containers are run by containerd's shims.
    fn name_runtime(&self, party: &mut Party, at: &Located<'_>) {
        let Some(container) = at.place.containers.first() else {
            return;
        };
        if party.kind == ActorKind::Runtime && party.name.as_deref() == Some("containerd") {
            let runtime = naming::container_name(container, self.containers).runtime;
            party.name = runtime.or(party.name.take());
        }
    }
}

/// The time that a container is configured to have for its stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grace {
    pub configured_ms: u64,
    /// Its runtime did not wait so long, as it was told to.
    pub is_forced: bool,
}

/// Whether a stop waited for less than was configured, beyond what timers blur.
fn is_shorter(grace_ns: u64, configured_ms: u64) -> bool {
    let grace_ms = grace_ns / 1_000_000;
    grace_ms
        .saturating_add(300)
        .saturating_add(configured_ms / 20)
        < configured_ms
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

fn own(victim: &Process) -> Party {
    Party {
        kind: ActorKind::Application,
        name: victim.comm.clone(),
        group: Some(victim.group),
        comm: victim.comm.clone(),
        why: "the process itself chose its status".to_owned(),
        is_related: true,
        exec_session: None,
        operator: None,
    }
}
