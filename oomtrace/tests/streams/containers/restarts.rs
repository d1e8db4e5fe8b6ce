//! What runs again after a death that ended it.

use oomtrace::{
    event::{
        Event, Sigkill,
        container::{CgroupChangeKind, ContainerFacts},
    },
    provenance::{
        record::{Record, Restart},
        scope::Scope,
    },
};

use super::{
    ID, change, docker, emptied, facts, in_unit, init, made, oom, run, run_in, runc, says, web,
    worker,
};
use crate::support::{
    Ran, engine,
    make::{BY_SIGKILL, KILLED_NS, MS, S, exit, exit_at, kill, opening, sigkill, tick},
};

/// When it runs again.
const AGAIN_NS: u64 = KILLED_NS + 5 * S;
const NEXT: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const UNIT: &str = "/system.slice/job.service";

fn made_at(path: &str, boottime_ns: u64) -> Event {
    change(path, CgroupChangeKind::Made, boottime_ns)
}

fn restarts(ran: &Ran) -> Vec<&Restart> {
    ran.records()
        .filter_map(|record| match record {
            Record::Restart(restart) => Some(restart),
            _ => None,
        })
        .collect()
}

fn next_web() -> ContainerFacts {
    ContainerFacts {
        boottime_ns: AGAIN_NS + S,
        id: NEXT.to_owned(),
        ..web()
    }
}

#[test]
fn a_container_of_the_same_id_runs_again() {
    let victim = init(&docker());
    let ran = run([
        made(&docker()),
        facts(&web()),
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
        emptied(&docker(), KILLED_NS + 2 * MS),
        made_at(&docker(), AGAIN_NS),
        // In another hierarchy, and the run after that.
        made_at(&docker(), AGAIN_NS + MS),
        emptied(&docker(), AGAIN_NS + S),
        made_at(&docker(), AGAIN_NS + 2 * S),
    ]);
    let [restart] = restarts(&ran)[..] else {
        panic!("{:?}", restarts(&ran))
    };
    assert_eq!(restart.of, ran.deaths()[0].id);
    assert_eq!(restart.boottime_ns, AGAIN_NS);
    assert_eq!(
        restart.after_ms, 4_998,
        "from when the last process had gone"
    );
    assert_eq!(restart.container.as_ref().unwrap().id, ID);
    assert_eq!(
        restart.summary,
        "container web was started again, 5.0 s after it had ended"
    );
}

#[test]
fn a_container_that_was_made_anew_is_known_by_its_name() {
    let victim = init(&docker());
    let next = format!("/docker/{NEXT}");
    let killed = || {
        vec![
            made(&docker()),
            facts(&web()),
            sigkill(&oom(&victim)),
            exit(&victim, BY_SIGKILL),
            emptied(&docker(), KILLED_NS + 2 * MS),
        ]
    };
    let told = |then: Vec<_>| {
        let ran = run(killed().into_iter().chain(then));
        let restarts: Vec<Restart> = restarts(&ran).into_iter().cloned().collect();
        restarts
    };
    let [restart] = &told(vec![made_at(&next, AGAIN_NS), facts(&next_web())])[..] else {
        panic!()
    };
    assert_eq!(
        restart.summary,
        "container web was started again as another container, fedcba987654, 5.0 s after it had ended"
    );
    assert_eq!(restart.boottime_ns, AGAIN_NS, "not when its name came");
    assert_eq!(restart.container.as_ref().unwrap().id, NEXT);
    // Of another name, another runtime, in a pod; or there before it died.
    let pod = Some("web-0".to_owned());
    for other in [
        ContainerFacts {
            name: Some("db".to_owned()),
            ..next_web()
        },
        ContainerFacts {
            runtime: Some("podman".to_owned()),
            ..next_web()
        },
        ContainerFacts { pod, ..next_web() },
        ContainerFacts {
            name: None,
            ..next_web()
        },
    ] {
        assert_eq!(told(vec![made_at(&next, AGAIN_NS), facts(&other)]), []);
    }
    let earlier = made_at(&next, KILLED_NS - S);
    assert_eq!(told(vec![earlier, facts(&next_web())]), []);
}

/// The words of its runtime may come when the next container of its name runs already.
#[test]
fn a_death_that_is_written_again_is_not_followed_by_another_run() {
    let victim = init(&docker());
    let next = format!("/docker/{NEXT}");
    let third = format!("/docker/{}", NEXT.replace('f', "0"));
    let ran = run([
        made(&docker()),
        facts(&web()),
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
        emptied(&docker(), KILLED_NS + 2 * MS),
        made_at(&next, AGAIN_NS),
        facts(&next_web()),
        says(true, 137),
        made_at(&third, AGAIN_NS + 10 * S),
        facts(&ContainerFacts {
            id: NEXT.replace('f', "0"),
            ..next_web()
        }),
    ]);
    assert!(ran.deaths().len() > 1, "it was written again");
    assert_eq!(restarts(&ran).len(), 1);
}

