//! Requests to stop that came before a SIGKILL: they go before all but OOM daemons, if they were
//! the same party's.

use oomtrace::{
    event::{Process, SignalResult, StopRequest},
    provenance::record::{ActorKind, Cause},
};

use super::{judged_with, runc, shell, tool, victim};
use crate::support::{
    assert_code,
    make::{KILLED_NS, MINUTE, S, SIGABRT, SIGTERM, SIGUSR1, child, process, stop},
};

#[test]
fn a_stop_request_comes_before_self_kill() {
    // As timeout(1) does: it asks its whole process group, then kills it and itself.
    let timeout = process(3000, "timeout");
    let sibling = Process {
        pgid: timeout.pgid,
        ..child(&timeout, 3001, "sh")
    };
    let death = judged_with(vec![stop(SIGTERM, &sibling, S)], &timeout, &timeout);
    assert_eq!(death.cause, Cause::StopTimeout);
    assert_eq!(
        judged_with(Vec::new(), &timeout, &timeout).cause,
        Cause::SelfKill
    );
}

#[test]
fn a_stop_request_comes_before_supervisor_kill() {
    // Two short-lived processes of one supervisor are one actor.
    let shim = process(900, "containerd-shim");
    let (first, second) = (runc(901, &shim), runc(902, &shim));
    let death = judged_with(vec![stop(SIGTERM, &first, 10 * S)], &second, &victim());
    assert_eq!(death.cause, Cause::StopTimeout);
    assert_eq!(death.actor.kind, ActorKind::Runtime);
    assert_eq!(death.actor.name.as_deref(), Some("containerd"));
    assert_eq!(death.stop.unwrap().grace_ms, 10_000);
}

#[test]
fn another_supervisors_stop_request_is_not_this_ones() {
    let shim = process(900, "containerd-shim");
    let other = process(950, "containerd-shim");
    let stops = vec![stop(SIGTERM, &runc(951, &other), S)];
    let death = judged_with(stops, &runc(901, &shim), &victim());
    assert_eq!(death.cause, Cause::SupervisorKill);
    assert!(!death.stop.unwrap().same_actor);
}

#[test]
fn a_service_manager_is_its_own_actor() {
    let systemd = process(1, "systemd");
    let stops = vec![stop(SIGTERM, &systemd, 90 * S)];
    assert_eq!(
        judged_with(stops, &systemd, &victim()).cause,
        Cause::StopTimeout
    );
    let death = judged_with(Vec::new(), &systemd, &victim());
    assert_eq!(death.cause, Cause::SupervisorKill);
    assert_eq!(death.actor.kind, ActorKind::ServiceManager);
}

#[test]
fn what_a_service_manager_starts_acts_for_it() {
    // A stop command of the service asks, the manager kills.
    let manager = process(800, "supervisord");
    let helper = child(&child(&manager, 801, "stop.sh"), 802, "notify");
    let death = judged_with(vec![stop(SIGTERM, &helper, S)], &manager, &victim());
    assert_eq!(death.cause, Cause::StopTimeout);
}

#[test]
fn a_supervisor_and_its_helper_are_one_actor() {
    let shim = process(900, "containerd-shim");
    let runc = child(&child(&shim, 901, "sh"), 902, "runc");
    let asked_by_helper = judged_with(vec![stop(SIGTERM, &runc, S)], &shim, &victim());
    assert_eq!(asked_by_helper.cause, Cause::StopTimeout);
    let killed_by_helper = judged_with(vec![stop(SIGTERM, &shim, S)], &runc, &victim());
    assert_eq!(killed_by_helper.cause, Cause::StopTimeout);
}

#[test]
fn what_runs_in_a_container_is_not_its_runtime() {
    // The application asks its worker to end; a person in `docker exec` kills it.
    let shim = process(900, "containerd-shim");
    let app = child(&shim, 910, "app");
    let worker = child(&app, 911, "worker");
    let person = child(&child(&shim, 920, "bash"), 921, "kill");
    let death = judged_with(vec![stop(SIGTERM, &app, S)], &person, &worker);
    assert_eq!(death.cause, Cause::ManualKill);
    assert!(!death.stop.unwrap().same_actor);
    // The same where systemd runs in a container, or for a user.
    let systemd = child(&shim, 930, "systemd");
    let unit = child(&systemd, 931, "app");
    let person = child(&child(&systemd, 940, "bash"), 941, "kill");
    let death = judged_with(
        vec![stop(SIGTERM, &unit, S)],
        &person,
        &child(&unit, 932, "worker"),
    );
    assert_eq!(death.cause, Cause::ManualKill);
}

#[test]
fn process_1_as_a_parent_makes_no_common_actor() {
    // Everybody's ancestor: two daemons are not one party for it.
    let (one, other) = (process(500, "cleaner"), process(600, "rotator"));
    let death = judged_with(vec![stop(SIGTERM, &one, S)], &other, &victim());
    assert!(!death.stop.unwrap().same_actor);
    assert_eq!(death.cause, Cause::AppKill);
}

