//! Another process of the application.

use super::Scenario;
use crate::check::{Death, Is};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::death("app-kill", by("kill")),
    Scenario::death("peer-kill", by("kill")),
    Scenario::death("child-kills-parent", by("kill")),
    Scenario::death("group-kill", by("kill")),
    // Programs on tracepoints can be preempted by others that die: hooks/process_exit.rs.
    Scenario::death("group-kill-many", by("kill")).by("group-kill", &["--count", "30"]),
    Scenario::death("tgkill", by("tgkill")),
    Scenario::death("tkill", by("tkill")),
    Scenario::death("thread-kill", by("tgkill")),
    Scenario::death("rt-sigqueueinfo", by("rt_sigqueueinfo")),
    Scenario::death("rt-tgsigqueueinfo", by("rt_sigqueueinfo")),
    Scenario::death("pidfd-kill", by("pidfd_send_signal")),
    Scenario::death("cgroup-kill", by("cgroup_kill")),
    Scenario::death("ptrace-kill", by("ptrace")),
    Scenario::death("sender-thread", by("kill")),
    Scenario::death(
        "leader-exited",
        by("kill").fields(&[
            ("/victim/exe", Is::There),
            ("/victim/argv", Is::There),
            ("/victim/memory", Is::There),
        ]),
    ),
    Scenario::death("first-killer", by("kill").evidence(&["other_sigkill"])),
    Scenario::death(
        "pid-reuse",
        by("kill").fields(&[("/sender/comm", Is::Text("fx-kills-one"))]),
    )
    .others(by("tgkill").fields(&[("/sender/comm", Is::Text("fx-kills-two"))])),
    Scenario::death("exit-race", by("kill")),
    Scenario::death("core-dump-cut", by("kill").evidence(&["dumping_core"])),
    Scenario::death_if_killed("exiting-kill-alone", by("kill")).by("exiting-kill", &["--alone"]),
    Scenario::death("many", by("kill")).by("many", &["--count", "20"]),
];

const fn by(mechanism: &'static str) -> Death {
    Death::of("app_kill", mechanism).actor("application")
}
