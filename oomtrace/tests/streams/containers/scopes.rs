//! Whose deaths are told.

use oomtrace::{
    event::{
        Event,
        container::{CgroupChange, CgroupChangeKind, ContainerFacts, ContainerUnknown},
    },
    identity::target::Target,
    provenance::{Output, scope::Scope},
};

use super::{ID, asks, change, docker, facts, init, made, name, pod, run_in, runc, web};
use crate::support::{
    Ran, assert_code, assert_no_code,
    make::{BY_SIGKILL, KILLED_NS, S, exit, kill, sigkill, tick},
};

fn scoped(target: &str) -> Scope {
    Scope::Target(Target::parse(target).unwrap())
}

#[test]
fn a_scope_by_name_waits_for_the_name() {
    let victim = init(&docker());
    let events = |facts: Event| {
        [
            made(&docker()),
            sigkill(&kill(&runc(), &victim)),
            exit(&victim, BY_SIGKILL),
            facts,
        ]
    };
    let ran = run_in(scoped("container:web"), events(facts(&web())));
    assert_eq!(ran.deaths()[0].revision, 1);
    assert_eq!(name(ran.deaths()[0]), Some("web"));
    let held = |ran: &Ran| {
        ran.0.iter().find_map(|output| match output {
            Output::Scope { held, .. } => Some(*held),
            _ => None,
        })
    };
    assert_eq!(held(&ran), Some(true));
    let other = ContainerFacts {
        name: Some("db".to_owned()),
        ..web()
    };
    let ran = run_in(scoped("container:web"), events(facts(&other)));
    assert_eq!(ran.deaths().len(), 0);
    assert_eq!(held(&ran), Some(false));
    assert_eq!(ran.stopped().unwrap().deaths, 0);
}

fn decisions(ran: &Ran) -> Vec<bool> {
    let held = |output: &Output| match output {
        Output::Scope { held, .. } => Some(*held),
        _ => None,
    };
    ran.0.iter().filter_map(held).collect()
}

#[test]
fn a_container_that_only_its_runtime_knows_can_be_a_scope() {
    let path = "/somewhere/job-1";
    let known = ContainerFacts {
        id: "job-1".to_owned(),
        runtime: Some("runc".to_owned()),
        name: Some("job-1".to_owned()),
        ..web()
    };
    let nobody = || {
        Event::ContainerUnknown(ContainerUnknown {
            boottime_ns: KILLED_NS,
            id: "job-1".to_owned(),
            of_end: false,
            why: "no runtime".to_owned(),
            is_busy: false,
        })
    };
    // In it, and in a cgroup below it; made after the start, and there before it.
    for (kind, victim) in [
        (CgroupChangeKind::Made, init(path)),
        (CgroupChangeKind::Found, init(path)),
        (CgroupChangeKind::Found, init(&format!("{path}/below"))),
    ] {
        let events = |answer: Event| {
            [
                change(path, kind, KILLED_NS - S),
                sigkill(&kill(&runc(), &victim)),
                exit(&victim, BY_SIGKILL),
                answer,
                tick(KILLED_NS + S),
            ]
        };
        let ran = run_in(scoped("container:job-1"), events(facts(&known)));
        assert_eq!(asks(&ran)[0].id, "job-1");
        assert_eq!(decisions(&ran), [true]);
        assert_eq!(ran.deaths()[0].revision, 1);
        assert_no_code(ran.deaths()[0], "scope_unknown");
        let ran = run_in(scoped("job-1"), events(nobody()));
        assert_eq!(decisions(&ran), [false]);
        assert_eq!(ran.deaths().len(), 0);
        // No unit and no cgroup is that.
        let ran = run_in(scoped("unit:job-1"), events(facts(&known)));
        assert_eq!(decisions(&ran), [false]);
        assert_eq!(ran.deaths().len(), 0);
    }
}

#[test]
fn a_question_that_found_no_room_decides_nothing() {
    for path in [docker(), format!("/somewhere/{ID}")] {
        let busy = Event::ContainerUnknown(ContainerUnknown {
            boottime_ns: KILLED_NS,
            id: ID.to_owned(),
            of_end: false,
            why: "too many".to_owned(),
            is_busy: true,
        });
        let made = change(&path, CgroupChangeKind::Made, KILLED_NS);
        let again = tick(KILLED_NS + 6 * S);
        let ran = run_in(scoped("container:web"), [made, busy, again, facts(&web())]);
        assert_eq!(asks(&ran).len(), 2, "{path}");
        assert_eq!(decisions(&ran), [true], "{path}");
    }
}