#[test]
fn a_stop_request_comes_before_manual_kill() {
    // `kill 4000; sleep 2; kill -9 4000`: two processes of one shell.
    let stops = vec![stop(SIGTERM, &tool(2001, "kill"), 2 * S)];
    let death = judged_with(stops, &tool(2002, "kill"), &victim());
    assert_eq!(death.cause, Cause::StopTimeout);
    assert_eq!(death.actor.kind, ActorKind::Human);
    // The same by the builtin.
    let stops = vec![stop(SIGTERM, &shell(), 2 * S)];
    assert_eq!(
        judged_with(stops, &shell(), &victim()).cause,
        Cause::StopTimeout
    );
}

#[test]
fn any_signal_can_be_a_stop_request() {
    // gunicorn ends a worker that hangs with ABRT, then KILL.
    let master = process(3000, "gunicorn");
    let worker = child(&master, 3001, "gunicorn");
    let death = judged_with(vec![stop(SIGABRT, &master, S)], &master, &worker);
    assert_eq!(death.cause, Cause::StopTimeout);
    assert_eq!(death.actor.kind, ActorKind::Application);
    assert_eq!(death.stop.unwrap().signal, "SIGABRT");
}

#[test]
fn a_stop_request_of_another_party_is_told_and_decides_nothing() {
    let systemd = process(1, "systemd");
    let stops = vec![stop(SIGTERM, &systemd, 3 * S)];
    let death = judged_with(stops, &tool(2001, "kill"), &victim());
    assert_eq!(death.cause, Cause::ManualKill);
    assert_code(&death, "stop_by_another");
    let stop = death.stop.unwrap();
    assert!(!stop.same_actor);
    assert_eq!(stop.signal, "SIGTERM");
    assert_eq!(stop.sender.comm.as_deref(), Some("systemd"));
}

#[test]
fn a_stop_request_is_forgotten_after_half_an_hour() {
    let before = |ns| judged_with(vec![stop(SIGTERM, &shell(), ns)], &shell(), &victim());
    assert_eq!(before(30 * MINUTE).cause, Cause::StopTimeout);
    let late = before(30 * MINUTE + 1);
    assert_eq!(late.cause, Cause::ManualKill);
    assert_eq!(late.stop, None);
}

#[test]
fn a_run_of_stop_requests_counts_from_its_first_to_its_last() {
    let run = StopRequest {
        count: 3,
        last_ns: KILLED_NS - MINUTE,
        ..stop(SIGTERM, &shell(), 40 * MINUTE)
    };
    let stop = judged_with(vec![run], &shell(), &victim()).stop.unwrap();
    assert_eq!(stop.count, 3);
    assert_eq!(stop.grace_ms, 40 * 60 * 1_000);
}

#[test]
fn a_request_after_the_sigkill_is_none() {
    let late = StopRequest {
        first_ns: KILLED_NS + 1,
        last_ns: KILLED_NS + 1,
        ..stop(SIGTERM, &shell(), 0)
    };
    assert_eq!(judged_with(vec![late], &shell(), &victim()).stop, None);
}

#[test]
fn of_several_requests_the_same_partys_counts_then_the_one_that_means_stop() {
    let other = process(1, "systemd");
    let stops = vec![
        stop(SIGTERM, &shell(), 9 * S),
        stop(SIGUSR1, &shell(), 2 * S),
        stop(SIGTERM, &other, S),
    ];
    let stop = judged_with(stops, &shell(), &victim()).stop.unwrap();
    assert!(stop.same_actor);
    assert_eq!(stop.signal, "SIGTERM");
    assert_eq!(stop.grace_ms, 9_000);
}

#[test]
fn what_became_of_the_request_is_told() {
    let with = |result, victim: &Process| {
        let request = StopRequest {
            first_result: result,
            ..stop(SIGTERM, &shell(), S)
        };
        judged_with(vec![request], &shell(), victim)
    };
    let ignored = with(SignalResult::Ignored, &victim());
    assert_eq!(ignored.stop.as_ref().unwrap().result, "ignored");
    assert_code(&ignored, "stop_signal_ignored");
    assert_eq!(ignored.advice[0].code, "handle_stop_signal");
    let slow = with(SignalResult::Delivered, &victim());
    assert_eq!(slow.stop.as_ref().unwrap().result, "delivered");
    assert_code(&slow, "stop_signal_handled");
    assert_eq!(slow.advice[0].code, "stop_faster");
    // What is known is that this was too little, and no more.
    assert!(
        slow.advice[0].text.contains("still there after 1.0 s")
            && slow.advice[0].text.contains("how much more is not known"),
        "{:?}",
        slow.advice[0]
    );
    // Process 1 of a container drops what it has no handler for: another advice.
    let init = Process {
        ns_tgid: Some(1),
        ns_level: 1,
        ..victim()
    };
    let deaf = with(SignalResult::Ignored, &init);
    assert!(deaf.victim.is_ns_init);
    assert_ne!(deaf.advice[0].text, ignored.advice[0].text);
}
