//! What the kernel does by itself.

use super::Scenario;
use crate::check::{Death, Is};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::death(
        "pid-namespace",
        Death::of("namespace_exit", "pid_namespace").fields(&[("/caused_by", Is::Null)]),
    ),
    Scenario::death(
        "pid-namespace-killed",
        Death::of("namespace_exit", "pid_namespace").fields(&[("/caused_by", Is::There)]),
    )
    .by("pid-namespace", &["--killed"]),
    Scenario::death(
        "parent-death",
        Death::of("parent_death", "pdeathsig").fields(&[
            ("/actor/name", Is::Text("parent death signal")),
            ("/final", Is::Bool(true)),
        ]),
    ),
];
