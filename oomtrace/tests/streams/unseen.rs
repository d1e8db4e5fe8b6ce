//! Deaths of which no SIGKILL was seen: lost, too early, or never generated.

use oomtrace::{
    event::{Event, Group, Process, Sigkill, SignalResult},
    provenance::record::{ActorKind, Cause, Death, Mechanism},
};
use oomtrace_common::signals::{SI_TIMER, SIGKILL};
use proptest::prelude::*;

use crate::support::{
    assert_code, assert_no_code, cases, codes,
    make::{
        ATTACHED_NS, BY_SIGKILL, EXIT_137, KILLED_NS, MINUTE, MS, S, child, exit, exit_at, kill,
        lost, opening, process, sigkill, stream, tick,
    },
    recordings::ALL,
    run,
};

const STARTED_NS: u64 = KILLED_NS - 100 * S;
const ENDED_NS: u64 = KILLED_NS + MS;

/// Started and ended while the tracer ran.
fn victim() -> Process {
    Process {
        group: Group {
            tgid: 4000,
            start_ns: STARTED_NS,
        },
        ..process(4000, "victim")
    }
}

fn death(events: impl IntoIterator<Item = Event>) -> Death {
    run(stream(events)).the_death()
}

#[test]
fn with_nothing_lost_no_signal_was_generated() {
    let death = death([exit(&victim(), BY_SIGKILL)]);
    assert_eq!(
        (death.cause, death.mechanism),
        (Cause::Kernel, Mechanism::Kernel)
    );
    assert_eq!(death.actor.kind, ActorKind::Kernel);
    assert_eq!(codes(&death), ["no_signal_generated"]);
    assert_eq!(death.sender, None);
    assert_eq!(death.outcome.unwrap().latency_us, None);
}

#[test]
fn with_losses_over_its_life_it_is_unknown() {
    for (from_ns, to_ns) in [
        (STARTED_NS + S, STARTED_NS + 2 * S),
        (STARTED_NS - S, STARTED_NS),
        (ENDED_NS, ENDED_NS + S),
        (STARTED_NS - S, ENDED_NS + S),
    ] {
        let death = death([
            exit(&victim(), BY_SIGKILL),
            lost("sigkill", 7, from_ns, to_ns),
        ]);
        assert_eq!(
            (death.cause, death.mechanism),
            (Cause::Unknown, Mechanism::Unknown)
        );
        assert_eq!(death.actor.kind, ActorKind::Unknown);
        assert_eq!(codes(&death), ["events_lost"]);
        assert!(death.evidence[0].text.starts_with('7'));
    }
}

#[test]
fn losses_at_other_times_or_of_other_kinds_do_not_matter() {
    for loss in [
        lost("sigkill", 7, STARTED_NS - 2 * S, STARTED_NS - 1),
        lost("sigkill", 7, ENDED_NS + 1, ENDED_NS + S),
        lost("exit", 7, STARTED_NS, ENDED_NS),
    ] {
        let death = death([exit(&victim(), BY_SIGKILL), loss]);
        assert_eq!(codes(&death), ["no_signal_generated"]);
    }
}

#[test]
fn a_loss_is_no_excuse_where_the_killer_was_seen() {
    let sender = process(2000, "bash");
    let death = death([
        lost("sigkill", 7, STARTED_NS, ENDED_NS),
        sigkill(&kill(&sender, &victim())),
        exit(&victim(), BY_SIGKILL),
    ]);
    assert_eq!(death.cause, Cause::ManualKill);
}

