//! Another process of the application.

use super::Scenario;
use crate::check::Death;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::death("app-kill", BY_KILL),
    Scenario::death("peer-kill", BY_KILL),
    Scenario::death("child-kills-parent", BY_KILL),
    Scenario::death("group-kill", BY_KILL),
    Scenario::death(
        "thread-kill",
        Death::of("app_kill", "tgkill").actor("application"),
    ),
    Scenario::death(
        "pidfd-kill",
        Death::of("app_kill", "pidfd_send_signal").actor("application"),
    ),
    Scenario::death(
        "cgroup-kill",
        Death::of("app_kill", "cgroup_kill").actor("application"),
    ),
    Scenario::death("many", BY_KILL).by("many", &["--count", "20"]),
];

const BY_KILL: Death = Death::of("app_kill", "kill").actor("application");