#[test]
fn a_pod_is_not_decided_about_before_it_is_known() {
    let victim = init(&pod());
    let first = ContainerFacts {
        is_final: false,
        ..web()
    };
    let last = |pod: &str| ContainerFacts {
        pod: Some(pod.to_owned()),
        ..web()
    };
    for (target, told) in [("pod:web-1", 1), ("web-1", 1), ("pod:web-2", 0)] {
        let ran = run_in(
            scoped(target),
            [
                made(&pod()),
                facts(&first),
                sigkill(&kill(&runc(), &victim)),
                exit(&victim, BY_SIGKILL),
                facts(&last("web-1")),
            ],
        );
        assert_eq!(decisions(&ran), [told == 1], "{target}");
        assert_eq!(ran.stopped().unwrap().deaths, told, "{target}");
        if let Some(death) = ran.deaths().first() {
            assert_eq!(death.revision, 1, "{target}");
            assert_no_code(death, "scope_unknown");
        }
    }
}

#[test]
fn a_death_in_what_nobody_names_is_told_after_a_while() {
    let victim = init(&docker());
    let events = |answer_ns: u64, answer: Option<Event>| {
        let ticks = (1..12).map(|second| tick(KILLED_NS + second * S));
        let (before, after): (Vec<_>, Vec<_>) = ticks
            .partition(|tick| matches!(tick, Event::Tick(tick) if tick.boottime_ns < answer_ns));
        [
            made(&docker()),
            sigkill(&kill(&runc(), &victim)),
            exit(&victim, BY_SIGKILL),
        ]
        .into_iter()
        .chain(before)
        .chain(answer)
        .chain(after)
        .collect::<Vec<_>>()
    };
    let ran = run_in(scoped("container:web"), events(KILLED_NS + 20 * S, None));
    assert_code(&ran.the_death(), "scope_unknown");
    assert_eq!(ran.the_death().revision, 1);
    // As long as that its container's name is waited for.
    let late = Some(facts(&web()));
    let ran = run_in(scoped("container:web"), events(KILLED_NS + 8 * S, late));
    assert_no_code(ran.deaths()[0], "scope_unknown");
    let other = ContainerFacts {
        name: Some("db".to_owned()),
        ..web()
    };
    let late = Some(facts(&other));
    let ran = run_in(scoped("container:web"), events(KILLED_NS + 8 * S, late));
    assert_eq!(ran.deaths().len(), 0);
}

#[test]
fn a_cgroup_is_meant_in_its_own_hierarchy() {
    let found = |unified: bool, path: &str| {
        Event::Cgroup(CgroupChange {
            boottime_ns: KILLED_NS,
            path: path.to_owned(),
            cgroup_id: 77,
            unified,
            kind: CgroupChangeKind::Made,
        })
    };
    let ran = run_in(scoped("cgroup:/a"), [found(true, "/a"), found(false, "/b")]);
    let keys: Vec<_> = ran
        .0
        .iter()
        .filter_map(|output| match output {
            Output::Scope { cgroup, held } => Some((cgroup.id, cgroup.unified, *held)),
            _ => None,
        })
        .collect();
    assert_eq!(keys, [(77, 1, true), (77, 0, false)]);
}

#[test]
fn what_is_out_of_scope_is_not_told() {
    let victim = init(&docker());
    let death = || [sigkill(&kill(&runc(), &victim)), exit(&victim, BY_SIGKILL)];
    for (scope, told) in [
        (Scope::Below("/docker".to_owned()), true),
        (Scope::Below("/kubepods".to_owned()), false),
        (scoped("cgroup:/docker"), true),
        (scoped("unit:nginx"), false),
        (scoped("container:0123456789ab"), true),
    ] {
        let ran = run_in(scope.clone(), death());
        assert_eq!(!ran.deaths().is_empty(), told, "{scope:?}");
    }
}
