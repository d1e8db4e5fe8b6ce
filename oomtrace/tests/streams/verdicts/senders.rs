//! SIGKILLs that no request to stop came before: what the sender is to the victim, and who is
//! behind it.

use oomtrace::{
    event::{Process, Sigkill},
    provenance::record::{ActorKind, Cause},
};

use super::{judged, judged_with, runc, shell, tool, victim};
use crate::support::{
    assert_code, assert_no_code,
    make::{KILLED_NS, MS, child, kill, process, stack},
};

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
