//! The OOM killer.

use super::{Expect, Scenario};
use crate::check::Death;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "cgroup-oom",
        fixture: "cgroup-oom",
        args: &[],
        expect: Expect::Death(Death {
            cause: "cgroup_oom",
            mechanism: "oom_killer",
            actor: Some("kernel"),
            stop_result: None,
        }),
    },
    Scenario {
        name: "parent-limit-oom",
        fixture: "parent-limit-oom",
        args: &[],
        expect: Expect::Death(Death {
            cause: "cgroup_oom",
            mechanism: "oom_killer",
            actor: Some("kernel"),
            stop_result: None,
        }),
    },
    Scenario {
        name: "oom-bystander",
        fixture: "oom-bystander",
        args: &[],
        expect: Expect::Death(Death {
            cause: "cgroup_oom",
            mechanism: "oom_killer",
            actor: Some("kernel"),
            stop_result: None,
        }),
    },
    Scenario {
        name: "global-oom",
        fixture: "global-oom",
        args: &["--yes-the-whole-node"],
        expect: Expect::Death(Death {
            cause: "global_oom",
            mechanism: "oom_killer",
            actor: Some("kernel"),
            stop_result: None,
        }),
    },
];
