//! What is run under the tracer, one table a group. A new scenario is a row; a new
//! way to die is a fixture and a row.

mod app;
mod hostile;
mod kernel;
mod manual;
mod memory;
mod oom;
mod quiet;
mod status;
mod stop;
mod supervisor;

use crate::check::{Death, Is};

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) fixture: &'static str,
    pub(crate) args: &'static [&'static str],
    pub(crate) expect: Expect,
    /// Fields that the tracer looks up, or leaves out where that would take too long: one death
    /// of several has them.
    pub(crate) in_time: &'static [(&'static str, Is)],
}

pub(crate) enum Expect {
    /// One such death for each victim of the fixture, and for each of its others, if it has any.
    Deaths {
        victims: Death,
        others: Option<Death>,
    },
    /// Such a death of each victim if their status is one that is always reported, else
    /// nothing: the kernel decides which.
    DeathIfKilled(Death),
    /// Nothing to report.
    NoDeath,
}

impl Scenario {
    /// The fixture of the same name, without arguments.
    const fn new(name: &'static str, expect: Expect) -> Self {
        Self {
            name,
            fixture: name,
            args: &[],
            expect,
            in_time: &[],
        }
    }

    /// Such a death of each victim.
    const fn death(name: &'static str, death: Death) -> Self {
        let expect = Expect::Deaths {
            victims: death,
            others: None,
        };
        Self::new(name, expect)
    }

    /// And this death of each that died with the victims, in another way than they.
    const fn others(mut self, death: Death) -> Self {
        if let Expect::Deaths { others, .. } = &mut self.expect {
            *others = Some(death);
        }
        self
    }

    /// Fields that are left out where the machine is slow.
    const fn in_time(mut self, fields: &'static [(&'static str, Is)]) -> Self {
        self.in_time = fields;
        self
    }

    const fn death_if_killed(name: &'static str, death: Death) -> Self {
        Self::new(name, Expect::DeathIfKilled(death))
    }

    const fn no_death(name: &'static str) -> Self {
        Self::new(name, Expect::NoDeath)
    }

    /// Whether the hook on the OOM killer has to do with it: everything else is the same
    /// programs on the same tracepoints in every tier.
    pub(crate) fn depends_on_hooks(&self) -> bool {
        oom::SCENARIOS
            .iter()
            .any(|scenario| scenario.name == self.name)
    }

    /// Another fixture than the one of the same name, or arguments.
    const fn by(mut self, fixture: &'static str, args: &'static [&'static str]) -> Self {
        self.fixture = fixture;
        self.args = args;
        self
    }
}

pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> {
    [
        manual::SCENARIOS,
        stop::SCENARIOS,
        supervisor::SCENARIOS,
        app::SCENARIOS,
        kernel::SCENARIOS,
        status::SCENARIOS,
        quiet::SCENARIOS,
        hostile::SCENARIOS,
        memory::SCENARIOS,
        // The node's own OOM comes last: what it takes along is nobody's test.
        oom::SCENARIOS,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_words() {
        let names: BTreeSet<_> = all().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all().count());
        assert!(names.iter().all(|name| !name.contains([' ', '@'])));
    }
}
