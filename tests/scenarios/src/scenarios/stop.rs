//! A request to stop, patience, SIGKILL.

use super::Scenario;
use crate::check::Death;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::death(
        "stop-timeout-ignored",
        Death::of("stop_timeout", "kill").stop("ignored"),
    ),
    Scenario::death(
        "stop-timeout-handled",
        Death::of("stop_timeout", "kill").stop("delivered"),
    ),
    Scenario::death(
        "stop-timeout-command",
        Death::of("stop_timeout", "kill").stop("ignored"),
    ),
    Scenario::death(
        "usr1-before-term",
        Death::of("stop_timeout", "kill").stop("ignored"),
    ),
];
