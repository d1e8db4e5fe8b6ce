//! What became of a container, what its runtime says of that, and which limit it was.

use oomtrace::{
    event::{
        Event, MemcgLevel, Sigkill,
        container::{CgroupChangeKind, ContainerFacts, ContainerState, What},
    },
    provenance::record::{Cause, Death, Role},
};

use super::{
    ID, POD, asks, change, docker, emptied, facts, init, made, oom, pod, run, runc, says, web,
    worker,
};
use crate::support::{
    assert_code, assert_no_code,
    make::{
        BY_SIGKILL, KILLED_NS, MS, S, SIGTERM, exit, exit_at, kill, level, sigkill, stop, tick,
    },
};

#[test]
fn a_container_that_goes_on_without_its_child_is_said_so() {
    let victim = worker(&docker());
    let ran = run([
        made(&docker()),
        facts(&web()),
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
        tick(KILLED_NS + 500 * MS),
        tick(KILLED_NS + 1500 * MS),
    ]);
    let deaths = ran.deaths();
    assert_eq!(deaths[0].outcome.unwrap().container_survived, None);
    assert_eq!(deaths[0].victim.role, Some(Role::Child));
    assert_eq!(deaths[1].outcome.unwrap().container_survived, Some(true));
    let summary = &deaths[1].summary;
    assert!(
        summary.starts_with("tail[1001] in container web was chosen"),
        "{summary}"
    );
    assert!(
        summary.ends_with("the container goes on without it"),
        "{summary}"
    );
}

#[test]
fn what_the_runtime_says_of_a_child_is_checked() {
    let victim = worker(&docker());
    let ran = run([
        made(&docker()),
        facts(&web()),
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
        emptied(&docker(), KILLED_NS + 300 * MS),
        says(true, 3),
    ]);
    let asked = asks(&ran)
        .iter()
        .filter(|ask| ask.what != What::Facts)
        .count();
    assert_eq!(asked, 1, "its end is asked for once");
    let last = *ran.deaths().last().unwrap();
    assert!(last.is_final);
    assert!(
        last.summary.ends_with("the container ended 299 ms later"),
        "{}",
        last.summary
    );
    let says = last.runtime_says.as_ref().unwrap();
    assert!(!says.agrees, "{says:#?}");
    assert_eq!(says.words, "OOMKilled=true, ExitCode=3");
    assert!(says.why.contains("with status 3"), "{}", says.why);
}

#[test]
fn a_counter_that_is_never_set_back_is_seen_through() {
    let (init, worker) = (init(&docker()), worker(&docker()));
    let later = KILLED_NS + 100 * S;
    let plain = Sigkill {
        boottime_ns: later,
        ..kill(&runc(), &init)
    };
    let ran = run([
        made(&docker()),
        facts(&web()),
        sigkill(&oom(&worker)),
        exit(&worker, BY_SIGKILL),
        tick(KILLED_NS + 2 * S),
        sigkill(&plain),
        exit_at(&init, BY_SIGKILL, later + MS),
        emptied(&docker(), later + 2 * MS),
        says(true, 137),
    ]);
    let of_init = |death: &&&Death| death.victim.pid == 1000;
    let deaths = ran.deaths();
    let last = deaths.iter().rfind(of_init).unwrap();
    let says = last.runtime_says.as_ref().unwrap();
    assert!(!says.agrees);
    assert!(says.why.contains("tail[1001]"), "{}", says.why);
    assert_eq!(last.cause, Cause::SupervisorKill);
}

#[test]
fn a_runtime_that_is_right_is_said_to_be() {
    let victim = init(&docker());
    let end = |cause: Sigkill, word: Event| {
        let ran = run([
            made(&docker()),
            facts(&web()),
            sigkill(&cause),
            exit(&victim, BY_SIGKILL),
            word,
        ]);
        let last = (*ran.deaths().last().unwrap()).clone();
        last.runtime_says.unwrap().agrees
    };
    assert!(end(oom(&victim), says(true, 137)));
    assert!(!end(oom(&victim), says(false, 137)));
    assert!(end(kill(&runc(), &victim), says(false, 137)));
    assert!(!end(kill(&runc(), &victim), says(true, 137)));
    assert!(!end(kill(&runc(), &victim), says(false, 0)));
}

#[test]
fn a_grace_shorter_than_configured_is_said_so() {
    let victim = init(&docker());
    let stopped = |grace_ns: u64| {
        let mut asker = runc();
        asker.group.tgid = 3999;
        let kill = Sigkill {
            stops: vec![stop(SIGTERM, &asker, grace_ns)],
            ..kill(&runc(), &victim)
        };
        let ran = run([
            made(&docker()),
            facts(&web()),
            sigkill(&kill),
            exit(&victim, BY_SIGKILL),
        ]);
        ran.deaths()[0].clone()
    };
    let short = stopped(2 * S);
    assert_eq!(short.cause, Cause::StopTimeout);
    assert_eq!(
        short.stop.as_ref().unwrap().configured_grace_ms,
        Some(10_000)
    );
    assert_code(&short, "grace_shorter");
    assert!(
        short.summary.contains("10.0 s was configured"),
        "{}",
        short.summary
    );
    // What it had no time for is no fault of its own.
    let codes = |death: &Death| {
        let codes = death.advice.iter().map(|advice| advice.code.clone());
        codes.collect::<Vec<String>>()
    };
    assert_eq!(codes(&short), ["stop_forced"]);
    let text = &short.advice[0].text;
    for words in ["2.0 s of the 10.0 s", "stop -t"] {
        assert!(text.contains(words), "{text}");
    }
    let whole = stopped(10 * S + 20 * MS);
    assert_no_code(&whole, "grace_shorter");
    assert_eq!(codes(&whole), ["stop_faster"]);
}

