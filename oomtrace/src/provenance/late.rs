//! Deaths in containers after they were first written: names that come later, whether the
//! container went on, what its runtime says. Each time something is known that was not, the
//! death's next revision is written; the last one says that it is the last.

use super::{
    Output,
    build::Survival,
    case::Case,
    claims,
    clock::Clock,
    containers::{Known, Oom},
    engine::Engine,
    record::{Cause, Death},
    role::Role,
    scope::{Told, UNKNOWN_NS},
};
use crate::{
    event::{
        Group,
        container::{
            CgroupChange, CgroupChangeKind, ContainerFacts, ContainerState, ContainerUnknown,
        },
    },
    identity::place::ContainerPlace,
};

/// Names and the runtime's words are waited for so long: they come within a second, unless the
/// machine is busy.
const ANSWER_NS: u64 = 10_000_000_000;
/// A runtime that has not noticed yet that a container ended is asked again for so long.
const TOLD_NS: u64 = 30_000_000_000;
/// A container that is there so long after a death in it goes on without the victim.
const SURVIVAL_NS: u64 = 1_000_000_000;
/// After an OOM kill in a container its end is waited for so long: its runtime may put it down
/// to the OOM killer.
const END_NS: u64 = 600 * 1_000_000_000;
/// So many deaths wait; then the first of them are final as they stand.
const MOST: usize = 4096;

/// A death that was written and may be written again.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) case: Case,
    container: ContainerPlace,
    role: Role,
    cause: Cause,
    died_ns: u64,
    survived: Option<Survival>,
    /// It is not known yet whether it is in scope, or it is not: nothing was written.
    is_held: bool,
    /// As it was at the first writing: every revision tells the same times.
    clock: Clock,
    /// What was written last.
    written: Box<Death>,
}

impl Late {
    pub(super) fn died_ns(&self) -> u64 {
        self.died_ns
    }

    /// Whether time alone has changed something.
    fn is_due(&self, known: Option<&Known>, is_pending: bool, now_ns: u64) -> bool {
        let survived = now_ns.saturating_sub(self.died_ns) >= SURVIVAL_NS;
        self.survived.is_none() && survived || !self.waits(known, is_pending, now_ns)
    }

    /// Whether something may still come that would change the record.
    fn waits(&self, known: Option<&Known>, is_pending: bool, now_ns: u64) -> bool {
        let since_ns = now_ns.saturating_sub(self.died_ns);
        if is_pending {
            return since_ns < ANSWER_NS;
        }
        let Some(known) = known else {
            return false;
        };
        if since_ns < ANSWER_NS && !known.is_answered() {
            return true;
        }
        let has_ended = known.emptied_ns.is_some();
        let told = known.no_end
            || !known.can_tell_end()
            || known
                .end
                .as_ref()
                .is_some_and(|end| end.running != Some(true));
        match self.role {
            Role::ContainerInit => since_ns < TOLD_NS && !told,
            _ if self.survived.is_none() => true,
            _ if !claims::is_oom(self.cause) || told => false,
            _ if has_ended => {
                let ended_ns = known.emptied_ns.unwrap_or_default();
                now_ns.saturating_sub(ended_ns) < TOLD_NS
            }
            _ => since_ns < END_NS,
        }
    }
}

