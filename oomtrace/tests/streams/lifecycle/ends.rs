//! When a death is written, and how often: hangs, ends seen twice or not at all, ids used twice.

use oomtrace::{
    event::{Event, Group, Process, Sigkill, Waiting, entry::ProcessState},
    provenance::record::{Cause, Death, Record},
};

use super::{events, sender, victim};
use crate::support::{
    assert_code, assert_no_code,
    make::{
        BY_SIGKILL, EXIT_137, KILLED_NS, MS, S, exit, exit_at, kill, sigkill, state, stream, tick,
    },
    run,
};

#[test]
fn a_death_is_written_when_the_victim_has_ended() {
    let before = events([sigkill(&kill(&sender(), &victim())), tick(KILLED_NS + S)]);
    assert_eq!(before.deaths().len(), 0);
    let after = run(stream([
        sigkill(&kill(&sender(), &victim())),
        exit(&victim(), BY_SIGKILL),
    ]));
    let death = after.the_death();
    assert_eq!((death.revision, death.is_final), (1, true));
    assert_eq!(after.stopped().unwrap().deaths, 1);
}

#[test]
fn a_victim_that_hangs_is_written_after_5_s_and_again_at_its_end() {
    let kill = kill(&sender(), &victim());
    let early = events([sigkill(&kill), tick(KILLED_NS + 5 * S - 1)]);
    assert_eq!(early.asked(), []);
    let late = events([
        sigkill(&kill),
        tick(KILLED_NS + 5 * S),
        tick(KILLED_NS + 6 * S),
    ]);
    assert_eq!(late.asked(), [victim().group], "asked once");
    assert_eq!(late.deaths().len(), 0, "no answer yet");

    let ran = run(stream([
        sigkill(&kill),
        tick(KILLED_NS + 5 * S),
        state(&victim(), Some("D (disk sleep)"), Some("nfs_wait_bit")),
        tick(KILLED_NS + 9 * S),
        exit_at(&victim(), BY_SIGKILL, KILLED_NS + 20 * S),
        tick(KILLED_NS + 21 * S),
    ]));
    let [hangs, ended] = *ran.deaths() else {
        panic!("{ran:#?}")
    };
    assert_eq!((hangs.revision, hangs.is_final), (1, false));
    assert_eq!(hangs.outcome, None);
    assert_code(hangs, "still_there");
    let text = &hangs.evidence.last().unwrap().text;
    assert!(
        text.contains("disk sleep") && text.contains("nfs_wait_bit"),
        "{text}"
    );
    assert_eq!((ended.revision, ended.is_final), (2, true));
    assert_eq!(ended.id, hangs.id);
    assert_eq!(ended.outcome.unwrap().latency_us, Some(20_000_000));
    assert_no_code(ended, "still_there");
    assert_eq!(ran.stopped().unwrap().deaths, 1, "counted once");
}

#[test]
fn a_victim_whose_end_was_not_seen_is_written_for_the_last_time() {
    let ran = run(stream([
        sigkill(&kill(&sender(), &victim())),
        tick(KILLED_NS + 5 * S),
        state(&victim(), None, None),
        tick(KILLED_NS + 6 * S),
        tick(KILLED_NS + 20 * S),
        exit(&victim(), BY_SIGKILL),
    ]));
    let [gone, last] = *ran.deaths() else {
        panic!("{ran:#?}")
    };
    assert_eq!((gone.revision, gone.is_final), (1, false));
    assert_eq!((last.revision, last.is_final), (2, true));
    assert_eq!(last.outcome, None);
    assert_code(last, "end_not_seen");
    assert_eq!(ran.asked(), [victim().group], "asked once");
}

#[test]
fn a_victim_that_cannot_be_looked_at_is_given_up_after_minutes() {
    let hidden = || {
        Event::ProcessState(ProcessState {
            tgid: victim().group.tgid,
            start_ns: victim().group.start_ns,
            boottime_ns: KILLED_NS,
            state: None,
            wait_channel: None,
            is_hidden: true,
        })
    };
    let ran = run(stream([
        sigkill(&kill(&sender(), &victim())),
        tick(KILLED_NS + 5 * S),
        hidden(),
        tick(KILLED_NS + 65 * S),
        hidden(),
        tick(KILLED_NS + 365 * S),
        hidden(),
        tick(KILLED_NS + 366 * S),
    ]));
    let [open, ended] = *ran.deaths() else {
        panic!("{ran:#?}")
    };
    assert!(!open.is_final);
    assert_code(open, "state_hidden");
    assert_no_code(open, "still_there");
    assert!(ended.is_final);
    assert_eq!(ended.outcome, None);
    assert_code(ended, "end_not_seen");
}

