//! The OOM killer.

use super::Scenario;
use crate::check::Death;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::death(
        "cgroup-oom",
        Death::of("cgroup_oom", "oom_killer").actor("kernel"),
    ),
    Scenario::death(
        "parent-limit-oom",
        Death::of("cgroup_oom", "oom_killer").actor("kernel"),
    ),
    Scenario::death(
        "oom-bystander",
        Death::of("cgroup_oom", "oom_killer").actor("kernel"),
    ),
    Scenario::death(
        "global-oom",
        Death::of("global_oom", "oom_killer").actor("kernel"),
    )
    .by("global-oom", &["--yes-the-whole-node"]),
];