impl Engine {
    /// Keeps a death that is written, if more may be known of it later. Returns it as it is
    /// to be written now.
    pub(super) fn keep_late(
        &mut self,
        group: Group,
        case: Case,
        mut death: Box<Death>,
        out: &mut Vec<Output>,
    ) -> Box<Death> {
        let killed = case.killer().map(|kill| &kill.event.victim);
        let victim = killed.or(case.exit.as_ref().map(|exit| &exit.victim));
        let place = victim
            .map(|victim| self.containers.place(victim))
            .unwrap_or_default();
        if let (Some(unit), Some(Role::UnitMain)) = (&place.unit, death.victim.role) {
            self.containers.main(&unit.cgroup, group, death.boottime_ns);
        }
        if place.containers.is_empty()
            && let Some(victim) = victim
        {
            let ask = self.containers.ask_at_death(victim, self.now_ns);
            out.extend(ask.map(Output::AskContainer));
        }
        let pending = || self.containers.pending(victim?);
        let container = place.containers.into_iter().next().or_else(pending);
        let (Some(container), Some(role)) = (container, death.victim.role) else {
            return death;
        };
        let is_pending = self.containers.is_pending(&container);
        let now_ns = case
            .exit
            .as_ref()
            .map_or(self.now_ns, |exit| exit.boottime_ns);
        if !is_pending {
            let ask = self.containers.ask_facts(&container, now_ns);
            out.extend(ask.map(Output::AskContainer));
        }
        let mut late = Late {
            case,
            role,
            cause: death.cause,
            died_ns: now_ns,
            is_held: false,
            clock: self.clock,
            survived: death
                .outcome
                .filter(|outcome| outcome.container_survived == Some(false))
                .map(|_| Survival::Ended),
            written: death.clone(),
            container,
        };
        if claims::is_oom(late.cause) {
            self.containers.oom(&late.container.id, Oom::of(&death));
        }
        if role == Role::ContainerInit {
            self.is_init(group, &late.container, out);
        }
        let known = self.containers.get(&late.container.id);
        let is_open = self.in_scope(&death).is_none();
        let waits = late.waits(known, is_pending, self.now_ns.max(now_ns));
        if !is_open && (role == Role::RuntimeHelper || !waits) {
            return death;
        }
        death.is_final = false;
        late.written.is_final = false;
        self.late.insert(group, late);
        death
    }

    /// A container's init has died.
    fn is_init(&mut self, group: Group, container: &ContainerPlace, out: &mut Vec<Output>) {
        self.containers.init(&container.id, group);
        self.ask_end(container, out);
    }

    /// A death was not written after all.
    pub(super) fn hold_back(&mut self, group: Group) {
        if let Some(late) = self.late.get_mut(&group) {
            late.is_held = true;
            late.case.revisions = late.case.revisions.saturating_sub(1);
        }
    }

    fn ask_end(&mut self, container: &ContainerPlace, out: &mut Vec<Output>) {
        let can_tell = |known: &Known| known.can_tell_end() || !known.is_answered();
        if self.containers.get(&container.id).is_some_and(can_tell) {
            let ask = self.containers.ask_end(container, self.now_ns);
            out.extend(ask.map(Output::AskContainer));
        }
    }

    pub(super) fn cgroup(&mut self, change: &CgroupChange, out: &mut Vec<Output>) {
        self.now_ns = self.now_ns.max(change.boottime_ns);
        // What is known of the run before says nothing of the next one.
        if let Some(id) = self.containers.begins_anew(change) {
            for group in self.late_in(&id) {
                self.revise_one(group, true, out);
            }
        }
        out.extend(self.note_run(change));
        out.extend(self.containers.cgroup(change).map(Output::AskContainer));
        self.consider(change, out);
        if change.kind != CgroupChangeKind::Emptied {
            return;
        }
        let of_it = |late: &&Late| late.container.cgroup == change.path;
        let container = self.late.values().find(of_it);
        if let Some(container) = container.map(|late| late.container.clone()) {
            self.ask_end(&container, out);
            self.revise(&container.id, out);
        }
    }

    pub(super) fn container_facts(&mut self, facts: ContainerFacts, out: &mut Vec<Output>) {
        let id = facts.id.clone();
        self.containers.facts(facts);
        self.decide(out);
        self.revise(&id, out);
        out.extend(self.note_name(&id));
    }

    pub(super) fn container_state(&mut self, state: ContainerState, out: &mut Vec<Output>) {
        let id = state.id.clone();
        let is_late = state.running == Some(true);
        self.containers.state(state);
        // The runtime has not noticed yet that it ended.
        let has_ended = |known: &Known| known.emptied_ns.is_some();
        if is_late
            && self.containers.get(&id).is_some_and(has_ended)
            && let Some(late) = self.late.values().find(|late| late.container.id == id)
        {
            let container = late.container.clone();
            self.ask_end(&container, out);
        }
        self.revise(&id, out);
    }