#[test]
fn an_end_that_was_on_its_way_counts() {
    // /proc has it gone already, the record of its end waits in the ring buffer.
    let ran = run(stream([
        sigkill(&kill(&sender(), &victim())),
        tick(KILLED_NS + 5 * S),
        state(&victim(), None, None),
        exit(&victim(), BY_SIGKILL),
        tick(KILLED_NS + 6 * S),
    ]));
    let death = ran.the_death();
    assert!(death.is_final);
    assert_eq!(death.outcome.map(|outcome| outcome.exit_code), Some(137));
}

#[test]
fn what_is_dying_when_the_tracer_ends_is_written_as_it_stands() {
    let ran = run(stream([sigkill(&kill(&sender(), &victim()))]));
    let death = ran.the_death();
    assert_eq!((death.is_final, death.outcome), (true, None));
    assert!(
        matches!(ran.records().last(), Some(Record::Stopped(stopped)) if stopped.deaths == 1),
        "the last record"
    );
}

#[test]
fn what_hangs_when_the_tracer_ends_gets_its_final_revision() {
    let ran = run(stream([
        sigkill(&kill(&sender(), &victim())),
        tick(KILLED_NS + 5 * S),
        state(&victim(), Some("D (disk sleep)"), None),
    ]));
    let deaths = ran.deaths();
    assert_eq!(deaths.len(), 2);
    assert!(deaths[1].is_final);
}

#[test]
fn a_slow_death_says_what_held_it_up() {
    let slow = |waiting: Waiting| {
        let victim = Process {
            waiting,
            ..victim()
        };
        run(stream([
            sigkill(&kill(&sender(), &victim)),
            exit_at(&victim, BY_SIGKILL, KILLED_NS + 3 * S),
        ]))
        .the_death()
    };
    let text = |death: &Death| {
        let evidence = death.evidence.iter().find(|one| one.code == "slow_death");
        evidence.unwrap().text.clone()
    };
    assert!(text(&slow(Waiting::default())).contains("3.0 s"));
    let asleep = Waiting {
        state: Some(2),
        ..Waiting::default()
    };
    assert!(text(&slow(asleep)).contains("uninterruptible"));
    let frozen = Waiting {
        jobctl: Some(1 << 23),
        ..Waiting::default()
    };
    assert!(text(&slow(frozen)).contains("freezer"));
}

#[test]
fn a_core_dump_that_was_cut_off_is_told_loudly() {
    let crashing = Process {
        dumping_core: Some(true),
        ..victim()
    };
    let death = run(stream([
        sigkill(&kill(&sender(), &crashing)),
        exit(&crashing, BY_SIGKILL),
    ]))
    .the_death();
    assert_eq!(death.cause, Cause::ManualKill);
    assert_code(&death, "dumping_core");
}

#[test]
fn two_last_threads_are_one_death() {
    // Before 6.16 two threads on two CPUs can both look like the last one.
    let killed = [
        sigkill(&kill(&sender(), &victim())),
        exit(&victim(), BY_SIGKILL),
        exit_at(&victim(), BY_SIGKILL, KILLED_NS + MS + 10),
    ];
    run(stream(killed)).the_death();
    let exited = [exit(&victim(), EXIT_137), exit(&victim(), EXIT_137)];
    run(stream(exited)).the_death();
    let unseen = [exit(&victim(), BY_SIGKILL), exit(&victim(), BY_SIGKILL)];
    run(stream(unseen)).the_death();
}

#[test]
fn an_id_used_twice_is_two_deaths() {
    let first = victim();
    let second = Process {
        group: Group {
            start_ns: KILLED_NS + 2 * MS,
            ..first.group
        },
        ..victim()
    };
    let again = Sigkill {
        boottime_ns: KILLED_NS + S,
        ..kill(&sender(), &second)
    };
    let ran = run(stream([
        sigkill(&kill(&sender(), &first)),
        exit(&first, BY_SIGKILL),
        sigkill(&again),
        exit_at(&second, BY_SIGKILL, KILLED_NS + S + MS),
    ]));
    let [one, other] = *ran.deaths() else {
        panic!("{ran:#?}")
    };
    assert_eq!(one.victim.pid, other.victim.pid);
    assert_ne!(one.id, other.id);
    assert_eq!(ran.stopped().unwrap().deaths, 2);
}
