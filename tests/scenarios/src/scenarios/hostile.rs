//! Names and arguments that were made to deceive, to break a record, or to be too long for
//! one: each comes out as it was, or says what was left out.

use super::Scenario;
use crate::check::{Death, Is};

const APP_KILL: Death = Death::of("app_kill", "kill").actor("application");

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::death("hostile-words", APP_KILL),
    Scenario::death("long-argv", APP_KILL),
    Scenario::death("long-argv-many", APP_KILL).by("long-argv", &["--many"]),
    Scenario::death("no-argv", APP_KILL),
    Scenario::death("title", APP_KILL).by("own-argv", &[]),
    Scenario::death("title-longer", APP_KILL).by("own-argv", &["--longer"]),
    Scenario::death(
        "unreadable-argv",
        APP_KILL.fields(&[("/victim/argv", Is::Null)]),
    )
    .by("own-argv", &["--unreadable"]),
    Scenario::death("half-an-argv", APP_KILL).by("own-argv", &["--half"]),
    Scenario::death("argv-beyond-memory", APP_KILL).by("own-argv", &["--wide"]),
    Scenario::death("odd-cgroup", APP_KILL).by("hostile-cgroups", &[]),
    Scenario::death("deep-cgroup", APP_KILL).by("hostile-cgroups", &["--deep"]),
    Scenario::death("full-cgroup", APP_KILL).by("hostile-cgroups", &["--full"]),
    Scenario::death("deleted-exe", APP_KILL).by("hostile-exe", &[]),
    Scenario::death("deep-exe", APP_KILL).by("hostile-exe", &["--deep"]),
];
