//! From the SIGKILL to the last revision: hangs, ends seen twice, ids used twice, several
//! SIGKILLs, and deaths that lead to others.

use oomtrace::{
    event::{
        Argv, Event, Group, Image, Process, Sigkill, SignalResult, Waiting, entry::ProcessState,
    },
    provenance::record::{Cause, Death, Mechanism, Record},
};

use crate::support::{
    Ran, assert_code, assert_no_code, codes,
    make::{
        BY_SIGKILL, EXIT_137, KILLED_NS, MS, S, child, exit, exit_at, kernels, kill, lost, opening,
        process, sigkill, state, stopped, stream, tick,
    },
    run,
};

fn victim() -> Process {
    process(4000, "victim")
}

fn sender() -> Process {
    process(2000, "bash")
}

fn events(events: impl IntoIterator<Item = Event>) -> Ran {
    run(opening().into_iter().chain(events))
}

fn with_result(result: SignalResult) -> Sigkill {
    Sigkill {
        result,
        ..kill(&sender(), &victim())
    }
}

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
        exit(&victim(), BY_SIGKILL),
    ]));
    let death = ran.the_death();
    assert!(death.is_final);
    assert_eq!(death.outcome, None);
    assert_code(&death, "end_not_seen");
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

#[test]
fn an_exit_with_137_leads_back_to_the_child_that_was_killed() {
    let shell = process(3000, "sh");
    let worker = child(&shell, 3001, "worker");
    let ran = run(stream([
        sigkill(&kill(&sender(), &worker)),
        exit(&worker, BY_SIGKILL),
        exit_at(&shell, EXIT_137, KILLED_NS + 5 * MS),
    ]));
    let [of_child, of_shell] = *ran.deaths() else {
        panic!("{ran:#?}")
    };
    assert_eq!(of_shell.cause, Cause::ExitCode);
    assert_eq!(of_shell.mechanism, Mechanism::Exit);
    assert_eq!(of_shell.caused_by.as_ref(), Some(&of_child.id));
    assert_eq!(of_shell.sender, None);
    assert_eq!(of_shell.outcome.unwrap().signal, None);
    assert_eq!(of_child.caused_by, None);
}

#[test]
fn a_killed_child_belongs_to_the_parent_that_it_had_when_it_was_killed() {
    // By the time that the worker has ended, a subreaper may stand above it.
    let shell = process(3000, "sh");
    let worker = child(&shell, 3001, "worker");
    let orphan = Process {
        ancestry: process(3001, "worker").ancestry,
        ..worker.clone()
    };
    let ran = run(stream([
        sigkill(&kill(&sender(), &worker)),
        exit(&orphan, BY_SIGKILL),
        exit_at(&shell, EXIT_137, KILLED_NS + 5 * MS),
    ]));
    assert_eq!(
        ran.deaths()[1].caused_by.as_ref(),
        Some(&ran.deaths()[0].id)
    );
}

#[test]
fn an_exit_with_137_alone_is_caused_by_nobody() {
    let death = run(stream([exit(&victim(), EXIT_137)])).the_death();
    assert_eq!((death.cause, death.caused_by), (Cause::ExitCode, None));
}

#[test]
fn the_end_of_a_namespace_leads_back_to_its_init() {
    let init = process(3000, "init");
    let inner = child(&init, 3001, "inner");
    let path = [
        "__send_signal_locked",
        "do_send_sig_info",
        "zap_pid_ns_processes",
        "do_exit",
    ];
    // The init's own end is seen before it kills the others.
    let ran = run(stream([
        sigkill(&kill(&sender(), &init)),
        exit(&init, BY_SIGKILL),
        sigkill(&kernels(&path, &init, &inner)),
        exit_at(&inner, BY_SIGKILL, KILLED_NS + 2 * MS),
    ]));
    let [of_init, of_inner] = *ran.deaths() else {
        panic!("{ran:#?}")
    };
    assert_eq!(of_inner.cause, Cause::NamespaceExit);
    assert_eq!(of_inner.caused_by.as_ref(), Some(&of_init.id));
    // An init that ended by itself has no death to lead to.
    let ran = run(stream([
        sigkill(&kernels(&path, &init, &inner)),
        exit(&inner, BY_SIGKILL),
    ]));
    assert_eq!(ran.the_death().caused_by, None);
}

