//! What came before an OOM kill: how memory rose, what it was used for, and by whom.

use super::Scenario;
use crate::check::{Death, Is};

/// Half of the fixtures' limit of 64 MiB.
const MUCH: u64 = 32 << 20;
/// They live for at least ten seconds, less the time in which nobody knows their limit yet.
const LIFE_MS: u64 = 9_000;

const OOM: Death = Death::of("cgroup_oom", "oom_killer").actor("kernel");

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::death(
        "memory-leak",
        OOM.fields(&[
            ("/oom/memory/reading", Is::Text("ramp")),
            ("/oom/memory/slope_bytes_per_s", Is::AtLeast(1 << 20)),
            ("/oom/memory/from_start_ms", Is::AtLeast(LIFE_MS)),
            ("/oom/memory/limit_bytes", Is::Number(64 << 20)),
            ("/oom/memory/split/anon_bytes", Is::AtLeast(MUCH)),
            ("/oom/memory/largest/0/comm", Is::Text("fx-leak")),
            ("/oom/memory/largest/0/rss_bytes", Is::AtLeast(MUCH)),
            ("/oom/memory/samples/5/2", Is::There),
        ]),
    ),
    Scenario::death(
        "memory-burst",
        OOM.fields(&[
            ("/oom/memory/reading", Is::Text("burst")),
            ("/oom/memory/slope_bytes_per_s", Is::AtLeast(4 << 20)),
            ("/oom/memory/from_start_ms", Is::AtLeast(LIFE_MS)),
            ("/oom/memory/why", Is::Saying("within the last")),
        ]),
    ),
    Scenario::death(
        "memory-steps",
        OOM.fields(&[
            ("/oom/memory/reading", Is::Text("steps")),
            ("/oom/memory/why", Is::Saying("flat stretches")),
        ]),
    ),
    Scenario::death(
        "memory-undersized",
        OOM.fields(&[
            ("/oom/memory/reading", Is::Text("plateau")),
            ("/oom/memory/why", Is::Saying("parked at 5")),
        ]),
    ),
    Scenario::death(
        "memory-file-reader",
        OOM.fields(&[
            ("/oom/memory/reading", Is::Text("burst")),
            ("/oom/memory/why", Is::Saying("within the last")),
        ]),
    ),
    Scenario::death(
        "memory-other",
        OOM.evidence(&["largest_other"]).fields(&[
            ("/oom/memory/largest/0/comm", Is::Text("fx-hog")),
            ("/oom/memory/largest/0/rss_bytes", Is::AtLeast(MUCH)),
            ("/oom/memory/largest/1/comm", Is::Text("fx-innocent")),
        ]),
    ),
];
