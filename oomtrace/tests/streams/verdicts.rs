//! The order in which the verdict's rows are tried, for SIGKILLs that a process asked for.

use oomtrace::{
    event::{Argv, Process, Sigkill, SignalResult, StopRequest},
    provenance::record::{ActorKind, Cause, Death},
};

use crate::support::{
    assert_code, assert_no_code,
    make::{
        BY_SIGKILL, KILLED_NS, MINUTE, MS, S, SIGABRT, SIGTERM, SIGUSR1, child, exit, kill,
        process, sigkill, stack, stop, stream,
    },
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

#[test]
fn self_kill_comes_before_the_person_behind_it() {
    // `kill -9 $$` on a terminal.
    let death = judged_with(Vec::new(), &shell(), &shell());
    assert_eq!(death.cause, Cause::SelfKill);
    assert_eq!(death.actor.kind, ActorKind::Application);
    // Another thread of the same process.
    let thread = Process {
        tid: 4001,
        ..victim()
    };
    assert_eq!(
        judged_with(Vec::new(), &thread, &victim()).cause,
        Cause::SelfKill
    );
}

#[test]
fn whoever_kills_its_own_process_group_is_told_so() {
    let timeout = process(3000, "timeout");
    let frames = [
        "__send_signal_locked",
        "do_send_sig_info",
        "__kill_pgrp_info",
        "kill_something_info",
        "__x64_sys_kill",
    ];
    let death = judged(&Sigkill {
        stack: Some(stack(&frames)),
        ..kill(&timeout, &timeout)
    });
    assert_eq!(death.cause, Cause::SelfKill);
    assert!(
        death.summary.contains("its own process group"),
        "{}",
        death.summary
    );
    let advice = &death.advice[0];
    assert_eq!(advice.code, "look_at_the_victim");
    assert!(
        advice.text.contains("timeout -k") && !advice.text.contains("abort"),
        "{}",
        advice.text
    );
    let actor = death
        .evidence
        .iter()
        .find(|one| one.code == "actor")
        .unwrap();
    assert!(
        actor.text.contains("its own process group"),
        "{}",
        actor.text
    );
    // One that means itself alone is told as before.
    let alone = judged_with(Vec::new(), &timeout, &timeout);
    assert!(
        alone.advice[0].text.contains("abort"),
        "{}",
        alone.advice[0].text
    );
}

#[test]
fn who_is_to_be_asked_is_no_tool_that_is_gone() {
    let ask = |sender: &Process| {
        judged_with(Vec::new(), sender, &victim()).advice[0]
            .text
            .clone()
    };
    // echo PID | xargs kill -9
    let xargs = tool(2001, "xargs");
    let text = ask(&child(&xargs, 2002, "kill"));
    assert!(text.contains("kill[2002] (run by bash[2000])"), "{text}");
    // A program of one's own that runs kill.
    let script = process(2500, "cleaner");
    let text = ask(&child(&script, 2501, "kill"));
    assert!(
        text.contains("ask cleaner[2500], which ran kill[2501]"),
        "{text}"
    );
    // Its parent is gone: process 1 knows nothing.
    let text = ask(&process(2501, "kill"));
    assert!(text.ends_with("ask kill[2501]"), "{text}");
}

#[test]
fn a_runtimes_helper_acts_for_the_supervisor_above_it() {
    let shim = process(900, "containerd-shim");
    let death = judged_with(Vec::new(), &runc(901, &shim), &victim());
    assert_eq!(death.cause, Cause::SupervisorKill);
    assert_eq!(death.actor.kind, ActorKind::Runtime);
    assert_eq!(death.actor.name.as_deref(), Some("containerd"));
    assert_eq!(death.actor.pid, Some(900));
    let sender = death.sender.unwrap();
    assert_eq!((sender.pid, sender.comm.as_deref()), (901, Some("runc")));
    // Without one it is the runtime itself.
    let alone = judged_with(Vec::new(), &process(901, "runc"), &victim());
    assert_eq!(alone.cause, Cause::SupervisorKill);
    assert_eq!(alone.actor.pid, Some(901));
}

#[test]
fn a_person_in_a_container_is_not_its_runtime() {
    // docker exec: the shell's parent is the shim.
    let shim = process(900, "containerd-shim");
    let shell = child(&shim, 910, "sh");
    let death = judged_with(Vec::new(), &child(&shell, 911, "kill"), &victim());
    assert_eq!(death.cause, Cause::ManualKill);
    assert_eq!(death.actor.pid, Some(910));
}

#[test]
fn tools_and_shells_are_a_person_or_a_script() {
    for comm in ["kill", "pkill", "killall", "htop"] {
        let death = judged_with(Vec::new(), &tool(2001, comm), &victim());
        assert_eq!(death.cause, Cause::ManualKill, "{comm}");
        assert_eq!(death.actor.kind, ActorKind::Human, "{comm}");
        assert_eq!(death.actor.pid, Some(2000), "{comm}: the shell behind it");
    }
    for comm in ["sh", "bash", "dash", "zsh", "fish"] {
        let death = judged_with(Vec::new(), &process(2000, comm), &victim());
        assert_eq!(death.cause, Cause::ManualKill, "{comm}: a builtin");
    }
}

#[test]
fn a_terminal_or_a_login_is_a_person() {
    let script = process(2500, "python3");
    let death = judged_with(Vec::new(), &script, &victim());
    assert_eq!(death.cause, Cause::AppKill);
    let on_tty = Process {
        tty: Some("pts0".to_owned()),
        ..script.clone()
    };
    assert_eq!(
        judged_with(Vec::new(), &on_tty, &victim()).cause,
        Cause::ManualKill
    );
    let logged_in = Process {
        login_uid: Some(1000),
        ..script
    };
    assert_eq!(
        judged_with(Vec::new(), &logged_in, &victim()).cause,
        Cause::ManualKill
    );
}

#[test]
fn relatives_are_one_application() {
    // A terminal behind both makes no person of it.
    let parent = Process {
        tty: Some("pts0".to_owned()),
        ..process(3000, "master")
    };
    let worker = child(&parent, 3001, "worker");
    let helper = child(&worker, 3002, "helper");
    let peer = Process {
        pgid: worker.pgid,
        ..process(3003, "peer")
    };
    for (sender, victim) in [
        (&parent, &worker),
        (&parent, &helper),
        (&helper, &parent),
        (&peer, &worker),
    ] {
        let death = judged_with(Vec::new(), sender, victim);
        assert_eq!(
            death.cause,
            Cause::AppKill,
            "{:?} killed {:?}",
            sender.comm,
            victim.comm
        );
        assert_eq!(death.actor.kind, ActorKind::Application);
    }
}

#[test]
fn the_executable_tells_more_than_the_comm() {
    let sender = Process {
        exe: Some("/opt/app/server".to_owned()),
        ..process(2001, "server")
    };
    assert_eq!(
        judged_with(Vec::new(), &sender, &victim()).cause,
        Cause::AppKill
    );
    // Anybody can call itself what it likes; a known executable counts first.
    let renamed = Process {
        exe: Some("/usr/bin/runc".to_owned()),
        ..process(2001, "bash")
    };
    let death = judged_with(Vec::new(), &renamed, &victim());
    assert_eq!(death.cause, Cause::SupervisorKill);
}

#[test]
fn an_absent_argv_of_the_sender_is_told() {
    let gone = Process {
        argv: None,
        ..process(2500, "python3")
    };
    assert_code(
        &judged_with(Vec::new(), &gone, &victim()),
        "sender_argv_absent",
    );
    let there = process(2500, "python3");
    assert_no_code(
        &judged_with(Vec::new(), &there, &victim()),
        "sender_argv_absent",
    );
}

#[test]
fn the_record_says_when_and_how_long() {
    let death = judged(&kill(&shell(), &victim()));
    assert_eq!(death.boottime_ns, KILLED_NS);
    assert_eq!(death.victim.age_ms, Some((KILLED_NS - 4000 * MS) / MS));
    let outcome = death.outcome.unwrap();
    assert_eq!((outcome.exit_code, outcome.signal), (137, Some(9)));
    assert_eq!(outcome.latency_us, Some(1_000));
    assert_eq!(death.id, "01234567-4000-4000000000");
}
