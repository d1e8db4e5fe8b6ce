//! Deaths in containers and units: names that come before or after, what became of the
//! container, what its runtime says of it, whose deaths are told.

use oomtrace::{
    event::{
        Ancestor, Event, Group, MemcgLevel, Process, Sigkill,
        container::{
            Ask, CgroupChange, CgroupChangeKind, ContainerFacts, ContainerState, ContainerUnknown,
            What,
        },
    },
    identity::target::Target,
    provenance::{
        Output,
        record::{Cause, Death, Role},
        scope::Scope,
    },
};

use crate::support::{
    Ran, assert_code, assert_no_code, engine, invariants,
    make::{
        BY_SIGKILL, CGROUP_OOM, KILLED_NS, MS, S, SIGTERM, child, exit, exit_at, kernels, kill,
        level, opening, process, sigkill, stop, stopped, tick,
    },
};

/// When the containers' cgroups are made.
const MADE_NS: u64 = KILLED_NS - 10 * S;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn docker() -> String {
    format!("/docker/{ID}")
}

const POD: &str = "/kubepods/burstable/pod8d4b1b0a-98d1-4d5e-8b8e-8c1b2d3e4f50";

fn pod() -> String {
    format!("{POD}/{ID}")
}

fn shim() -> Process {
    let mut shim = process(700, "containerd-shim");
    shim.exe = Some("/usr/bin/containerd-shim-runc-v2".to_owned());
    shim.memory_cgroup = Some("/system.slice/containerd.service".to_owned());
    shim
}

fn runc() -> Process {
    let mut runc = child(&shim(), 4000, "runc");
    runc.exe = Some("/usr/bin/runc".to_owned());
    runc
}

/// The container's process 1.
fn init(cgroup: &str) -> Process {
    let mut init = child(&shim(), 1000, "nginx");
    init.ns_tgid = Some(1);
    init.ns_level = 1;
    init.memory_cgroup = Some(cgroup.to_owned());
    init
}

fn worker(cgroup: &str) -> Process {
    let mut worker = child(&init(cgroup), 1001, "tail");
    worker.ns_tgid = Some(7);
    worker.ns_level = 1;
    worker.memory_cgroup = Some(cgroup.to_owned());
    worker
}

fn systemd() -> Process {
    let mut systemd = process(1, "systemd");
    systemd.ancestry.clear();
    systemd.exe = Some("/usr/lib/systemd/systemd".to_owned());
    systemd
}

/// A process that systemd has started for a unit.
fn in_unit(tgid: u32, comm: &str) -> Process {
    let mut process = child(&systemd(), tgid, comm);
    process.memory_cgroup = Some("/system.slice/job.service".to_owned());
    process
}

fn change(path: &str, kind: CgroupChangeKind, boottime_ns: u64) -> Event {
    Event::Cgroup(CgroupChange {
        boottime_ns,
        path: path.to_owned(),
        cgroup_id: 77,
        unified: true,
        kind,
    })
}

fn made(path: &str) -> Event {
    change(path, CgroupChangeKind::Made, MADE_NS)
}

fn emptied(path: &str, boottime_ns: u64) -> Event {
    change(path, CgroupChangeKind::Emptied, boottime_ns)
}

fn web() -> ContainerFacts {
    ContainerFacts {
        boottime_ns: KILLED_NS,
        id: ID.to_owned(),
        runtime: Some("docker".to_owned()),
        name: Some("web".to_owned()),
        image: Some("nginx:1.25".to_owned()),
        stop_grace_ms: Some(10_000),
        can_tell_end: true,
        is_final: true,
        ..ContainerFacts::default()
    }
}

fn facts(facts: &ContainerFacts) -> Event {
    Event::ContainerFacts(Box::new(facts.clone()))
}

fn says(oom_killed: bool, exit_code: i32) -> Event {
    Event::ContainerState(ContainerState {
        boottime_ns: KILLED_NS + S,
        id: ID.to_owned(),
        since_ns: MADE_NS,
        runtime: "docker".to_owned(),
        running: Some(false),
        exit_code: Some(exit_code),
        oom_killed: Some(oom_killed),
        words: format!("OOMKilled={oom_killed}, ExitCode={exit_code}"),
        source: "a test".to_owned(),
    })
}

fn oom(victim: &Process) -> Sigkill {
    kernels(CGROUP_OOM, victim, victim)
}

fn run_in(scope: Scope, events: impl IntoIterator<Item = Event>) -> Ran {
    let mut engine = engine();
    engine.set_scope(scope);
    let mut out = Vec::new();
    let last = stopped(KILLED_NS + 1000 * S);
    for event in opening().into_iter().chain(events).chain([last]) {
        engine.handle(event, &mut out);
    }
    let ran = Ran(out);
    invariants::check(&ran).unwrap();
    ran
}

