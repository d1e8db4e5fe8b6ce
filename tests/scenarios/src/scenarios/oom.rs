//! The OOM killer.

use super::Scenario;
use crate::check::{Death, Is};

pub(crate) const SCENARIOS: &[Scenario] = &[
    // First: without a hook, the kernel log alone tells a memory policy or a cpuset, and the
    // kernel writes no more than ten of its lines in five seconds.
    Scenario::death(
        "numa-oom",
        Death::of("numa_oom", "oom_killer")
            .actor("kernel")
            .fields(&[("/oom/constraint", Is::Text("memory_policy"))]),
    ),
    Scenario::death(
        "cpuset-oom",
        Death::of("numa_oom", "oom_killer")
            .actor("kernel")
            .fields(&[("/oom/constraint", Is::Text("cpuset"))]),
    ),
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
        "oom-group",
        Death::of("cgroup_oom", "oom_killer").actor("kernel"),
    )
    .others(
        Death::of("cgroup_oom", "oom_group")
            .actor("kernel")
            .evidence(&["oom_group"])
            .fields(&[("/summary", Is::Saying("memory.oom.group"))]),
    ),
    Scenario::death(
        "limit-lowered",
        Death::of("cgroup_oom", "oom_killer")
            .actor("application")
            .evidence(&["lowered_limit"])
            .fields(&[
                ("/oom/limit_lowered", Is::Bool(true)),
                ("/actor/comm", Is::Text("fx-lowerer")),
                ("/summary", Is::Saying("lowered")),
            ]),
    ),
    Scenario::death(
        "sysrq-f",
        Death::of("global_oom", "oom_killer")
            .actor("kernel")
            .evidence(&["sysrq_f"])
            .fields(&[
                ("/oom/role", Is::Text("chosen")),
                ("/oom/trigger/comm", Is::Saying("kworker")),
                ("/summary", Is::Saying("SysRq")),
            ]),
    ),
    Scenario::death(
        "global-oom",
        Death::of("global_oom", "oom_killer")
            .actor("kernel")
            .fields(&[("/oom/memory/largest/0/pid", Is::VictimOrNull)]),
    )
    .in_time(&[
        ("/oom/memory/largest_read", Is::There),
        ("/oom/memory/cgroups_read/source", Is::Text("cgroup")),
    ])
    .by("global-oom", &["--yes-the-whole-node"]),
];