#[test]
fn the_victims_own_words_come_from_its_own_image() {
    let image = Event::Image(Image {
        boottime_ns: KILLED_NS + 1,
        victim: victim().group,
        argv: Some(Argv {
            args: vec!["victim".into(), "--all".into()],
            truncated: false,
        }),
    });
    let death: Death = run(stream([
        sigkill(&kill(&sender(), &victim())),
        image,
        exit(&victim(), BY_SIGKILL),
    ]))
    .the_death();
    assert_eq!(death.victim.argv.unwrap(), ["victim", "--all"]);
}

#[test]
fn losses_are_told_and_counted() {
    let ran = run(stream([
        lost("exit", 3, KILLED_NS, KILLED_NS + S),
        lost("sigkill", 4, KILLED_NS, KILLED_NS + S),
    ]));
    let gaps: Vec<u64> = ran
        .records()
        .filter_map(|record| match record {
            Record::Gap(gap) => Some(gap.lost),
            _ => None,
        })
        .collect();
    assert_eq!(gaps, [3, 4]);
    assert_eq!(ran.stopped().unwrap().lost, 7);
}

#[test]
fn without_a_session_there_is_nobody_to_write_for() {
    let ran = run([
        sigkill(&kill(&sender(), &victim())),
        exit(&victim(), BY_SIGKILL),
        stopped(KILLED_NS + S),
    ]);
    assert_eq!(ran.deaths().len(), 0);
}

#[test]
fn how_the_init_of_a_namespace_ended_is_told() {
    let path = [
        "__send_signal_locked",
        "do_send_sig_info",
        "zap_pid_ns_processes",
    ];
    let ended_with = |status: Option<i32>| {
        let init = Process {
            exit_code: status,
            ..process(3000, "init")
        };
        let inner = child(&init, 3001, "inner");
        run(stream([
            sigkill(&kernels(&path, &init, &inner)),
            exit(&inner, BY_SIGKILL),
        ]))
        .the_death()
    };
    let exited = ended_with(Some(5 << 8));
    assert_code(&exited, "init_exited");
    assert!(
        exited
            .evidence
            .iter()
            .any(|one| one.text.ends_with("status 5"))
    );
    let killed = ended_with(Some(BY_SIGKILL));
    assert_code(&killed, "init_killed");
    assert!(
        killed
            .evidence
            .iter()
            .any(|one| one.text.ends_with("SIGKILL"))
    );
    assert_code(&ended_with(None), "init_ended");
}

#[test]
fn a_status_that_is_passed_on_leads_back_to_where_it_began() {
    let entrypoint = process(3000, "entrypoint");
    let outer = child(&entrypoint, 3001, "bash");
    let inner = child(&outer, 3002, "sh");
    let job = child(&inner, 3003, "job");
    let ran = run(stream([
        sigkill(&kill(&sender(), &job)),
        exit(&job, BY_SIGKILL),
        exit_at(&inner, EXIT_137, KILLED_NS + 2 * MS),
        exit_at(&outer, EXIT_137, KILLED_NS + 3 * MS),
        exit_at(&entrypoint, EXIT_137, KILLED_NS + 4 * MS),
    ]));
    let deaths = ran.deaths();
    assert_eq!(deaths.len(), 4);
    for pair in deaths.windows(2) {
        assert_eq!(pair[1].cause, Cause::ExitCode);
        assert_eq!(pair[1].caused_by.as_ref(), Some(&pair[0].id));
    }
    // The first step names the killed child, the others where the chain began.
    assert!(
        deaths[1].summary.ends_with("job[3003] (manual_kill)"),
        "{}",
        deaths[1].summary
    );
    for later in &deaths[2..] {
        assert!(
            later
                .summary
                .ends_with("which began with job[3003] (manual_kill)"),
            "{}",
            later.summary
        );
    }
    // Its sibling's death is not its own child's.
    let sibling = child(&entrypoint, 3009, "sibling");
    let ran = run(stream([
        sigkill(&kill(&sender(), &job)),
        exit(&job, BY_SIGKILL),
        exit_at(&sibling, EXIT_137, KILLED_NS + 2 * MS),
    ]));
    assert_eq!(ran.deaths()[1].caused_by, None);
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