fn run(events: impl IntoIterator<Item = Event>) -> Ran {
    run_in(Scope::Node, events)
}

fn asks(ran: &Ran) -> Vec<&Ask> {
    ran.0
        .iter()
        .filter_map(|output| match output {
            Output::AskContainer(ask) => Some(ask),
            _ => None,
        })
        .collect()
}

fn name(death: &Death) -> Option<&str> {
    death.container.as_ref()?.name.as_deref()
}

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
    let whole = stopped(10 * S + 20 * MS);
    assert_no_code(&whole, "grace_shorter");
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
    assert_eq!(oom.limit_of, Some("pod"));
    let of: Vec<_> = oom.levels.iter().map(|level| level.of).collect();
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

#[test]
fn the_rest_of_a_unit_is_linked_to_its_oom() {
    let systemd = systemd();
    let (victim, rest) = (in_unit(1200, "hog"), in_unit(1201, "sleep"));
    let later = Sigkill {
        boottime_ns: KILLED_NS + S,
        ..kill(&systemd, &rest)
    };
    let ran = run([
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
        sigkill(&later),
        exit_at(&rest, BY_SIGKILL, KILLED_NS + S + MS),
    ]);
    let [first, second] = ran.deaths()[..] else {
        panic!("{ran:#?}")
    };
    assert_eq!(first.unit.as_ref().unwrap().name, "job.service");
    assert_eq!(first.victim.role, Some(Role::UnitMain));
    assert!(
        first.summary.starts_with("job.service (hog[1200])"),
        "{}",
        first.summary
    );
    assert_eq!(second.caused_by.as_ref(), Some(&first.id));
    assert_code(second, "unit_oom");
}

#[test]
fn a_shim_that_was_killed_explains_the_clean_up() {
    let mut shim = shim();
    let told = ["containerd-shim-runc-v2", "-namespace", "moby", "-id", ID];
    shim.argv.as_mut().unwrap().args = told.map(str::to_owned).to_vec();
    let mut containerd = process(600, "containerd");
    containerd.exe = Some("/usr/bin/containerd".to_owned());
    let mut cleaner = child(&containerd, 5000, "containerd-shim");
    cleaner.exe = Some("/usr/bin/containerd-shim-runc-v2".to_owned());
    let mut runc = child(&cleaner, 5001, "runc");
    runc.exe = Some("/usr/bin/runc".to_owned());
    let victim = init(&docker());
    let later = Sigkill {
        boottime_ns: KILLED_NS + 14 * MS,
        ..kill(&runc, &victim)
    };
    let ran = run([
        facts(&web()),
        sigkill(&kill(&process(2000, "bash"), &shim)),
        exit(&shim, BY_SIGKILL),
        sigkill(&later),
        exit_at(&victim, BY_SIGKILL, KILLED_NS + 15 * MS),
    ]);
    let deaths = ran.deaths();
    assert_eq!(
        deaths[0].victim.role,
        Some(Role::UnitChild),
        "it is no helper"
    );
    let container = deaths[1];
    assert_eq!(container.cause, Cause::SupervisorKill);
    assert_code(container, "shim_gone");
    assert_eq!(container.caused_by.as_ref(), Some(&deaths[0].id));
}

