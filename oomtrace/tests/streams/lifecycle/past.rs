//! Ends that were seen late: when the kernel freed what was left of a process.

use oomtrace::{
    event::{Event, Exit, Process, Sigkill, SignalResult},
    provenance::record::Cause,
};

use super::{events, sender, victim};
use crate::support::{
    assert_code, assert_no_code,
    make::{BY_SIGKILL, EXIT_137, KILLED_NS, S, exit, kill, lost, sigkill, state, stream, tick},
    run,
};

const PAST_NS: u64 = KILLED_NS + 2 * S;

/// What is known of the victim by then.
fn past(status: i32, boottime_ns: u64) -> Event {
    Event::Exit(Box::new(Exit {
        boottime_ns,
        is_past: true,
        victim: Process {
            group: victim().group,
            comm: victim().comm,
            exit_code: Some(status),
            ..Process::default()
        },
        ptracer: None,
        queued_kill: None,
    }))
}

#[test]
fn it_tells_how_the_victim_ended_and_the_most_that_it_took() {
    let death = run(stream([
        sigkill(&kill(&sender(), &victim())),
        past(BY_SIGKILL, PAST_NS),
    ]))
    .the_death();
    assert_eq!((death.revision, death.is_final), (1, true));
    let outcome = death.outcome.unwrap();
    assert_eq!((outcome.exit_code, outcome.signal), (137, Some(9)));
    assert_eq!(outcome.latency_us, Some(2_000_000));
    assert_code(&death, "end_seen_late");
    assert_no_code(&death, "slow_death");
}

#[test]
fn what_a_sigkill_did_not_end_is_told_with_what_was_known_of_it() {
    let ignored = Sigkill {
        result: SignalResult::Ignored,
        ..kill(&sender(), &victim())
    };
    let told = |status| {
        let ended = past(status, PAST_NS);
        run(stream([sigkill(&ignored), ended, tick(PAST_NS + S)])).the_death()
    };
    let death = told(BY_SIGKILL);
    assert_eq!(death.cause, Cause::Unknown);
    assert_code(&death, "sigkill_not_seen");
    assert_eq!(death.victim.cgroup, victim().memory_cgroup);
    assert_eq!(told(EXIT_137).cause, Cause::ExitCode);
}

#[test]
fn without_a_sigkill_it_is_a_death_only_where_some_were_lost() {
    let ended = || past(BY_SIGKILL, PAST_NS);
    let told = events([ended(), tick(PAST_NS + S)]);
    assert_eq!(told.deaths().len(), 0, "when it was, nobody knows");
    let gap = lost("sigkill", 3, KILLED_NS, KILLED_NS + S);
    let death = run(stream([ended(), gap, tick(PAST_NS + S)])).the_death();
    assert_eq!(death.cause, Cause::Unknown);
    assert_code(&death, "events_lost");
}

#[test]
fn it_is_no_second_death() {
    let death = run(stream([
        sigkill(&kill(&sender(), &victim())),
        exit(&victim(), BY_SIGKILL),
        past(BY_SIGKILL, PAST_NS),
    ]))
    .the_death();
    assert_no_code(&death, "end_seen_late");
}

#[test]
fn what_is_gone_already_is_waited_for() {
    let ran = run(stream([
        sigkill(&kill(&sender(), &victim())),
        tick(KILLED_NS + 5 * S),
        state(&victim(), None, None),
        tick(KILLED_NS + 6 * S),
        past(BY_SIGKILL, KILLED_NS + 15 * S),
        tick(KILLED_NS + 30 * S),
    ]));
    let [gone, last] = *ran.deaths() else {
        panic!("{ran:#?}")
    };
    assert_code(gone, "end_not_seen");
    assert_eq!((last.revision, last.is_final), (2, true));
    assert_no_code(last, "end_not_seen");
    assert_code(last, "end_seen_late");
}
