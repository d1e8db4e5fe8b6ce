//! A person or a script: shells, their builtins, tools like kill(1), and a process of
//! itself.

use super::Scenario;
use crate::check::Death;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::death("kill-from-shell", BY_HAND),
    Scenario::death("kill-command", BY_HAND),
    Scenario::death("kill-on-tty", BY_HAND),
    Scenario::death("kill-login-uid", BY_HAND),
    Scenario::death("pkill", BY_HAND),
    Scenario::death("killall", BY_HAND),
    Scenario::death("script-kill", BY_HAND),
    Scenario::death("self-kill", Death::of("self_kill", "kill")),
    Scenario::death("self-tgkill", Death::of("self_kill", "tgkill")).by("self-raise", &[]),
    Scenario::death("self-tkill", Death::of("self_kill", "tkill")).by("self-raise", &["--tkill"]),
];

const BY_HAND: Death = Death::of("manual_kill", "kill").actor("human");