#[test]
fn right_after_the_start_it_may_have_been_sent_before() {
    let old = process(4000, "victim");
    let end = |ns| death([exit_at(&old, BY_SIGKILL, ATTACHED_NS + ns)]);
    let soon = end(S);
    assert_eq!(soon.cause, Cause::Unknown);
    assert_eq!(codes(&soon), ["tracer_started_later"]);
    assert_eq!(codes(&end(MINUTE + 1)), ["no_signal_generated"]);
    // One that is younger than the tracer cannot have been killed before it.
    let young = Process {
        group: Group {
            tgid: 4000,
            start_ns: ATTACHED_NS,
        },
        ..old
    };
    let young = death([exit_at(&young, BY_SIGKILL, ATTACHED_NS + S)]);
    assert_eq!(codes(&young), ["no_signal_generated"]);
}

#[test]
fn it_is_judged_at_the_next_tick_when_losses_are_known() {
    let before = run(opening().into_iter().chain([exit(&victim(), BY_SIGKILL)]));
    assert_eq!(before.deaths().len(), 0);
    let ran = run(stream([
        exit(&victim(), BY_SIGKILL),
        lost("sigkill", 1, STARTED_NS, ENDED_NS),
        tick(ENDED_NS + S),
        lost("sigkill", 1, STARTED_NS, ENDED_NS),
    ]));
    assert_eq!(codes(&ran.the_death()), ["events_lost"]);
    // A SIGKILL that comes out of order until then is the killer still.
    let ran = run(stream([
        exit(&victim(), BY_SIGKILL),
        sigkill(&kill(&process(2000, "bash"), &victim())),
        tick(ENDED_NS + S),
    ]));
    assert_eq!(ran.the_death().cause, Cause::ManualKill);
}

#[test]
fn a_sigkill_without_effect_is_told_but_is_no_cause() {
    let without_effect = Sigkill {
        result: SignalResult::Ignored,
        ..kill(&process(2000, "bash"), &victim())
    };
    let death = death([sigkill(&without_effect), exit(&victim(), BY_SIGKILL)]);
    assert_eq!(death.cause, Cause::Kernel);
    assert_code(&death, "other_sigkill");
}

#[test]
fn a_pending_sigkill_was_generated_before_it_was_watched() {
    // It hung long before the tracer started, and was killed again since.
    let old = process(4000, "victim");
    let again = Sigkill {
        result: SignalResult::AlreadyPending,
        ..kill(&process(2000, "bash"), &old)
    };
    let death = death([sigkill(&again), exit(&old, BY_SIGKILL)]);
    assert_eq!(death.cause, Cause::Unknown);
    assert_no_code(&death, "no_signal_generated");
}

#[test]
fn absurd_counts_harm_nobody() {
    // A recording may say anything.
    let all = lost("sigkill", u64::MAX, STARTED_NS, ENDED_NS);
    let death = death([all.clone(), all, exit(&victim(), BY_SIGKILL)]);
    assert_eq!(death.cause, Cause::Unknown);
}

#[test]
fn a_status_of_137_needs_no_signal() {
    let death = death([
        exit(&victim(), EXIT_137),
        lost("sigkill", 7, STARTED_NS, ENDED_NS),
    ]);
    assert_eq!(death.cause, Cause::ExitCode);
    assert_eq!(codes(&death), ["exit_status_137"]);
}

