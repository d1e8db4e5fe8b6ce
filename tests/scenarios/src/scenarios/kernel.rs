//! What the kernel does by itself when another process ends, and an exit status of 137
//! without a signal.

use super::{Expect, Scenario};
use crate::check::Death;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "pid-namespace",
        fixture: "pid-namespace",
        args: &[],
        expect: Expect::Death(Death {
            cause: "namespace_exit",
            mechanism: "pid_namespace",
            actor: None,
            stop_result: None,
        }),
    },
    Scenario {
        name: "pid-namespace-killed",
        fixture: "pid-namespace",
        args: &["--killed"],
        expect: Expect::Death(Death {
            cause: "namespace_exit",
            mechanism: "pid_namespace",
            actor: None,
            stop_result: None,
        }),
    },
    Scenario {
        name: "parent-death",
        fixture: "parent-death",
        args: &[],
        expect: Expect::Death(Death {
            cause: "parent_death",
            mechanism: "pdeathsig",
            actor: None,
            stop_result: None,
        }),
    },
    Scenario {
        name: "exit-137",
        fixture: "exit-137",
        args: &[],
        expect: Expect::Death(Death {
            cause: "exit_code",
            mechanism: "exit",
            actor: None,
            stop_result: None,
        }),
    },
];
