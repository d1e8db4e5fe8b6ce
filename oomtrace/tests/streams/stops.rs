//! Why a victim did not stop when it was asked to.

use oomtrace::{
    event::{Handler, Process, Sigkill, SignalResult, StopRequest, Waiting},
    provenance::{
        Config, Engine, Output,
        record::{Cause, Death, Record},
        rules::Rules,
    },
};

use crate::support::{
    assert_code, assert_no_code,
    make::{BY_SIGKILL, S, SIGTERM, child, exit, kill, process, sigkill, stop, stream},
    run,
};

/// Bit of SIGTERM in a set of signals.
const TERM: u64 = 1 << (SIGTERM - 1);
const UNINTERRUPTIBLE: u32 = 2;
const KILLABLE: u32 = 0x102;
const IDLE: u32 = 0x402;
const FROZEN: u32 = 0x8000;
const PF_FROZEN: u32 = 0x1_0000;
const TRAP_FREEZE: u64 = 1 << 23;
const STOP_STOPPED: u32 = 1;

/// A request whose signal waits still when the SIGKILL comes.
fn waiting() -> (StopRequest, Waiting) {
    let request = stop(SIGTERM, &process(2000, "master"), S);
    let now = Waiting {
        pending: Some(TERM),
        ..Waiting::default()
    };
    (request, now)
}

fn death(request: StopRequest, now: Waiting) -> Death {
    let victim = Process {
        waiting: now,
        ..process(4000, "victim")
    };
    run(stream([
        sigkill(&Sigkill {
            stops: vec![request],
            ..kill(&process(2000, "master"), &victim)
        }),
        exit(&victim, BY_SIGKILL),
    ]))
    .the_death()
}

#[track_caller]
fn assert_reason(death: &Death, reason: &str, code: &str) {
    assert_eq!(death.cause, Cause::StopTimeout);
    assert_eq!(death.stop.as_ref().unwrap().reason, reason);
    assert_code(death, code);
}

#[test]
fn a_signal_that_was_taken_was_handled() {
    let (request, _) = waiting();
    let handled = death(request.clone(), Waiting::default());
    assert_reason(&handled, "handled", "stop_signal_handled");
    assert_eq!(handled.advice[0].code, "stop_faster");
    // sigwait(3) takes what has no handler and is blocked.
    let request = StopRequest {
        handler: Some(Handler::Default),
        victim: Waiting {
            blocked: Some(TERM),
            ..Waiting::default()
        },
        ..request
    };
    let waited = death(request, Waiting::default());
    assert_reason(&waited, "handled", "stop_signal_handled");
    assert!(
        waited
            .evidence
            .iter()
            .any(|one| one.text.contains("sigwait"))
    );
}

#[test]
fn a_signal_that_was_thrown_away_was_ignored() {
    let (request, now) = waiting();
    let request = StopRequest {
        first_result: SignalResult::Ignored,
        ..request
    };
    assert_reason(&death(request, now), "ignored", "stop_signal_ignored");
}

#[test]
fn a_mask_is_told_from_a_freezer_a_stop_and_a_sleep() {
    let (request, now) = waiting();
    let blocks = Waiting {
        blocked: Some(TERM),
        ..now
    };
    let blocked = death(request.clone(), blocks);
    assert_reason(&blocked, "blocked", "stop_signal_blocked");
    assert_eq!(blocked.advice[0].code, "handle_stop_signal");

    for frozen in [
        Waiting {
            jobctl: Some(TRAP_FREEZE),
            ..blocks
        },
        Waiting {
            state: Some(FROZEN),
            ..blocks
        },
        Waiting {
            flags: Some(PF_FROZEN),
            ..now
        },
    ] {
        let death = death(request.clone(), frozen);
        assert_reason(&death, "frozen", "victim_frozen");
        assert_eq!(death.advice[0].code, "let_it_go_on");
    }

    let stopped_before = StopRequest {
        victim: Waiting {
            signal_flags: Some(STOP_STOPPED),
            ..Waiting::default()
        },
        ..request.clone()
    };
    assert_reason(&death(stopped_before, blocks), "stopped", "victim_stopped");
    let stopped_after = StopRequest {
        stopped_since: true,
        ..request.clone()
    };
    assert_reason(&death(stopped_after, now), "stopped", "victim_stopped");

    let waited = death(request, now);
    assert_reason(&waited, "not_taken", "stop_signal_not_taken");
    // It is not said to have got what was waiting still.
    assert_eq!(waited.advice[0].code, "stop_not_taken");
    assert!(
        waited.advice[0]
            .text
            .contains("had not run to take SIGTERM")
    );
}

