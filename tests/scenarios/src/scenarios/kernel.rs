//! What the kernel does by itself.

use super::Scenario;
use crate::check::{Death, Is};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::death(
        "pid-namespace",
        NAMESPACE_EXIT
            .says(&[("init_exited", "status 5")])
            .fields(&[("/caused_by", Is::Null)]),
    ),
    Scenario::death("pid-namespace-killed", NAMESPACE_KILLED).by("pid-namespace", &["--killed"]),
    Scenario::death("pid-namespace-many", NAMESPACE_KILLED)
        .by("pid-namespace", &["--killed", "--count", "14"]),
    Scenario::death(
        "parent-death",
        Death::of("parent_death", "pdeathsig").fields(&[
            ("/actor/name", Is::Text("parent death signal")),
            ("/final", Is::Bool(true)),
        ]),
    ),
    Scenario::death(
        "ptrace-exitkill",
        Death::of("tracer_exit", "ptrace_exitkill")
            .actor("kernel")
            .fields(&[("/summary", Is::Saying("fx-tracer"))]),
    ),
    Scenario::death(
        "ptrace-cont",
        Death::of("kernel", "ptrace")
            .evidence(&["no_signal_generated", "ptrace_injected"])
            .fields(&[
                ("/actor/comm", Is::Text("fx-injector")),
                ("/sender", Is::Null),
            ]),
    ),
    Scenario::death(
        "seccomp-strict",
        Death::of("kernel", "seccomp")
            .actor("kernel")
            .evidence(&["no_signal_generated", "seccomp_strict"])
            .fields(&[("/sender", Is::Null)]),
    ),
    Scenario::death("rlimit-cpu", CPU_LIMIT),
    Scenario::death("rlimit-cpu-both", CPU_LIMIT).by("rlimit-cpu", &["--both"]),
    Scenario::death("rlimit-rttime", REAL_TIME_LIMIT),
    Scenario::death("rlimit-rttime-both", REAL_TIME_LIMIT).by("rlimit-rttime", &["--both"]),
    // A timer fires into whatever task is running.
    Scenario::death(
        "posix-timer",
        POSIX_TIMER.fields(&[
            ("/sender/pid", Is::VictimOrNull),
            ("/summary", Is::Saying("POSIX timer")),
        ]),
    ),
    Scenario::death(
        "posix-cpu-timer",
        POSIX_TIMER.fields(&[("/summary", Is::Saying("POSIX timer"))]),
    )
    .by("posix-timer", &["--cpu-clock"]),
    Scenario::death(
        "sigio",
        Death::of("own_timer", "sigio")
            .actor("kernel")
            .fields(&[("/summary", Is::Saying("file descriptor"))]),
    ),
    Scenario::death(
        "exit-signal",
        Death::of("own_timer", "exit_signal")
            .actor("kernel")
            .fields(&[("/summary", Is::Saying("exit signal"))]),
    ),
    Scenario::death("bpf-send-signal", BPF),
    // From where one task gives way to another it goes by way of an interrupt.
    Scenario::death(
        "bpf-send-signal-switch",
        BPF.fields(&[("/sender/pid", Is::VictimOrNull)]),
    )
    .by("bpf-send-signal", &["--on-switch"]),
    Scenario::death(
        "secure-attention",
        Death::of("kernel", "sysrq").actor("kernel"),
    ),
];

const NAMESPACE_EXIT: Death = Death::of("namespace_exit", "pid_namespace").actor("kernel");
const NAMESPACE_KILLED: Death = NAMESPACE_EXIT
    .evidence(&["init_killed"])
    .fields(&[("/caused_by", Is::There)]);
const CPU_LIMIT: Death = Death::of("cpu_limit", "rlimit_cpu").actor("kernel");
const REAL_TIME_LIMIT: Death = Death::of("cpu_limit", "rlimit_rttime").actor("kernel");
const POSIX_TIMER: Death = Death::of("own_timer", "posix_timer").actor("kernel");
const BPF: Death = Death::of("bpf", "bpf_send_signal").actor("kernel");
