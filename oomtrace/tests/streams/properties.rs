//! No stream of events makes the state machine panic, lose a death, or tell one twice:
//! recorded streams in any order, with pieces doubled, missing or cut off, and streams of
//! made-up events.

use oomtrace::event::{
    Constraint, Event, Group, Image, InfoKind, MarkVictim, OomKill, Process, Sigkill, SignalResult,
    entry::{OomLine, ProcessState, Tick},
    memory::{CgroupUse, MemoryCurve, MemorySample, NodeMemory, Resident},
};
use proptest::{collection::vec, option, prelude::*, sample};

use crate::support::{
    cases, invariants,
    make::{
        ATTACHED_NS, CGROUP_OOM, GLOBAL_OOM, KILL, MS, S, SIGTERM, exit_at, kill, level, lost,
        opening, process, stack, stop, stopped,
    },
    recordings::ALL,
    run,
};

/// A recorded stream without its ends: session and attachment, and `Stopped`.
fn inner(recording: usize) -> &'static [Event] {
    let events = &ALL[recording].events;
    assert!(matches!(
        events[..2],
        [Event::Session(_), Event::Attached(_)]
    ));
    assert!(matches!(events.last(), Some(Event::Stopped(_))));
    &events[2..events.len() - 1]
}

fn between_the_ends(recording: usize, inner: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let events = &ALL[recording].events;
    let ends = events.last().cloned();
    events[..2]
        .iter()
        .cloned()
        .chain(inner)
        .chain(ends)
        .collect()
}

/// A recording, and its inner events in some order, each as often as is said.
fn shuffled() -> impl Strategy<Value = (usize, Vec<usize>)> {
    (0..ALL.len()).prop_flat_map(|recording| {
        let len = inner(recording).len();
        let times = prop_oneof![1 => Just(0_usize), 6 => Just(1), 1 => Just(2)];
        vec(times, len).prop_flat_map(move |times| {
            let indexes: Vec<usize> = times
                .iter()
                .enumerate()
                .flat_map(|(index, times)| std::iter::repeat_n(index, *times))
                .collect();
            (Just(recording), Just(indexes).prop_shuffle())
        })
    })
}

fn check(events: &[Event]) -> Result<(), TestCaseError> {
    let ran = run(events.iter().cloned());
    invariants::check(&ran).map_err(TestCaseError::fail)?;
    invariants::check_complete(events, &ran).map_err(TestCaseError::fail)
}

const TGIDS: u32 = 4;

/// Few processes, so that much happens to each; two of the same id.
fn group() -> impl Strategy<Value = Group> {
    (1..=TGIDS, 1..=2_u64).prop_map(|(tgid, life)| Group {
        tgid: 4000 + tgid,
        start_ns: ATTACHED_NS + life * S,
    })
}

fn task() -> impl Strategy<Value = Process> {
    let comm = sample::select(&["app", "bash", "kill", "runc", "systemd", "earlyoom"][..]);
    let live = option::of(0..3_i32);
    (group(), comm, live, any::<u8>()).prop_map(|(group, comm, live_threads, bits)| {
        let has = |bit: u8| bits & (1 << bit) != 0;
        let mut task = Process {
            group,
            live_threads,
            dumping_core: Some(has(0)),
            flags: Some(if has(1) { 4 } else { 0 }),
            tty: has(2).then(|| "pts0".to_owned()),
            ..process(group.tgid, comm)
        };
        if has(3) {
            task.memcg = vec![level(0xa, "/a/b"), level(0xb, "/a")];
        }
        if has(4) {
            task.ancestry.clear();
        }
        task
    })
}

/// Any time in half an hour, whatever the order of events.
fn time() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..2_000_u64).prop_map(|ms| ATTACHED_NS + 3 * S + ms * MS),
        1 => (0..2_000_u64).prop_map(|s| ATTACHED_NS + s * S),
        1 => any::<u64>(),
    ]
}

fn result() -> impl Strategy<Value = SignalResult> {
    prop_oneof![
        4 => Just(SignalResult::Delivered),
        1 => Just(SignalResult::Ignored),
        1 => Just(SignalResult::AlreadyPending),
        1 => any::<i32>().prop_map(SignalResult::Other),
    ]
}

const PATHS: &[&[&str]] = &[KILL, CGROUP_OOM, GLOBAL_OOM, &["no such function"]];

fn sigkill() -> impl Strategy<Value = Event> {
    let info = sample::select(&[InfoKind::None, InfoKind::Priv, InfoKind::Pointer][..]);
    let path = sample::select(PATHS);
    (
        task(),
        task(),
        time(),
        result(),
        info,
        option::of(path),
        any::<bool>(),
    )
        .prop_map(
            |(sender, victim, boottime_ns, result, info, path, stopped)| {
                let stops = if stopped {
                    vec![stop(SIGTERM, &sender, 3 * S)]
                } else {
                    Vec::new()
                };
                Event::Sigkill(Box::new(Sigkill {
                    boottime_ns,
                    result,
                    info,
                    stack: path.map(stack),
                    stops,
                    ..kill(&sender, &victim)
                }))
            },
        )
}

fn exit() -> impl Strategy<Value = Event> {
    let status = prop_oneof![
        6 => Just(9),
        1 => Just(9 | 0x80),
        2 => Just(137 << 8),
        1 => Just(0),
        1 => Just(11),
        1 => any::<i32>(),
    ];
    (task(), status, time()).prop_map(|(task, status, at_ns)| exit_at(&task, status, at_ns))
}

