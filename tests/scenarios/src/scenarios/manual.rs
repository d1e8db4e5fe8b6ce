//! A person or a script: shells, their builtins, kill(1), and a process of itself.

use super::{Expect, Scenario};
use crate::check::Death;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "kill-from-shell",
        fixture: "kill-from-shell",
        args: &[],
        expect: Expect::Death(Death {
            cause: "manual_kill",
            mechanism: "kill",
            actor: Some("human"),
            stop_result: None,
        }),
    },
    Scenario {
        name: "kill-command",
        fixture: "kill-command",
        args: &[],
        expect: Expect::Death(Death {
            cause: "manual_kill",
            mechanism: "kill",
            actor: Some("human"),
            stop_result: None,
        }),
    },
    Scenario {
        name: "self-kill",
        fixture: "self-kill",
        args: &[],
        expect: Expect::Death(Death {
            cause: "self_kill",
            mechanism: "kill",
            actor: None,
            stop_result: None,
        }),
    },
];
