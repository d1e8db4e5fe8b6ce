//! What a container is called: known before its death, or after.

use oomtrace::{
    event::{
        Ancestor, Event, Group, Process,
        container::{ContainerFacts, ContainerUnknown, What},
    },
    provenance::record::Role,
};

use super::{ID, asks, docker, facts, init, made, name, oom, run, runc, web, worker};
use crate::support::{
    Ran,
    make::{BY_SIGKILL, KILLED_NS, MS, S, exit, kill, process, sigkill, tick},
};

#[test]
fn a_container_that_was_looked_up_in_time_is_named_at_once() {
    let victim = init(&docker());
    let ran = run([
        made(&docker()),
        facts(&web()),
        sigkill(&kill(&runc(), &victim)),
        exit(&victim, BY_SIGKILL),
    ]);
    assert_eq!(asks(&ran)[0].what, What::Facts);
    assert_eq!(asks(&ran)[0].id, ID);
    let first = ran.deaths()[0];
    assert_eq!(name(first), Some("web"));
    assert_eq!(first.victim.role, Some(Role::ContainerInit));
    assert_eq!(first.actor.name.as_deref(), Some("docker"));
    assert_eq!(first.outcome.unwrap().container_survived, Some(false));
    assert!(
        first
            .summary
            .starts_with("container web (nginx[1000]) was killed by docker"),
        "{}",
        first.summary
    );
    let actors_unit = first.actor.unit.as_ref().map(|unit| unit.name.as_str());
    assert_eq!(actors_unit, None, "no leaf was captured");
}

#[test]
fn a_death_is_written_at_once_and_named_later() {
    let victim = init(&docker());
    let ran = run([
        sigkill(&kill(&runc(), &victim)),
        exit(&victim, BY_SIGKILL),
        facts(&ContainerFacts {
            can_tell_end: false,
            ..web()
        }),
    ]);
    let [first, second] = ran.deaths()[..] else {
        panic!("{ran:#?}")
    };
    assert_eq!((name(first), first.is_final), (None, false));
    assert!(
        first.summary.contains("container 0123456789ab ("),
        "{}",
        first.summary
    );
    assert_eq!((name(second), second.is_final), (Some("web"), true));
    assert_eq!((first.revision, second.revision), (1, 2));
}

#[test]
fn nobody_is_waited_for_longer_than_ten_seconds() {
    let victim = init(&docker());
    let death = || [sigkill(&kill(&runc(), &victim)), exit(&victim, BY_SIGKILL)];
    let ran = run(death()
        .into_iter()
        .chain([tick(KILLED_NS + 9 * S), tick(KILLED_NS + 11 * S)]));
    assert_eq!(ran.deaths().len(), 2);
    assert!(ran.deaths()[1].is_final);
    let unknown = ContainerUnknown {
        boottime_ns: KILLED_NS,
        id: ID.to_owned(),
        of_end: false,
        why: "no runtime".to_owned(),
        is_busy: false,
    };
    let ran = run(death()
        .into_iter()
        .chain([Event::ContainerUnknown(unknown), tick(KILLED_NS + S)]));
    assert_eq!(ran.deaths().len(), 2);
}

#[test]
fn the_actors_unit_is_known_by_its_leaf() {
    let victim = init(&docker());
    let mut sender = runc();
    sender.ancestry[0].cgroup = Some("containerd.service".to_owned());
    let shim: &Ancestor = &sender.ancestry[0];
    assert_eq!(shim.comm, "containerd-shim");
    let ran = run([
        facts(&web()),
        sigkill(&kill(&sender, &victim)),
        exit(&victim, BY_SIGKILL),
    ]);
    let unit = ran.deaths()[0].actor.unit.clone().unwrap();
    assert_eq!(unit.name, "containerd.service");
}

#[test]
fn a_runtime_may_know_a_container_that_its_path_does_not_tell() {
    let path = "/somewhere/job-1";
    let victim = init(path);
    let known = ContainerFacts {
        id: "job-1".to_owned(),
        runtime: Some("runc".to_owned()),
        name: Some("job-1".to_owned()),
        ..web()
    };
    let death = || [sigkill(&kill(&runc(), &victim)), exit(&victim, BY_SIGKILL)];
    let ran = run([made(path), facts(&known)].into_iter().chain(death()));
    assert_eq!(asks(&ran)[0].id, "job-1");
    assert_eq!(name(ran.deaths()[0]), Some("job-1"));
    assert_eq!(ran.deaths()[0].victim.role, Some(Role::ContainerInit));
    let nobody = || {
        Event::ContainerUnknown(ContainerUnknown {
            boottime_ns: KILLED_NS,
            id: "job-1".to_owned(),
            of_end: false,
            why: "no runtime".to_owned(),
            is_busy: false,
        })
    };
    let ran = run([made(path), nobody()]
        .into_iter()
        .chain(death())
        .chain([nobody()]));
    let last = ran.deaths().last().copied().unwrap();
    assert!(last.is_final);
    assert_eq!(last.container, None);
    assert_eq!(last.victim.role, Some(Role::Host));

    let whether = |ran: &Ran| {
        let asks = asks(ran);
        let whether = asks.iter().filter(|ask| ask.what == What::Whether);
        whether.count()
    };
    // What tells that it is one was written only after its cgroup had been asked about.
    let ran = run([made(path), nobody()]
        .into_iter()
        .chain(death())
        .chain([facts(&known)]));
    assert_eq!(whether(&ran), 2);
    assert!(!ran.deaths()[0].is_final);
    let last = ran.deaths().last().copied().unwrap();
    assert_eq!(name(last), Some("job-1"));
    assert_eq!(last.victim.role, Some(Role::ContainerInit));

    // What runs among the node's own processes is none.
    let plain = Process {
        memory_cgroup: Some(path.to_owned()),
        ..process(2000, "worker")
    };
    let ran = run([
        made(path),
        nobody(),
        sigkill(&kill(&runc(), &plain)),
        exit(&plain, BY_SIGKILL),
    ]);
    assert_eq!(whether(&ran), 1);
    assert!(ran.the_death().is_final);

    // Where nobody knows it again and again, it is none.
    let others = (2000..2010).flat_map(|pid| {
        let victim = Process {
            group: Group {
                tgid: pid,
                ..init(path).group
            },
            ..init(path)
        };
        [
            sigkill(&kill(&runc(), &victim)),
            exit(&victim, BY_SIGKILL),
            nobody(),
        ]
    });
    let ran = run([made(path), nobody()].into_iter().chain(others));
    assert_eq!(whether(&ran), 3);
    assert!(ran.deaths().last().unwrap().is_final);
}

#[test]
fn clocks_that_jitter_are_no_news() {
    let victim = worker(&docker());
    let jitter = (1..200).map(|at| {
        let Event::Tick(mut tick) = tick(KILLED_NS + at * 500 * MS) else {
            panic!()
        };
        tick.realtime_ns += (at as i64 % 7) * 1_500;
        Event::Tick(tick)
    });
    let events = [
        made(&docker()),
        facts(&web()),
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
    ];
    let ran = run(events.into_iter().chain(jitter));
    let deaths = ran.deaths();
    assert_eq!(deaths.len(), 3, "first, goes on, the tracer stops");
    assert!(deaths.iter().all(|death| death.time == deaths[0].time));
}
