//! The order in which the verdict's rows are tried, for SIGKILLs that a process asked for.
//!
//! | module | what it holds |
//! |---|---|
//! | `requests` | requests to stop that came before, and whose they count as |
//! | `senders` | where there was none: what the sender is to the victim, and who is behind it |

mod requests;
mod senders;

use oomtrace::{
    event::{Argv, Process, Sigkill, StopRequest},
    provenance::record::{ActorKind, Cause, Death},
};

use crate::support::{
    make::{BY_SIGKILL, S, SIGTERM, child, exit, kill, process, sigkill, stop, stream},
    run,
};

/// The death that one SIGKILL brings about.
fn judged(kill: &Sigkill) -> Death {
    run(stream([sigkill(kill), exit(&kill.victim, BY_SIGKILL)])).the_death()
}

fn judged_with(stops: Vec<StopRequest>, sender: &Process, victim: &Process) -> Death {
    judged(&Sigkill {
        stops,
        ..kill(sender, victim)
    })
}

fn victim() -> Process {
    process(4000, "nginx")
}

/// A shell on a terminal, in a login session.
fn shell() -> Process {
    Process {
        tty: Some("pts3".to_owned()),
        login_uid: Some(1000),
        ..process(2000, "bash")
    }
}

/// What a shell starts.
fn tool(tgid: u32, comm: &str) -> Process {
    Process {
        tty: Some("pts3".to_owned()),
        login_uid: Some(1000),
        ..child(&shell(), tgid, comm)
    }
}

/// runc as a shim starts it.
fn runc(tgid: u32, shim: &Process) -> Process {
    child(shim, tgid, "runc")
}

#[test]
fn an_oom_daemon_comes_first_whatever_came_before() {
    let daemon = Process {
        argv: Some(Argv {
            args: ["earlyoom", "-m", "20,18"].map(str::to_owned).to_vec(),
            truncated: false,
        }),
        ..process(700, "earlyoom")
    };
    let death = judged_with(vec![stop(SIGTERM, &daemon, 3 * S)], &daemon, &victim());
    assert_eq!(death.cause, Cause::UserspaceOom);
    assert_eq!(death.actor.kind, ActorKind::OomDaemon);
    let stop = death.stop.unwrap();
    assert!(stop.same_actor);
    assert_eq!(stop.grace_ms, 3_000);
    // By which policy, as far as its arguments or its name tell.
    assert_eq!(death.advice[0].code, "oom_daemon_policy");
    let said = &death.advice[0].text;
    assert!(said.contains("thresholds: here -m 20,18"), "{said}");
    for (name, words) in [
        ("systemd-oomd", "ManagedOOMMemoryPressureLimit"),
        ("systemd-oomd", "ManagedOOMSwap=kill"),
        ("nohang", "/etc/nohang"),
        ("lmkd", "/proc/pressure/memory"),
    ] {
        let death = judged_with(Vec::new(), &process(700, name), &victim());
        let all: Vec<&str> = death.advice.iter().map(|a| a.code.as_str()).collect();
        assert_eq!(all, ["oom_daemon_policy"], "{name}");
        let said = &death.advice[0].text;
        assert!(said.contains(words) && !said.contains('?'), "{said}");
    }
}
