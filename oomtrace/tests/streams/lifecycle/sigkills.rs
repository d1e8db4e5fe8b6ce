//! Which of several SIGKILLs counts, and which do nothing.

use oomtrace::{
    event::{Process, Sigkill, SignalResult},
    provenance::record::Cause,
};

use super::{sender, victim, with_result};
use crate::support::{
    assert_code, codes,
    make::{BY_SIGKILL, EXIT_137, KILLED_NS, S, exit, kill, process, sigkill, stream, tick},
    run,
};

#[test]
fn the_first_sigkill_that_was_delivered_killed() {
    let at = |ns, sender: &Process, result| {
        sigkill(&Sigkill {
            boottime_ns: KILLED_NS + ns,
            result,
            ..kill(sender, &victim())
        })
    };
    let death = run(stream([
        at(0, &process(2000, "htop"), SignalResult::Ignored),
        at(1, &process(2001, "runc"), SignalResult::Delivered),
        at(2, &process(2002, "systemd"), SignalResult::Delivered),
        at(3, &process(2003, "bash"), SignalResult::AlreadyPending),
        exit(&victim(), BY_SIGKILL),
    ]))
    .the_death();
    assert_eq!(death.cause, Cause::SupervisorKill);
    assert_eq!(death.sender.as_ref().unwrap().pid, 2001);
    let others: Vec<&str> = death
        .evidence
        .iter()
        .filter(|evidence| evidence.code == "other_sigkill")
        .map(|evidence| evidence.text.as_str())
        .collect();
    for (text, part) in others.iter().zip([
        "htop[2000], ignored",
        "systemd[2002], delivered",
        "bash[2003], already pending",
    ]) {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(others.len(), 3);
}

#[test]
fn a_sigkill_that_two_programs_saw_is_one() {
    let seen = |ns| {
        sigkill(&Sigkill {
            boottime_ns: KILLED_NS + ns,
            ..kill(&sender(), &victim())
        })
    };
    let death = run(stream([seen(0), seen(40_000), exit(&victim(), BY_SIGKILL)])).the_death();
    assert!(!codes(&death).contains(&"other_sigkill"));
}

#[test]
fn more_sigkills_than_are_kept_are_counted() {
    let at = |number: u64| Sigkill {
        boottime_ns: KILLED_NS + number * 20_000_000,
        ..kill(&sender(), &victim())
    };
    let kills = (0..20).map(|number| sigkill(&at(number)));
    let end = [exit(&victim(), BY_SIGKILL)];
    let death = run(stream(kills.chain(end))).the_death();
    assert_code(&death, "more_sigkills");
    assert_eq!(
        codes(&death)
            .iter()
            .filter(|code| **code == "other_sigkill")
            .count(),
        7
    );
}

#[test]
fn the_one_that_killed_is_kept_after_many_that_did_not() {
    // `kill -9 1` in a container: the kernel drops it, however often it is tried.
    let deaf = (0..20).map(|_| sigkill(&with_result(SignalResult::Ignored)));
    let end = [
        sigkill(&kill(&process(1, "systemd"), &victim())),
        exit(&victim(), BY_SIGKILL),
    ];
    let death = run(stream(deaf.chain(end))).the_death();
    assert_eq!(death.cause, Cause::SupervisorKill);
}

#[test]
fn a_zombie_cannot_be_killed() {
    // On 5.10 the result is 0 all the same.
    let zombie = Process {
        live_threads: Some(0),
        ..victim()
    };
    let ran = run(stream([
        sigkill(&kill(&sender(), &zombie)),
        tick(KILLED_NS + 6 * S),
    ]));
    assert_eq!(ran.deaths().len(), 0);
    assert_eq!(ran.asked(), []);
}

#[test]
fn a_sigkill_after_the_end_is_none() {
    let ran = run(stream([
        exit(&victim(), 0),
        sigkill(&kill(&sender(), &victim())),
    ]));
    assert_eq!(ran.deaths().len(), 0);
}

#[test]
fn the_status_decides_what_it_died_of() {
    // exit(0), exit(3), SIGSEGV without and with a core, SIGTERM: the SIGKILL came too late.
    for status in [0, 0x300, 0xb, 0x8b, 0xf] {
        let ran = run(stream([
            sigkill(&kill(&sender(), &victim())),
            exit(&victim(), status),
        ]));
        assert_eq!(ran.deaths().len(), 0, "status {status:#x}");
    }
}

#[test]
fn a_status_of_137_is_the_processs_own_even_with_a_sigkill() {
    let death = run(stream([
        sigkill(&kill(&sender(), &victim())),
        exit(&victim(), EXIT_137),
    ]))
    .the_death();
    assert_eq!(death.cause, Cause::ExitCode);
}

#[test]
fn sigkills_without_effect_make_no_death() {
    for result in [SignalResult::Ignored, SignalResult::AlreadyPending] {
        let ran = run(stream([
            sigkill(&with_result(result)),
            tick(KILLED_NS + 6 * S),
        ]));
        assert_eq!(ran.deaths().len(), 0, "{result:?}");
        assert_eq!(ran.asked(), []);
    }
}
