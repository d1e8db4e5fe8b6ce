//! A person or a script: shells, their builtins, kill(1), and a process of itself.

use super::Scenario;
use crate::check::Death;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::death(
        "kill-from-shell",
        Death::of("manual_kill", "kill").actor("human"),
    ),
    Scenario::death(
        "kill-command",
        Death::of("manual_kill", "kill").actor("human"),
    ),
    Scenario::death("self-kill", Death::of("self_kill", "kill")),
];
