//! What a victim was to its container.

use oomtrace::{
    event::{
        Sigkill,
        container::{ContainerFacts, What},
    },
    provenance::record::{Cause, Role},
};

use super::{ID, asks, docker, facts, init, made, oom, run, runc, says, shim, web};
use crate::support::{
    assert_code,
    make::{BY_SIGKILL, KILLED_NS, MS, child, exit, exit_at, kill, process, sigkill},
};

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