#[test]
fn the_pods_limit_is_told_from_its_containers() {
    let mut victim = init(&pod());
    let full = |address: u64, path: &str, usage: u64| MemcgLevel {
        usage_pages: Some(usage),
        max_pages: Some(16_384),
        ..level(address, path)
    };
    victim.memcg = vec![full(1, &pod(), 16_383), full(2, POD, 16_384), level(3, "/")];
    victim.memcg[1].oom_events = Some(1);
    let ran = run([
        made(&pod()),
        facts(&ContainerFacts {
            pod: Some("web-1".to_owned()),
            namespace: Some("shop".to_owned()),
            runtime: Some("containerd".to_owned()),
            ..web()
        }),
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
    ]);
    let death = ran.deaths()[0];
    let oom = death.oom.as_ref().unwrap();
    assert_eq!(oom.limit_of.as_deref(), Some("pod"));
    let of: Vec<_> = oom.levels.iter().map(|level| level.of.as_deref()).collect();
    assert_eq!(of, [Some("container"), Some("pod"), Some("root")]);
    assert_eq!(oom.levels[1].name.as_deref(), Some("shop/web-1"));
    assert_code(death, "pod_and_container_limit");
    assert!(
        death
            .summary
            .contains("container web of pod shop/web-1 (nginx[1000])")
            && death
                .summary
                .contains("of the whole pod shop/web-1 was hit"),
        "{}",
        death.summary
    );
}

/// crun's limit is on a cgroup below the scope that systemd made for the container.
#[test]
fn the_limit_that_crun_sets_is_the_containers() {
    let scope = format!("/machine.slice/libpod-{ID}.scope");
    let own = format!("{scope}/container");
    let mut victim = init(&own);
    let full = MemcgLevel {
        usage_pages: Some(16_384),
        max_pages: Some(16_384),
        oom_events: Some(1),
        ..level(1, &own)
    };
    victim.memcg = vec![full, level(2, &scope), level(3, "/")];
    let ran = run([
        made(&scope),
        facts(&web()),
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
    ]);
    let death = ran.deaths()[0];
    let oom = death.oom.as_ref().unwrap();
    assert_eq!(oom.limit_of.as_deref(), Some("container"));
    assert!(
        death.summary.contains("the container's memory limit of"),
        "{}",
        death.summary
    );
}

#[test]
fn a_container_that_was_started_again_tells_nothing_of_the_run_before() {
    let (first, child) = (init(&docker()), worker(&docker()));
    let again = KILLED_NS + 5 * S;
    let ran = run([
        made(&docker()),
        facts(&ContainerFacts {
            init_pid: Some(1000),
            ..web()
        }),
        sigkill(&oom(&child)),
        exit(&child, BY_SIGKILL),
        sigkill(&kill(&runc(), &first)),
        exit(&first, BY_SIGKILL),
        emptied(&docker(), KILLED_NS + 2 * MS),
        change(&docker(), CgroupChangeKind::Made, again),
        // The answer to what was asked of the first run comes late.
        says(true, 137),
    ]);
    for death in ran.deaths() {
        assert_eq!(death.runtime_says, None);
    }
    let finals = ran.deaths().iter().filter(|death| death.is_final).count();
    assert_eq!(finals, 2);
    // The next run has another init.
    let mut next = init(&docker());
    next.group.tgid = 1111;
    next.group.start_ns = again;
    let later = Sigkill {
        boottime_ns: again + 10 * S,
        ..kill(&runc(), &next)
    };
    let ran = run([
        made(&docker()),
        facts(&ContainerFacts {
            init_pid: Some(1000),
            ..web()
        }),
        emptied(&docker(), KILLED_NS),
        change(&docker(), CgroupChangeKind::Made, again),
        sigkill(&later),
        exit_at(&next, BY_SIGKILL, again + 10 * S + MS),
    ]);
    assert_eq!(ran.deaths()[0].victim.role, Some(Role::ContainerInit));
}

#[test]
fn a_container_that_runs_again_already_says_nothing_of_its_init() {
    let victim = init(&docker());
    let Event::ContainerState(state) = says(false, 0) else {
        panic!()
    };
    let runs = ContainerState {
        running: Some(true),
        exit_code: None,
        ..state
    };
    let ran = run([
        made(&docker()),
        facts(&web()),
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
        Event::ContainerState(runs),
        tick(KILLED_NS + 5 * S),
    ]);
    assert_eq!(ran.deaths().last().unwrap().runtime_says, None);
}