#[test]
fn a_runtimes_own_helper_is_no_workload() {
    let mut helper = child(&runc(), 4001, "runc:[2:INIT]");
    helper.exe = Some("/usr/bin/runc".to_owned());
    helper.memory_cgroup = Some(docker());
    let ran = run([sigkill(&kill(&runc(), &helper)), exit(&helper, BY_SIGKILL)]);
    let death = ran.the_death();
    assert_eq!(death.victim.role, Some(Role::RuntimeHelper));
    assert!(death.is_final, "nothing is asked for it");
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

fn scoped(target: &str) -> Scope {
    Scope::Target(Target::parse(target).unwrap())
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

#[test]
fn what_a_main_process_leaves_behind_is_not_the_next_main() {
    let systemd = systemd();
    let unit = |tgid: u32| in_unit(tgid, "sh");
    // One that is started later is the next main process, though the cgroup never was empty.
    let mut next = unit(1250);
    next.group.start_ns = KILLED_NS + S;
    let next_kill = Sigkill {
        boottime_ns: KILLED_NS + 2 * S,
        ..kill(&systemd, &next)
    };
    let (main, left) = (unit(1200), unit(1201));
    let ran = run([
        sigkill(&kill(&systemd, &main)),
        exit(&main, BY_SIGKILL),
        sigkill(&kill(&systemd, &left)),
        exit(&left, BY_SIGKILL),
        sigkill(&next_kill),
        exit_at(&next, BY_SIGKILL, KILLED_NS + 2 * S + MS),
        made("/system.slice/job.service"),
        sigkill(&kill(&systemd, &unit(1300))),
        exit(&unit(1300), BY_SIGKILL),
    ]);
    let roles: Vec<_> = ran.deaths().iter().map(|death| death.victim.role).collect();
    let wanted = [
        Role::UnitMain,
        Role::UnitChild,
        Role::UnitMain,
        Role::UnitMain,
    ];
    assert_eq!(roles, wanted.map(Some));
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

#[test]
fn the_process_1_that_a_runtime_inside_a_container_starts_is_a_child() {
    let mut inner = child(&runc(), 1005, "sh");
    inner.ns_tgid = Some(1);
    inner.ns_level = 2;
    inner.memory_cgroup = Some(format!("{}/buildkit/x", docker()));
    let ran = run([
        made(&docker()),
        facts(&ContainerFacts {
            init_pid: Some(1000),
            ..web()
        }),
        sigkill(&kill(&runc(), &inner)),
        exit(&inner, BY_SIGKILL),
    ]);
    assert_eq!(ran.deaths()[0].victim.role, Some(Role::Child));
}

#[test]
fn a_role_that_facts_change_is_followed() {
    // It shares its pod's PID namespace: only its runtime knows which one is its init.
    let mut victim = init(&docker());
    victim.ns_tgid = Some(7);
    let ran = run([
        made(&docker()),
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
        facts(&ContainerFacts {
            init_pid: Some(1000),
            ..web()
        }),
        says(true, 137),
    ]);
    let deaths = ran.deaths();
    assert_eq!(deaths[0].victim.role, Some(Role::Child));
    let last = deaths.last().unwrap();
    assert_eq!(last.victim.role, Some(Role::ContainerInit));
    assert!(last.runtime_says.as_ref().unwrap().agrees);
    assert!(
        asks(&ran)
            .iter()
            .any(|ask| matches!(ask.what, What::End { .. }))
    );
}

#[test]
fn the_rest_of_a_unit_is_linked_to_an_oom_whose_victim_ends_later() {
    let systemd = systemd();
    let (victim, rest) = (in_unit(1200, "hog"), in_unit(1201, "sleep"));
    let elsewhere = Process {
        memory_cgroup: Some("/system.slice/other.service".to_owned()),
        ..in_unit(1202, "bystander")
    };
    let later = |of: &Process| Sigkill {
        boottime_ns: KILLED_NS + 10 * MS,
        ..kill(&systemd, of)
    };
    let ran = run([
        sigkill(&oom(&victim)),
        sigkill(&later(&rest)),
        sigkill(&later(&elsewhere)),
        exit_at(&rest, BY_SIGKILL, KILLED_NS + 20 * MS),
        exit_at(&elsewhere, BY_SIGKILL, KILLED_NS + 20 * MS),
        exit_at(&victim, BY_SIGKILL, KILLED_NS + 100 * MS),
    ]);
    let [rest, elsewhere, chosen] = ran.deaths()[..] else {
        panic!("{ran:#?}")
    };
    assert_code(rest, "unit_oom");
    assert_eq!(rest.caused_by.as_ref(), Some(&chosen.id));
    assert_no_code(elsewhere, "unit_oom");
    assert_eq!(chosen.caused_by, None);
}

#[test]
fn a_late_kill_by_the_service_manager_is_not_put_down_to_an_oom() {
    let systemd = systemd();
    let (victim, rest) = (in_unit(1200, "hog"), in_unit(1201, "sleep"));
    let later = Sigkill {
        boottime_ns: KILLED_NS + 60 * S,
        ..kill(&systemd, &rest)
    };
    let ran = run([
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
        sigkill(&later),
        exit_at(&rest, BY_SIGKILL, KILLED_NS + 60 * S + MS),
    ]);
    assert_no_code(ran.deaths()[1], "unit_oom");
    assert_eq!(ran.deaths()[1].caused_by, None);
}

#[test]
fn what_comes_too_late_to_be_asked_is_said_to_be_of_a_unit_that_was() {
    let systemd = systemd();
    let (main, late) = (in_unit(1200, "sh"), in_unit(1201, "sleep"));
    let asked = Sigkill {
        stops: vec![stop(SIGTERM, &systemd, 2 * S)],
        ..kill(&systemd, &main)
    };
    let ran = run([
        sigkill(&asked),
        exit(&main, BY_SIGKILL),
        sigkill(&kill(&systemd, &late)),
        exit(&late, BY_SIGKILL),
    ]);
    assert_eq!(ran.deaths()[0].cause, Cause::StopTimeout);
    assert_code(ran.deaths()[1], "unit_was_asked");
}