    pub(super) fn container_unknown(&mut self, unknown: &ContainerUnknown, out: &mut Vec<Output>) {
        self.containers.unknown(unknown);
        self.decide(out);
        self.revise(&unknown.id, out);
    }

    /// Looks again at the deaths that wait in a container.
    fn revise(&mut self, id: &str, out: &mut Vec<Output>) {
        for group in self.late_in(id) {
            self.revise_one(group, false, out);
        }
    }

    /// Looks at those for which it is time.
    pub(super) fn revise_due(&mut self, out: &mut Vec<Output>) {
        let is_due = |late: &Late| {
            let known = self.containers.get(&late.container.id);
            let is_pending = self.containers.is_pending(&late.container);
            late.is_due(known, is_pending, self.now_ns)
        };
        for group in self.late_that(is_due) {
            self.revise_one(group, false, out);
        }
        let too_many = self.late.len().saturating_sub(MOST);
        if too_many > 0 {
            let first = self.late_that(|_| true).into_iter().take(too_many);
            for group in first.collect::<Vec<Group>>() {
                self.revise_one(group, true, out);
            }
        }
    }

    fn late_in(&self, id: &str) -> Vec<Group> {
        self.late_that(|late| late.container.id == id)
    }

    /// In the order in which they died.
    fn late_that(&self, wanted: impl Fn(&Late) -> bool) -> Vec<Group> {
        let wanted = self.late.iter().filter(|(_, late)| wanted(late));
        let mut groups: Vec<(u64, Group)> =
            wanted.map(|(group, late)| (late.died_ns, *group)).collect();
        groups.sort_unstable();
        groups.into_iter().map(|(_, group)| group).collect()
    }

    fn revise_one(&mut self, group: Group, is_end: bool, out: &mut Vec<Output>) {
        let Some(mut late) = self.late.remove(&group) else {
            return;
        };
        let known = self.containers.get(&late.container.id);
        if late.survived.is_none() {
            let emptied = known.and_then(|known| known.emptied_ns);
            let is_over = self.now_ns.saturating_sub(late.died_ns) >= SURVIVAL_NS;
            late.survived = match emptied {
                Some(emptied_ns) if emptied_ns <= late.died_ns.saturating_add(SURVIVAL_NS) => Some(
                    Survival::EndedAfter(emptied_ns.saturating_sub(late.died_ns)),
                ),
                _ if is_over => Some(Survival::GoesOn),
                _ => None,
            };
            if late.survived == Some(Survival::GoesOn) && claims::is_oom(late.cause) {
                let container = late.container.clone();
                self.ask_end(&container, out);
            }
        }
        let known = self.containers.get(&late.container.id);
        let is_pending = self.containers.is_pending(&late.container);
        let is_open = late.is_held
            && self.now_ns.saturating_sub(late.died_ns) < UNKNOWN_NS
            && self.in_scope(&late.written).is_none();
        let is_final = is_end || !(is_open || late.waits(known, is_pending, self.now_ns));
        let built = self.build(group, &late.case, late.clock, is_final, late.survived);
        let Some(mut death) = built else {
            return;
        };
        // It may be only now that its container, or its part in it, is known.
        let role = death.victim.role.unwrap_or(late.role);
        if role != late.role && role == Role::ContainerInit {
            late.survived = Some(Survival::Ended);
            let container = late.container.clone();
            self.is_init(group, &container, out);
        }
        late.role = role;
        death.caused_by = death.caused_by.or_else(|| late.written.caused_by.clone());
        // Nothing but its number would be new.
        let is_same = {
            late.written.revision = death.revision;
            *late.written == *death
        };
        if late.is_held || !is_same {
            late.written.clone_from(&death);
            late.is_held = self.emit_death(death, out) != Told::Written;
            if !late.is_held {
                late.case.revisions += 1;
            }
        }
        if !is_final {
            self.late.insert(group, late);
        }
    }

    /// All that wait are final as they stand.
    pub(super) fn end_late(&mut self, out: &mut Vec<Output>) {
        for group in self.late_that(|_| true) {
            self.revise_one(group, true, out);
        }
    }
}