#[test]
fn a_unit_runs_again() {
    let victim = in_unit(1000, "job");
    let ran = run([
        made(UNIT),
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
        emptied(UNIT, KILLED_NS + 2 * MS),
        made_at("/system.slice/other.service", AGAIN_NS),
        made_at(&format!("{UNIT}/below"), AGAIN_NS),
        made_at(UNIT, AGAIN_NS),
    ]);
    let [restart] = restarts(&ran)[..] else {
        panic!("{:?}", restarts(&ran))
    };
    assert_eq!(restart.unit.as_ref().unwrap().name, "job.service");
    assert_eq!(restart.container, None);
    assert_eq!(
        restart.summary,
        "job.service was started again, 5.0 s after it had ended"
    );
}

/// What goes along with the init is not what ended it.
#[test]
fn it_is_the_death_of_the_main_process_that_is_followed() {
    let (first, child) = (init(&docker()), worker(&docker()));
    let later = Sigkill {
        boottime_ns: KILLED_NS + 2 * MS,
        ..kill(&runc(), &child)
    };
    let ran = run([
        made(&docker()),
        facts(&web()),
        sigkill(&oom(&first)),
        exit(&first, BY_SIGKILL),
        sigkill(&later),
        exit_at(&child, BY_SIGKILL, KILLED_NS + 3 * MS),
        emptied(&docker(), KILLED_NS + 4 * MS),
        made_at(&docker(), AGAIN_NS),
    ]);
    let [restart] = restarts(&ran)[..] else {
        panic!("{:?}", restarts(&ran))
    };
    assert!(restart.of.contains("-1000-"), "{}", restart.of);
}

/// The end of the run decides, not the death alone: a worker of a container that goes on, an orphan
/// that systemd has adopted in a unit, a main process that was started again in the same cgroup.
#[test]
fn what_goes_on_has_not_ended() {
    let (worker, orphan) = (worker(&docker()), in_unit(1000, "job"));
    for (victim, cgroup, ended_after_ns, count) in [
        (&worker, docker(), 5 * S, 1),
        (&worker, docker(), 540 * S, 0),
        (&orphan, UNIT.to_owned(), 5 * S, 1),
        (&orphan, UNIT.to_owned(), 14 * 3600 * S, 0),
    ] {
        let ended_ns = KILLED_NS + ended_after_ns;
        let ran = run([
            made(&cgroup),
            sigkill(&oom(victim)),
            exit(victim, BY_SIGKILL),
            emptied(&cgroup, ended_ns),
            made_at(&cgroup, ended_ns + S),
        ]);
        let after: Vec<u64> = restarts(&ran).iter().map(|again| again.after_ms).collect();
        assert_eq!(after, vec![1_000; count], "{cgroup} {ended_after_ns}");
    }
    // It was never empty: another hierarchy's cgroup, for a limit that was set.
    let ran = run([
        made(UNIT),
        sigkill(&oom(&orphan)),
        exit(&orphan, BY_SIGKILL),
        made_at(UNIT, AGAIN_NS),
    ]);
    assert_eq!(restarts(&ran).len(), 0);
}

/// Long enough after it to be told how long in words.
#[test]
fn a_unit_of_a_timer_runs_again() {
    let victim = in_unit(1000, "job");
    let ran = run([
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
        emptied(UNIT, KILLED_NS + 2 * MS),
        made_at(UNIT, KILLED_NS + 14 * 3600 * S),
    ]);
    assert_eq!(
        restarts(&ran)[0].summary,
        "job.service was started again, 14 h after it had ended"
    );
}

/// Each run of a crash loop has its own, whatever comes late of the one before.
#[test]
fn a_late_word_of_an_older_death_takes_no_others_place() {
    let (first, second) = (docker(), format!("/docker/{NEXT}"));
    let third_id = NEXT.replace('f', "0");
    let third = format!("/docker/{third_id}");
    let victim = init(&first);
    let mut other = init(&second);
    other.group.tgid = 2000;
    other.group.start_ns = AGAIN_NS;
    let ran = run([
        made(&first),
        facts(&web()),
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
        emptied(&first, KILLED_NS + 2 * MS),
        made_at(&second, AGAIN_NS),
        facts(&next_web()),
        sigkill(&Sigkill {
            boottime_ns: AGAIN_NS + S,
            ..oom(&other)
        }),
        exit_at(&other, BY_SIGKILL, AGAIN_NS + S + MS),
        emptied(&second, AGAIN_NS + S + 2 * MS),
        says(true, 137),
        made_at(&third, AGAIN_NS + 2 * S),
        facts(&ContainerFacts {
            id: third_id,
            ..next_web()
        }),
    ]);
    let of: Vec<&str> = restarts(&ran).iter().map(|again| &*again.of).collect();
    assert_eq!(of.len(), 2, "{of:?}");
    assert!(
        of[0].contains("-1000-") && of[1].contains("-2000-"),
        "{of:?}"
    );
}

