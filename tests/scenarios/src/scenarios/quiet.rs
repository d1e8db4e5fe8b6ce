//! Ends that nobody has to explain: no death may be reported.

use super::{Expect, Scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "zombie-kill",
        fixture: "zombie-kill",
        args: &[],
        expect: Expect::NoDeath,
    },
    Scenario {
        name: "term-exit",
        fixture: "term-exit",
        args: &[],
        expect: Expect::NoDeath,
    },
];