fn beside() -> impl Strategy<Value = Event> {
    let tids = || 4000..=4000 + TGIDS;
    prop_oneof![
        (time(), tids(), tids()).prop_map(|(boottime_ns, victim_tid, sender_tid)| {
            Event::MarkVictim(MarkVictim {
                boottime_ns,
                victim_tid,
                sender_tid,
            })
        }),
        (time(), tids(), any::<bool>()).prop_map(|(boottime_ns, sender_tid, is_memcg)| {
            Event::OomKill(Box::new(OomKill {
                boottime_ns,
                sender_tid,
                chosen_tgid: Some(sender_tid),
                constraint: Some(Constraint::Memcg),
                points: None,
                total_pages: None,
                gfp_mask: None,
                order: None,
                is_memcg: Some(is_memcg),
                limit: vec![level(0xa, "/a/b")],
            }))
        }),
        tids().prop_map(|tgid| Event::OomLine(OomLine {
            report: None,
            constraint: "CONSTRAINT_MEMCG".to_owned(),
            oom_memcg: Some("/a".to_owned()),
            task_memcg: None,
            tgid,
        })),
        (
            time(),
            vec((time(), any::<u64>(), option::of(any::<u64>())), 0..20)
        )
            .prop_map(|(boottime_ns, samples)| {
                Event::MemoryCurve(Box::new(MemoryCurve {
                    boottime_ns,
                    cgroup: "/a/b".to_owned(),
                    samples: samples
                        .into_iter()
                        .map(|(at, usage, working)| MemorySample(at, usage, working))
                        .collect(),
                    ..MemoryCurve::default()
                }))
            }),
        (time(), any::<u64>(), tids()).prop_map(|(boottime_ns, bytes, pid)| {
            Event::NodeMemory(Box::new(NodeMemory {
                boottime_ns,
                total_bytes: Some(bytes),
                largest: vec![Resident {
                    pid,
                    comm: "x".to_owned(),
                    rss_bytes: bytes,
                }],
                cgroups: vec![CgroupUse {
                    cgroup: "/a/b".to_owned(),
                    usage_bytes: bytes / 2,
                    own_bytes: bytes,
                }],
                ..NodeMemory::default()
            }))
        }),
        (time(), group()).prop_map(|(boottime_ns, victim)| {
            Event::Image(Image {
                boottime_ns,
                victim,
                argv: None,
            })
        }),
        (time(), time(), any::<u32>())
            .prop_map(|(from, to, count)| { lost("sigkill", u64::from(count), from, to) }),
        (time(), any::<i64>()).prop_map(|(boottime_ns, realtime_ns)| {
            Event::Tick(Tick {
                boottime_ns,
                realtime_ns,
            })
        }),
    ]
}

/// The answer to a question, asked or not.
fn state() -> impl Strategy<Value = Event> {
    (
        group(),
        time(),
        option::of(Just("D (disk sleep)".to_owned())),
    )
        .prop_map(|(group, boottime_ns, state)| {
            Event::ProcessState(ProcessState {
                tgid: group.tgid,
                start_ns: group.start_ns,
                boottime_ns,
                state,
                wait_channel: None,
                is_hidden: false,
            })
        })
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => sigkill(),
        4 => exit(),
        3 => beside(),
        1 => state(),
        1 => sample::select(opening()),
        1 => time().prop_map(stopped),
    ]
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn no_order_of_recorded_events_loses_or_doubles_a_death((recording, order) in shuffled()) {
        let inner = inner(recording);
        let events = order.iter().map(|index| inner[*index].clone());
        check(&between_the_ends(recording, events))?;
    }

    #[test]
    fn a_recorded_stream_may_end_anywhere(recording in 0..ALL.len(), cut in any::<sample::Index>()) {
        let inner = inner(recording);
        let events = inner[..cut.index(inner.len() + 1)].iter().cloned();
        check(&between_the_ends(recording, events))?;
    }

    #[test]
    fn with_its_ends_anywhere_no_death_is_told_twice(
        order in (0..ALL.len()).prop_flat_map(|recording| {
            let len = ALL[recording].events.len();
            (Just(recording), Just((0..len).chain(0..len).collect::<Vec<_>>()).prop_shuffle())
        }),
    ) {
        let (recording, order) = order;
        let mut events: Vec<Event> =
            order.iter().map(|index| ALL[recording].events[*index].clone()).collect();
        // What is counted is compared with the last word.
        events.retain(|event| !matches!(event, Event::Stopped(_)));
        let ran = run(events);
        invariants::check(&ran).map_err(TestCaseError::fail)?;
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn no_made_up_stream_loses_or_doubles_a_death(
        inner in vec(prop_oneof![4 => sigkill(), 4 => exit(), 3 => beside()], 0..24),
    ) {
        let mut events = opening();
        events.extend(inner);
        events.push(stopped(ATTACHED_NS + 100 * S));
        check(&events)?;
    }

    #[test]
    fn no_made_up_stream_at_all_makes_it_panic_or_breaks_the_revisions(
        events in vec(any_event(), 0..40),
    ) {
        let mut events = events;
        let ran = run(events.iter().cloned());
        invariants::check_revisions(&ran).map_err(TestCaseError::fail)?;
        // The same with proper ends.
        events.retain(|event| !matches!(event, Event::Stopped(_)));
        let events = opening().into_iter().chain(events).chain([stopped(ATTACHED_NS)]);
        invariants::check(&run(events)).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn the_same_stream_gives_the_same(events in vec(any_event(), 0..40)) {
        prop_assert_eq!(run(events.clone()).0, run(events).0);
    }
}
