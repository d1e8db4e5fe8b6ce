//! Whose deaths are told. The programs hold back what is out of scope; what they let through
//! because it was not known yet is sorted out here.

use oomtrace_common::maps::CgroupKey;

use super::{Output, containers::Containers, engine::Engine, record::Death};
use crate::{
    event::container::{CgroupChange, CgroupChangeKind},
    identity::{
        place::Place,
        target::{Naming, Target, is_within},
    },
};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The whole node.
    #[default]
    Node,
    /// What runs in this cgroup or below it.
    Below(String),
    Target(Target),
}

impl Scope {
    /// Whether what runs at these paths is in scope; `None` if that is not known yet.
    fn holds(&self, paths: &[&str], place: &Place, containers: &Containers) -> Option<bool> {
        match self {
            Self::Node => Some(true),
            Self::Below(outer) => Some(paths.iter().any(|path| is_within(path, outer))),
            Self::Target(target) => {
                let holds = target.holds(paths, place, &|id| match containers.get(id) {
                    Some(known) => match &known.facts {
                        Some(facts) => Naming::Known(facts),
                        None if known.is_unknown => Naming::Unknown,
                        None => Naming::Open,
                    },
                    None => Naming::Open,
                });
                let may_be_container = || {
                    target.may_be_bare()
                        && paths.iter().any(|path| containers.open_at(path).is_some())
                };
                holds.filter(|held| *held || !may_be_container())
            }
        }
    }
}

/// A cgroup of which it is not known yet whether it is in scope.
#[derive(Debug)]
pub(super) struct Candidate {
    cgroup: CgroupKey,
    path: String,
    since_ns: u64,
}

/// After this nobody will say what its container is called.
pub(super) const UNKNOWN_NS: u64 = 10_000_000_000;

/// What became of a death that was to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Written,
    /// As far as is known now.
    OutOfScope,
    /// It is not known yet whether it is in scope.
    Open,
}

impl Engine {
    /// Limits what is told.
    pub fn set_scope(&mut self, scope: Scope) {
        self.scope = scope;
    }

    /// Whether a death is to be told; `None` if that is not known yet.
    pub(super) fn in_scope(&self, death: &Death) -> Option<bool> {
        if self.scope == Scope::Node {
            return Some(true);
        }
        let memory = death.victim.cgroup.as_deref();
        let unified = death.victim.unified_cgroup.as_deref();
        let paths: Vec<&str> = memory.into_iter().chain(unified).collect();
        let place = self.containers.place_at(memory, unified);
        self.scope.holds(&paths, &place, &self.containers)
    }

    /// Decides about a new cgroup, or keeps it in mind.
    pub(super) fn consider(&mut self, change: &CgroupChange, out: &mut Vec<Output>) {
        if !matches!(self.scope, Scope::Target(_)) || change.kind == CgroupChangeKind::Emptied {
            return;
        }
        self.candidates.push(Candidate {
            cgroup: change.key(),
            path: change.path.clone(),
            since_ns: self.now_ns.max(change.boottime_ns),
        });
        self.decide(out);
    }

    /// Decides about those of which enough is known by now.
    pub(super) fn decide(&mut self, out: &mut Vec<Output>) {
        let candidates = std::mem::take(&mut self.candidates);
        for candidate in candidates {
            let place = self.containers.locate(&candidate.path);
            let holds = self
                .scope
                .holds(&[&candidate.path], &place, &self.containers);
            let is_late = self.now_ns.saturating_sub(candidate.since_ns) > UNKNOWN_NS;
            if let Some(held) = holds.or(is_late.then_some(false)) {
                out.push(Output::Scope {
                    cgroup: candidate.cgroup,
                    held,
                });
            } else {
                // Not every question finds room.
                let ask = self.containers.ask_again(&candidate.path, self.now_ns);
                out.extend(ask.map(Output::AskContainer));
                self.candidates.push(candidate);
            }
        }
    }
}
