//! Service managers and OOM daemons, the real ones.

use super::Scenario;
use crate::check::{Death, Is};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::death(
        "supervisor-kill",
        Death::of("supervisor_kill", "kill")
            .actor("service_manager")
            .fields(&[("/actor/comm", Is::Text("runsv"))]),
    ),
    Scenario::death(
        "supervisor-stop-timeout",
        Death::of("stop_timeout", "kill")
            .actor("service_manager")
            .stop("ignored")
            .fields(&[("/actor/comm", Is::Text("runsv"))]),
    ),
    Scenario::death(
        "userspace-oom",
        Death::of("userspace_oom", "kill")
            .actor("oom_daemon")
            .fields(&[("/actor/comm", Is::Text("earlyoom"))]),
    ),
];