#[test]
fn an_uninterruptible_sleep_must_last_where_the_signal_is_blocked_anyway() {
    let (request, now) = waiting();
    let asleep = |state| StopRequest {
        victim: Waiting {
            state: Some(state),
            ..Waiting::default()
        },
        ..request.clone()
    };
    // SIGKILL ends a killable sleep: when it comes the sleep is over already.
    let reason = |request, now| death(request, now).stop.unwrap().reason;
    assert_eq!(reason(asleep(KILLABLE), now), "uninterruptible");
    assert_eq!(reason(asleep(UNINTERRUPTIBLE), now), "uninterruptible");
    assert_eq!(reason(asleep(IDLE), now), "not_taken");
    let blocks = Waiting {
        blocked: Some(TERM),
        ..now
    };
    assert_eq!(reason(asleep(UNINTERRUPTIBLE), blocks), "blocked");
    let still = Waiting {
        state: Some(UNINTERRUPTIBLE),
        ..blocks
    };
    let death = death(asleep(UNINTERRUPTIBLE), still);
    assert_reason(&death, "uninterruptible", "victim_uninterruptible");
    assert_eq!(death.advice[0].code, "look_at_the_wait");
}

#[test]
fn the_window_can_be_set() {
    let cause = |window_ns| {
        let config = Config {
            stop_window_ns: window_ns,
            ..Config::default()
        };
        let mut engine = Engine::new(config, Rules::built_in().unwrap());
        let mut out = Vec::new();
        let victim = process(4000, "victim");
        let master = process(2000, "master");
        let killed = Sigkill {
            stops: vec![stop(SIGTERM, &master, 2 * S)],
            ..kill(&master, &child(&master, 4000, "victim"))
        };
        for event in stream([sigkill(&killed), exit(&victim, BY_SIGKILL)]) {
            engine.handle(event, &mut out);
        }
        out.into_iter()
            .find_map(|output| match output {
                Output::Record(record) => match *record {
                    Record::Death(death) => Some((death.cause, death.stop.is_some())),
                    _ => None,
                },
                _ => None,
            })
            .unwrap()
    };
    assert_eq!(cause(3 * S), (Cause::StopTimeout, true));
    assert_eq!(cause(S), (Cause::AppKill, false));
}

#[test]
fn one_that_went_quickly_is_not_called_slow() {
    let (request, now) = waiting();
    assert_no_code(&death(request, now), "slow_death");
}

#[test]
fn a_reload_or_a_log_rotation_is_no_request_to_stop() {
    const SIGHUP: u32 = 1;
    const SIGUSR1: u32 = 10;
    let of = |signal, handler| {
        let request = StopRequest {
            handler: Some(handler),
            ..stop(signal, &process(2000, "master"), S)
        };
        let victim = process(4000, "victim");
        run(stream([
            sigkill(&Sigkill {
                stops: vec![request],
                ..kill(&process(2000, "master"), &victim)
            }),
            exit(&victim, BY_SIGKILL),
        ]))
        .the_death()
    };
    for signal in [SIGHUP, SIGUSR1] {
        let handled = of(signal, Handler::Function);
        assert_eq!((handled.cause, handled.stop), (Cause::AppKill, None));
        // Without a handler it is meant to end the process.
        assert_eq!(of(signal, Handler::Ignore).cause, Cause::StopTimeout);
    }
    assert_eq!(of(SIGTERM, Handler::Function).cause, Cause::StopTimeout);
}
