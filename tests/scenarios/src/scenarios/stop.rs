//! A request to stop, patience, SIGKILL.

use super::{Expect, Scenario};
use crate::check::Death;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "stop-timeout-ignored",
        fixture: "stop-timeout-ignored",
        args: &[],
        expect: Expect::Death(Death {
            cause: "stop_timeout",
            mechanism: "kill",
            actor: None,
            stop_result: Some("ignored"),
        }),
    },
    Scenario {
        name: "stop-timeout-handled",
        fixture: "stop-timeout-handled",
        args: &[],
        expect: Expect::Death(Death {
            cause: "stop_timeout",
            mechanism: "kill",
            actor: None,
            stop_result: Some("delivered"),
        }),
    },
    Scenario {
        name: "stop-timeout-command",
        fixture: "stop-timeout-command",
        args: &[],
        expect: Expect::Death(Death {
            cause: "stop_timeout",
            mechanism: "kill",
            actor: None,
            stop_result: Some("ignored"),
        }),
    },
    Scenario {
        name: "usr1-before-term",
        fixture: "usr1-before-term",
        args: &[],
        expect: Expect::Death(Death {
            cause: "stop_timeout",
            mechanism: "kill",
            actor: None,
            stop_result: Some("ignored"),
        }),
    },
];
