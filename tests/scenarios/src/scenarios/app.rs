//! Another process of the application.

use super::Scenario;
use crate::check::Death;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::death(
        "app-kill",
        Death::of("app_kill", "kill").actor("application"),
    ),
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
    Scenario::death("many", Death::of("app_kill", "kill").actor("application"))
        .by("many", &["--count", "20"]),
];
