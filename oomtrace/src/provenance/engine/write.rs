//! A case becomes a death, linked to others, and is written.

use oomtrace_common::signals::SIGKILL;

use super::Engine;
use crate::{
    event::{Exit, Group, InfoKind, Sigkill, SignalResult},
    identity::target::is_within,
    provenance::{
        Output,
        build::{Subject, Survival},
        case::{Case, Kill, Link, Unseen},
        claims,
        clock::Clock,
        containers::Oom,
        oom,
        record::{self, Cause, Death, Record},
        scope::Told,
    },
};

/// A status of 137 so long after a child's death is put down to it.
const PASSED_ON_NS: u64 = 600 * 1_000_000_000;
/// A SIGKILL from before the tracer started may take this long to end its victim.
const EARLY_NS: u64 = 60 * 1_000_000_000;

impl Engine {
    /// Writes a death that is over; what is known of its container may come later.
    pub(super) fn close(&mut self, group: Group, out: &mut Vec<Output>) {
        let Some(mut case) = self.open.remove(&group) else {
            return;
        };
        self.dying.remove(&group);
        self.oom_lines.remove(&group.tgid);
        let parent = case.parent();
        let death = self.build(group, &case, self.clock, true, None);
        let link = death.as_ref().map(|death| self.link(death, group));
        self.ended.insert(group, parent, link);
        if let Some(death) = death {
            case.revisions += 1;
            self.related.note_shim(&death, case.argv(), &self.rules);
            let death = self.keep_late(group, case, death, out);
            if self.emit_death(death, out) != Told::Written {
                self.hold_back(group);
            }
        }
    }

    /// Writes a death that is not over.
    pub(super) fn write(&mut self, group: Group, out: &mut Vec<Output>) {
        let Some(mut case) = self.open.remove(&group) else {
            return;
        };
        if let Some(death) = self.build(group, &case, self.clock, false, None) {
            self.dying.remove(&group);
            if self.emit_death(death, out) == Told::Written {
                case.revisions += 1;
            }
        }
        self.open.insert(group, case);
    }

    /// Writes a death, if it is in scope.
    pub(in crate::provenance) fn emit_death(
        &mut self,
        mut death: Box<Death>,
        out: &mut Vec<Output>,
    ) -> Told {
        self.related.note(&death);
        match self.in_scope(&death) {
            Some(true) => {}
            Some(false) => return Told::OutOfScope,
            None if !death.is_final => return Told::Open,
            None => death.evidence.push(record::Evidence {
                code: "scope_unknown".into(),
                text: "nobody said what its container is called: it may be out of scope".to_owned(),
                source: "container runtime".into(),
            }),
        }
        if death.revision == 1 {
            self.deaths += 1;
        }
        let runs_again = self.note_end(&death);
        out.push(Output::record(Record::Death(death)));
        out.extend(runs_again);
        Told::Written
    }

    /// The next revision of a death, linked to others.
    pub(in crate::provenance) fn build(
        &self,
        group: Group,
        case: &Case,
        clock: Clock,
        is_final: bool,
        survived: Option<Survival>,
    ) -> Option<Box<Death>> {
        let mut death = self.build_alone(group, case, clock, is_final, survived)?;
        if let Some(killer) = case.killer() {
            let id = death
                .container
                .as_ref()
                .map(|container| container.id.as_str());
            let known = id.and_then(|id| self.containers.get(id));
            let sandbox = known
                .and_then(|known| known.facts.as_deref())
                .and_then(|facts| facts.sandbox_id.as_deref());
            let dying = |unit: &str| self.dying_of_oom(unit);
            self.related.link(&mut death, &killer.event, sandbox, dying);
        }
        Some(death)
    }

