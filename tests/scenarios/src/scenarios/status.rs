//! An exit status of 137 without a signal.

use super::Scenario;
use crate::check::{Death, Is};

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario::death(
    "exit-137",
    Death::of("exit_code", "exit")
        .evidence(&["exit_status_137"])
        .fields(&[
            ("/caused_by", Is::Null),
            ("/summary", Is::Saying("by itself")),
        ]),
)];
