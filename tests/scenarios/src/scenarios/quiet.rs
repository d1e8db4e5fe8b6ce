//! Ends that nobody has to explain: no death may be reported.

use super::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::no_death("zombie-kill"),
    Scenario::no_death("exiting-kill"),
    Scenario::no_death("init-ignores"),
    Scenario::no_death("term-exit"),
];