    /// The same by itself.
    fn build_alone(
        &self,
        group: Group,
        case: &Case,
        clock: Clock,
        is_final: bool,
        survived: Option<Survival>,
    ) -> Option<Box<Death>> {
        let subject = Subject {
            session: self.session.as_ref()?,
            clock: &clock,
            rules: &self.rules,
            argv: self.config.argv,
            stop_window_ns: self.config.stop_window_ns,
            attached_ns: self.attached_ns.unwrap_or_default(),
            group,
            revision: case.revisions + 1,
            is_final,
            containers: &self.containers,
            survived,
        };
        let mut death: Death = if let Some(killer) = case.killer() {
            subject.killed(case, killer)
        } else {
            let exit = case.exit.as_deref()?;
            let unseen = self.unseen(case, exit);
            let soon =
                |child: &&Link| exit.boottime_ns.saturating_sub(child.boottime_ns) < PASSED_ON_NS;
            let child = self.ended.child(&group).filter(soon);
            subject.not_killed(case, exit, unseen, child)
        };
        if death.caused_by.is_none() && death.cause == Cause::NamespaceExit {
            death.caused_by = death
                .sender
                .as_ref()
                .and(case.killer())
                .and_then(|killer| self.ended.id(&killer.event.sender.group))
                .map(str::to_owned);
        }
        self.related
            .link_client(&mut death, case.argv(), &self.rules);
        Some(Box::new(death))
    }

    /// The latest whom the OOM killer chose in a unit, among those that have not ended yet: to give
    /// its memory back takes one longer than the rest of the unit takes to end.
    fn dying_of_oom(&self, unit: &str) -> Option<Oom> {
        let is_in_unit = |kill: &Sigkill| kill.victim.cgroups().any(|path| is_within(path, unit));
        let chosen = self.dying.iter().filter_map(|group| {
            let case = self.open.get(group)?;
            let kill = &case.killer()?.event;
            let is_chosen = kill.info == InfoKind::Priv && !oom::is_of_group(kill);
            (is_chosen && is_in_unit(kill)).then_some((kill.boottime_ns, *group, case))
        });
        let (_, group, case) = chosen.max_by_key(|(killed_ns, group, _)| (*killed_ns, *group))?;
        let death = self.build_alone(group, case, self.clock, false, None)?;
        claims::is_oom(death.cause).then(|| Oom::of(&death))
    }

    fn link(&self, death: &Death, group: Group) -> Link {
        let passed_on = self
            .ended
            .child(&group)
            .filter(|_| death.cause == Cause::ExitCode);
        Link {
            id: death.id.clone(),
            boottime_ns: death.boottime_ns,
            who: death.victim.label(),
            root: passed_on.map(|child| {
                child
                    .root
                    .clone()
                    .unwrap_or_else(|| (child.who.clone(), child.cause))
            }),
            cause: death.cause,
        }
    }

    /// Why no SIGKILL was seen for a death by signal 9.
    pub(super) fn unseen(&self, case: &Case, exit: &Exit) -> Unseen {
        let end_ns = exit.boottime_ns;
        let start_ns = exit.victim.group.start_ns;
        let lost: u64 = self
            .gaps
            .iter()
            .filter(|gap| gap.kind == "sigkill" && gap.from_ns <= end_ns && gap.to_ns >= start_ns)
            .map(|gap| gap.count)
            .fold(0, u64::saturating_add);
        if lost > 0 {
            return Unseen::Lost(lost);
        }
        // One that was pending already was generated before; that one was not seen.
        let pending = |kill: &Kill| kill.event.result == SignalResult::AlreadyPending;
        // One to the whole group stays in the group's set of pending signals to the end.
        let was_sent = exit.victim.waiting.is_pending(SIGKILL);
        // A late end is told of those only that a program has seen a SIGKILL for.
        let was_sent = was_sent || exit.is_past;
        match self.attached_ns {
            _ if was_sent || case.kills.iter().any(pending) => Unseen::Waited,
            Some(attached)
                if start_ns >= attached || end_ns.saturating_sub(attached) > EARLY_NS =>
            {
                Unseen::NotGenerated
            }
            _ => Unseen::StartedLater,
        }
    }
}
