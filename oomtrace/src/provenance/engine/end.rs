//! How a victim ends: at its exit, later, or unseen.

use std::sync::Arc;

use super::Engine;
use crate::{
    event::{
        Exit, Group, Process,
        entry::{ProcessState, Tick},
    },
    provenance::{
        Output,
        case::{Case, Status, Unseen},
    },
};

/// A victim that hangs is looked at again after this.
const ASK_AGAIN_NS: u64 = 60 * 1_000_000_000;
/// One that cannot be looked at is waited for so long.
const GIVEN_UP_NS: u64 = 300 * 1_000_000_000;
/// One that is gone may yet be seen when the kernel frees it: an RCU grace period later, which is
/// put off by 10 s at the most (`LAZY_FLUSH_JIFFIES` of kernel/rcu/tree_nocb.h).
const GONE_NS: u64 = 15 * 1_000_000_000;

impl Engine {
    /// Victims that were still there seconds after their SIGKILL, and have not ended since, as far
    /// as is known.
    #[must_use]
    pub fn hanging(&self) -> usize {
        let is_hanging = |case: &&Case| {
            case.revisions > 0
                && case.killer().is_some()
                && case.exit.is_none()
                && !case.is_given_up
                && case.gone_ns.is_none()
        };
        self.open.values().filter(is_hanging).count()
    }

    pub(super) fn exit(&mut self, mut exit: Exit, out: &mut Vec<Output>) {
        let group = exit.victim.group;
        self.now_ns = self.now_ns.max(exit.boottime_ns);
        // Two threads can both look like the last one.
        let known = |case: &Case| case.exit.is_some();
        if self.ended.contains(&group) || self.open.get(&group).is_some_and(known) {
            return;
        }
        self.waiting.retain(|waiting| *waiting != group);
        let killed = self.open.get(&group).and_then(|case| case.kills.last());
        if let Some(kill) = killed.filter(|_| exit.is_past) {
            // What was known of it is gone by now.
            exit.victim = Process {
                exit_code: exit.victim.exit_code,
                live_threads: Some(0),
                ..kill.event.victim.clone()
            };
        }
        let status = Status::of(exit.victim.exit_code);
        let killed = status == Status::Signal(9);
        if !killed && status != Status::Exited(137) {
            // It got a SIGKILL and ended otherwise: its status says of what.
            match self.open.get_mut(&group) {
                Some(case) if case.revisions > 0 => {
                    case.exit = Some(Arc::new(exit));
                    self.close(group, out);
                }
                _ => self.forget(group),
            }
            return;
        }
        let is_past = exit.is_past;
        let case = self.open.entry(group).or_default();
        case.exit = Some(Arc::new(exit));
        if case.killer().is_none() && (killed || is_past) {
            self.waiting.push(group);
        } else {
            self.close(group, out);
        }
    }

    /// It ended, and there is nothing to tell of that.
    fn forget(&mut self, group: Group) {
        self.open.remove(&group);
        self.dying.remove(&group);
        self.ended.insert(group, None, None);
    }

    /// Closes what was left to this moment, when losses of the same stretch are known.
    pub(super) fn close_waiting(&mut self, out: &mut Vec<Output>) {
        for group in std::mem::take(&mut self.waiting) {
            if self.open.get(&group).is_some_and(|case| self.is_old(case)) {
                self.forget(group);
            } else {
                self.close(group, out);
            }
        }
    }

    /// Whether all that is known is that it ended some time: maybe before there was a tracer, or
    /// before this one had told it.
    fn is_old(&self, case: &Case) -> bool {
        let exit = case.exit.as_deref().filter(|exit| exit.is_past);
        let is_lost = |exit: &Exit| matches!(self.unseen(case, exit), Unseen::Lost(_));
        case.kills.is_empty() && exit.is_some_and(|exit| !is_lost(exit))
    }

    /// Asks for those that do not end, and lets go of those that are gone.
    pub(super) fn look_after(&mut self, out: &mut Vec<Output>) {
        let now_ns = self.now_ns;
        let hang_ns = self.config.hang_ns;
        let due = |case: &Case| {
            let since_ns = match (case.gone_ns, case.asked_ns) {
                (Some(_), _) => return false,
                // Again and again, for its end may be lost.
                (None, Some(asked_ns)) => asked_ns.saturating_add(ASK_AGAIN_NS),
                (None, None) => match case.killer() {
                    Some(kill) => kill.event.boottime_ns.saturating_add(hang_ns),
                    None => return false,
                },
            };
            now_ns >= since_ns
        };
        for group in self.those(due) {
            if let Some(case) = self.open.get_mut(&group) {
                case.asked_ns = Some(now_ns);
            }
            out.push(Output::AskState(group));
        }
        for group in self.those(|case| case.gone_ns.is_some()) {
            let case = self.open.get(&group);
            let gone_ns = case.and_then(|case| case.gone_ns).unwrap_or(now_ns);
            if now_ns.saturating_sub(gone_ns) >= GONE_NS {
                self.close(group, out);
            } else if case.is_some_and(|case| case.revisions == 0) {
                self.write(group, out);
            }
        }
    }

    /// The open cases of which this is so, in order.
    fn those(&self, is_so: impl Fn(&Case) -> bool) -> Vec<Group> {
        let open = self.open.iter().filter(|(_, case)| is_so(case));
        let mut groups: Vec<Group> = open.map(|(group, _)| *group).collect();
        groups.sort_unstable();
        groups
    }

    pub(super) fn process_state(&mut self, state: ProcessState, out: &mut Vec<Output>) {
        let group = Group {
            tgid: state.tgid,
            start_ns: state.start_ns,
        };
        let Some(case) = self.open.get_mut(&group) else {
            return;
        };
        let is_hidden = state.is_hidden;
        let gone = state.state.is_none() && !is_hidden;
        case.state = Some(state);
        let Some(killer) = case.killer() else {
            return;
        };
        let since_ns = self.now_ns.saturating_sub(killer.event.boottime_ns);
        case.is_given_up = is_hidden && since_ns >= GIVEN_UP_NS;
        if case.is_given_up {
            self.waiting.push(group);
        } else if gone {
            // Its end is on its way, or was lost.
            case.gone_ns.get_or_insert(self.now_ns);
        } else if case.revisions == 0 {
            self.write(group, out);
        }
    }

    pub(super) fn stopped(&mut self, tick: Tick, out: &mut Vec<Output>) {
        self.clock.set(tick);
        self.now_ns = self.now_ns.max(tick.boottime_ns);
        self.close_waiting(out);
        // What is dying still is written as it stands.
        for group in self.those(|case| case.killer().is_some()) {
            self.close(group, out);
        }
        self.end_late(out);
        out.push(self.end(tick, false));
    }
}