/// systemd starts a unit again after 100 ms; a death of which no SIGKILL was seen is written at the
/// next tick.
#[test]
fn a_death_that_is_written_late_is_followed_too() {
    let victim = in_unit(1000, "job");
    let ran = run([
        made(UNIT),
        exit(&victim, BY_SIGKILL),
        emptied(UNIT, KILLED_NS + 2 * MS),
        made_at(UNIT, KILLED_NS + 100 * MS),
        tick(KILLED_NS + S),
    ]);
    let [restart] = restarts(&ran)[..] else {
        panic!("{:?}", restarts(&ran))
    };
    assert_eq!(restart.after_ms, 98);
    // What a container is called may be known last of the one that died first.
    let (first, next) = (init(&docker()), format!("/docker/{NEXT}"));
    let ran = run([
        made(&docker()),
        sigkill(&oom(&first)),
        exit(&first, BY_SIGKILL),
        emptied(&docker(), KILLED_NS + 2 * MS),
        made_at(&next, AGAIN_NS),
        facts(&next_web()),
        facts(&web()),
    ]);
    assert_eq!(restarts(&ran).len(), 1);
}

/// The tracer's own end comes between a death and the next run.
#[test]
fn a_run_that_ended_under_another_tracer_is_followed() {
    let (unit, container) = (in_unit(3000, "job"), init(&docker()));
    let mut first = engine();
    let before = [
        made(UNIT),
        sigkill(&oom(&unit)),
        exit(&unit, BY_SIGKILL),
        emptied(UNIT, KILLED_NS + 2 * MS),
        made(&docker()),
        facts(&web()),
        sigkill(&oom(&container)),
        exit(&container, BY_SIGKILL),
        emptied(&docker(), KILLED_NS + 2 * MS),
    ];
    let mut told = Vec::new();
    for event in opening().into_iter().chain(before) {
        first.handle(event, &mut told);
    }
    let told = Ran(told);
    let left: Vec<_> = first.ended_runs().collect();
    assert_eq!(left.len(), 2, "{left:?}");

    let next = format!("/docker/{NEXT}");
    let after = [
        made_at(UNIT, AGAIN_NS),
        made_at(&next, AGAIN_NS + S),
        facts(&next_web()),
    ];
    let mut second = engine();
    let mut out = Vec::new();
    let left = left.into_iter().map(|run| Event::EndedRun(Box::new(run)));
    for event in opening().into_iter().chain(left).chain(after) {
        second.handle(event, &mut out);
    }
    assert_eq!(second.ended_runs().count(), 0);
    let out = Ran(out);
    let ids = |name: &str| {
        let of_it = told.deaths().into_iter();
        let mut of_it = of_it.filter(|death| death.victim.comm.as_deref() == Some(name));
        of_it.next().unwrap().id.clone()
    };
    let of: Vec<&str> = restarts(&out).iter().map(|again| &*again.of).collect();
    assert_eq!(of, [ids("job"), ids("nginx")]);
}

#[test]
fn whose_container_or_unit_it_is_is_told() {
    let user = |uid, id: &str| {
        let slice = format!("/user.slice/user-{uid}.slice/user@{uid}.service/user.slice");
        format!("{slice}/libpod-{id}.scope/container")
    };
    let podman = |facts: ContainerFacts| ContainerFacts {
        runtime: Some("podman".to_owned()),
        ..facts
    };
    let first = user(1000, ID);
    let first = first.trim_end_matches("/container");
    let victim = init(first);
    for (uid, count) in [(1000, 1), (1001, 0)] {
        let next = user(uid, NEXT);
        let next = next.trim_end_matches("/container");
        let ran = run([
            made(first),
            facts(&podman(web())),
            sigkill(&oom(&victim)),
            exit(&victim, BY_SIGKILL),
            emptied(first, KILLED_NS + 2 * MS),
            made_at(next, AGAIN_NS),
            facts(&podman(next_web())),
        ]);
        assert_eq!(restarts(&ran).len(), count, "{uid}");
    }
    let unit = format!("{}/system.slice/nginx.service", docker());
    let mut victim = in_unit(1000, "nginx");
    victim.memory_cgroup = Some(unit.clone());
    let ran = run([
        made(&docker()),
        facts(&web()),
        made(&unit),
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
        emptied(&unit, KILLED_NS + 2 * MS),
        made_at(&unit, AGAIN_NS),
    ]);
    let [restart] = restarts(&ran)[..] else {
        panic!("{:?}", restarts(&ran))
    };
    assert_eq!(
        restart.summary,
        "nginx.service in container web was started again, 5.0 s after it had ended"
    );
    assert_eq!(restart.container.as_ref().unwrap().id, ID);
}

#[test]
fn what_is_out_of_scope_is_not_told() {
    let victim = init(&docker());
    for (scope, count) in [("/docker", 1), ("/kubepods", 0)] {
        let scope = Scope::Below(scope.to_owned());
        let ran = run_in(
            scope,
            [
                made(&docker()),
                facts(&web()),
                sigkill(&oom(&victim)),
                exit(&victim, BY_SIGKILL),
                emptied(&docker(), KILLED_NS + 2 * MS),
                made_at(&docker(), AGAIN_NS),
            ],
        );
        assert_eq!(restarts(&ran).len(), count);
    }
}
