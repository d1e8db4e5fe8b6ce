//! An exit status of 137 without a signal. Which death led to which is in the fixtures'
//! reports.

use super::Scenario;
use crate::check::{Death, Is};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::death("exit-137", BY_ITSELF),
    Scenario::death("exit-137-sibling", BY_ITSELF),
    Scenario::death(
        "exit-137-shell",
        PASSED_ON.fields(&[
            ("/caused_by", Is::There),
            (
                "/summary",
                Is::Saying("passed on the 137 of fx-137-command"),
            ),
        ]),
    ),
    // Where it began is said on every level.
    Scenario::death(
        "exit-137-chain",
        PASSED_ON.fields(&[
            ("/caused_by", Is::There),
            ("/summary", Is::Saying("fx-137-worker")),
        ]),
    ),
];

const BY_ITSELF: Death = Death::of("exit_code", "exit")
    .actor("application")
    .evidence(&["exit_status_137"])
    .fields(&[
        ("/caused_by", Is::Null),
        ("/summary", Is::Saying("by itself")),
    ]);

const PASSED_ON: Death = Death::of("exit_code", "exit")
    .actor("application")
    .evidence(&["exit_status_137"]);