proptest! {
    #![proptest_config(cases(128))]

    /// One recorded SIGKILL is dropped: its victim's death is told all the same, as a
    /// finding if nothing was lost, as unknown if something was.
    #[test]
    fn a_dropped_sigkill_is_never_a_guess(
        recording in 0..ALL.len(),
        which in any::<prop::sample::Index>(),
        counted in any::<bool>(),
    ) {
        let events = &ALL[recording].events;
        let killed: Vec<Group> = run(events.iter().cloned())
            .deaths()
            .iter()
            .filter(|death| death.sender.is_some())
            .map(|death| Group {
                tgid: death.victim.pid,
                start_ns: death.id.rsplit('-').next().and_then(|ns| ns.parse().ok()).unwrap(),
            })
            .collect();
        let victim = *which.get(&killed);
        let is_of_victim = |event: &Event| {
            matches!(event, Event::Sigkill(kill) if kill.victim.group == victim)
        };
        let at_ns = events
            .iter()
            .find_map(|event| match event {
                Event::Sigkill(kill) if kill.victim.group == victim => Some(kill.boottime_ns),
                _ => None,
            })
            .unwrap();
        let mut rest: Vec<Event> = events.iter().filter(|event| !is_of_victim(event)).cloned().collect();
        if counted {
            // With the session: the counters are read at their own time.
            rest.insert(2, lost("sigkill", 1, at_ns, at_ns));
        }
        let ran = run(rest);
        let of_victim: Vec<&Death> = ran
            .deaths()
            .into_iter()
            .filter(|death| death.id.ends_with(&format!("-{}-{}", victim.tgid, victim.start_ns)))
            .collect();
        prop_assert_eq!(of_victim.len(), 1);
        let death = of_victim[0];
        let told = (death.cause, &*death.evidence[0].code);
        if counted {
            prop_assert_eq!(told, (Cause::Unknown, "events_lost"));
        } else {
            // The kernel keeps a SIGKILL to the whole group among what waits for it.
            let unseen = [(Cause::Unknown, "sigkill_not_seen"), (Cause::Kernel, "no_signal_generated")];
            prop_assert!(unseen.contains(&told), "{:?}", told);
        }
    }
}

/// A timer's SIGKILL brings an entry for the queue of signals; nobody else's has one.
#[test]
fn a_queued_sigkill_is_a_timers_though_nobody_saw_it_sent() {
    let ended = |code: Option<i32>, more: Vec<Event>| {
        let mut waits = victim();
        waits.waiting.pending = Some(1 << (SIGKILL - 1));
        let mut end = exit(&waits, BY_SIGKILL);
        if let Event::Exit(end) = &mut end {
            end.queued_kill = code;
        }
        death(more.into_iter().chain([end]))
    };
    let timed = ended(Some(SI_TIMER), Vec::new());
    assert_eq!(
        (timed.cause, timed.mechanism, timed.actor.kind),
        (Cause::OwnTimer, Mechanism::PosixTimer, ActorKind::Kernel)
    );
    assert_code(&timed, "timer_signal_queued");
    assert!(timed.summary.contains("POSIX timer"), "{}", timed.summary);
    let lossy = ended(Some(SI_TIMER), vec![lost("sigkill", 1, 0, u64::MAX)]);
    assert_eq!(lossy.cause, Cause::OwnTimer);
    for code in [None, Some(0)] {
        let unseen = ended(code, Vec::new());
        assert_eq!(unseen.cause, Cause::Unknown);
        assert_code(&unseen, "sigkill_not_seen");
    }
}

#[test]
fn seccomp_and_a_ptracer_explain_a_death_without_a_signal() {
    let ended = |seccomp_mode, ptracer: Option<&Process>| {
        let mut end = exit(
            &Process {
                seccomp_mode,
                ..victim()
            },
            BY_SIGKILL,
        );
        if let (Event::Exit(end), Some(ptracer)) = (&mut end, ptracer) {
            end.ptracer = child(ptracer, 1, "").ancestry.first().cloned();
        }
        death([end])
    };
    for mode in [1, 3] {
        let strict = ended(Some(mode), None);
        assert_eq!(
            (strict.cause, strict.mechanism),
            (Cause::Kernel, Mechanism::Seccomp)
        );
        assert_code(&strict, "seccomp_strict");
    }
    // A filter's kill is a SIGSYS.
    assert_eq!(ended(Some(2), None).mechanism, Mechanism::Kernel);
    let injected = ended(Some(0), Some(&process(2000, "gdb")));
    assert_eq!(
        (injected.cause, injected.mechanism),
        (Cause::Kernel, Mechanism::Ptrace)
    );
    assert_code(&injected, "ptrace_injected");
    assert_eq!(injected.actor.comm.as_deref(), Some("gdb"));
}
