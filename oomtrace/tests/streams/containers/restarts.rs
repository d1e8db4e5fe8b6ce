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
    Ran,
    make::{BY_SIGKILL, KILLED_NS, MS, S, exit, exit_at, kill, sigkill},
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
        restart.after_ms, 4_999,
        "from the end, not from the SIGKILL"
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
    assert_eq!(restart.unit.as_deref(), Some("job.service"));
    assert_eq!(restart.container, None);
    assert_eq!(
        restart.summary,
        "job.service was started again, 5.0 s after it had ended"
    );
}

/// A child that dies need not end anything; and what goes along with the init is not what
/// ended it.
#[test]
fn it_is_the_death_of_the_main_process_that_is_followed() {
    let (first, child) = (init(&docker()), worker(&docker()));
    let later = |victim: &_, at_ns| Sigkill {
        boottime_ns: at_ns,
        ..kill(&runc(), victim)
    };
    let ran = run([
        made(&docker()),
        facts(&web()),
        sigkill(&oom(&first)),
        exit(&first, BY_SIGKILL),
        sigkill(&later(&child, KILLED_NS + 2 * MS)),
        exit_at(&child, BY_SIGKILL, KILLED_NS + 3 * MS),
        emptied(&docker(), KILLED_NS + 4 * MS),
        made_at(&docker(), AGAIN_NS),
    ]);
    let [restart] = restarts(&ran)[..] else {
        panic!("{:?}", restarts(&ran))
    };
    assert!(restart.of.contains("-1000-"), "{}", restart.of);
    // An hour after a child died, something else has ended it.
    for (after_ns, count) in [(5 * S, 1), (3600 * S, 0)] {
        let ran = run([
            made(&docker()),
            facts(&web()),
            sigkill(&oom(&child)),
            exit(&child, BY_SIGKILL),
            emptied(&docker(), KILLED_NS + after_ns - S),
            made_at(&docker(), KILLED_NS + after_ns),
        ]);
        assert_eq!(restarts(&ran).len(), count, "{after_ns}");
    }
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
