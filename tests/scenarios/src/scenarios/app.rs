//! Another process of the application.

use super::{Expect, Scenario};
use crate::check::Death;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "app-kill",
        fixture: "app-kill",
        args: &[],
        expect: Expect::Death(Death {
            cause: "app_kill",
            mechanism: "kill",
            actor: Some("application"),
            stop_result: None,
        }),
    },
    Scenario {
        name: "thread-kill",
        fixture: "thread-kill",
        args: &[],
        expect: Expect::Death(Death {
            cause: "app_kill",
            mechanism: "tgkill",
            actor: Some("application"),
            stop_result: None,
        }),
    },
    Scenario {
        name: "pidfd-kill",
        fixture: "pidfd-kill",
        args: &[],
        expect: Expect::Death(Death {
            cause: "app_kill",
            mechanism: "pidfd_send_signal",
            actor: Some("application"),
            stop_result: None,
        }),
    },
    Scenario {
        name: "cgroup-kill",
        fixture: "cgroup-kill",
        args: &[],
        expect: Expect::Death(Death {
            cause: "app_kill",
            mechanism: "cgroup_kill",
            actor: Some("application"),
            stop_result: None,
        }),
    },
    Scenario {
        name: "many",
        fixture: "many",
        args: &["--count", "20"],
        expect: Expect::Death(Death {
            cause: "app_kill",
            mechanism: "kill",
            actor: Some("application"),
            stop_result: None,
        }),
    },
];
