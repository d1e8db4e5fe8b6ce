//! A request to stop, patience, SIGKILL.

use super::Scenario;
use crate::check::{Death, Is};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::death(
        "stop-timeout-ignored",
        ASKED_FIRST
            .stop("ignored")
            .evidence(&["stop_signal_ignored"])
            .fields(&[
                ("/stop/reason", Is::Text("ignored")),
                ("/stop/same_actor", Is::Bool(true)),
            ]),
    ),
    Scenario::death(
        "stop-timeout-handled",
        ASKED_FIRST
            .stop("delivered")
            .fields(&[("/stop/reason", Is::Text("handled"))]),
    ),
    Scenario::death(
        "stop-timeout-command",
        Death::of("stop_timeout", "kill")
            .stop("ignored")
            .fields(&[("/stop/reason", Is::Text("ignored"))]),
    ),
    Scenario::death(
        "usr1-before-term",
        ASKED_FIRST
            .stop("ignored")
            .fields(&[("/stop/reason", Is::Text("ignored"))]),
    ),
    Scenario::death(
        "stop-timeout-ns-init",
        ASKED_FIRST
            .stop("ignored")
            .evidence(&["stop_signal_ignored"])
            .fields(&[
                ("/stop/reason", Is::Text("ignored")),
                ("/victim/is_ns_init", Is::Bool(true)),
                ("/victim/ns_pid", Is::Number(1)),
                ("/advice/0/code", Is::Text("handle_stop_signal")),
                ("/advice/0/text", Is::Saying("init")),
            ]),
    ),
    Scenario::death(
        "stop-blocked",
        ASKED_FIRST
            .stop("delivered")
            .evidence(&["stop_signal_blocked"])
            .fields(&[("/stop/reason", Is::Text("blocked"))]),
    ),
    Scenario::death(
        "stop-stopped",
        ASKED_FIRST
            .stop("delivered")
            .evidence(&["victim_stopped"])
            .fields(&[("/stop/reason", Is::Text("stopped"))]),
    ),
    // The signal had been taken and its handler had run: that the victim was stopped later
    // changes nothing.
    Scenario::death(
        "stop-stopped-after-handler",
        ASKED_FIRST
            .stop("delivered")
            .fields(&[("/stop/reason", Is::Text("handled"))]),
    )
    .by("stop-stopped", &["--after-handler"]),
    Scenario::death(
        "stop-frozen",
        ASKED_FIRST
            .stop("delivered")
            .evidence(&["victim_frozen"])
            .fields(&[("/stop/reason", Is::Text("frozen"))]),
    ),
    Scenario::death(
        "stop-uninterruptible",
        ASKED_FIRST
            .stop("delivered")
            .evidence(&["victim_uninterruptible"])
            .fields(&[("/stop/reason", Is::Text("uninterruptible"))]),
    ),
    Scenario::death(
        "stop-timeout-other",
        Death::of("app_kill", "kill")
            .actor("application")
            .stop("ignored")
            .evidence(&["stop_signal_ignored", "stop_by_another"])
            .fields(&[
                ("/stop/reason", Is::Text("ignored")),
                ("/stop/same_actor", Is::Bool(false)),
            ]),
    ),
    Scenario::death(
        "worker-timeout",
        ASKED_FIRST.stop("delivered").fields(&[
            ("/stop/signal", Is::Text("SIGABRT")),
            ("/stop/reason", Is::Text("handled")),
        ]),
    ),
];

/// By the parent of the victim.
const ASKED_FIRST: Death = Death::of("stop_timeout", "kill").actor("application");
