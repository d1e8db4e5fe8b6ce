//! Deaths in containers and units: names that come before or after, what became of the
//! container, what its runtime says of it, whose deaths are told.

mod advice;
mod ends;
mod names;
mod restarts;
mod roles;
mod scopes;
mod units;

use oomtrace::{
    event::{
        Event, Process, Sigkill,
        container::{Ask, CgroupChange, CgroupChangeKind, ContainerFacts, ContainerState},
    },
    provenance::{Output, record::Death, scope::Scope},
};

use crate::support::{
    Ran, engine, invariants,
    make::{CGROUP_OOM, KILLED_NS, S, child, kernels, opening, process, stopped},
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
