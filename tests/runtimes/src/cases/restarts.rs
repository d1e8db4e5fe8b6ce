//! What runs again after a death that ended it: in the same container, in another one of its
//! name, as the same unit.

use anyhow::{Context as _, Result};

use super::{
    BY_HAND, Case, KILLED, LIMIT_BYTES, OOM, Part, STOPPED, STUBBORN, docker,
    pod::{Plan, Pod},
    podman,
    systemd::{KILLED as KILLED_BY_SYSTEMD, Unit, main},
};
use crate::{scene::Scene, subject::Expected, tools};

pub(crate) const CASES: &[Case] = &[
    Case::new("docker-restart", Part::Docker, docker_restart),
    Case::new("docker-restart-policy", Part::Docker, docker_policy),
    Case::new("docker-made-anew", Part::Docker, docker_made_anew),
    Case::new("podman-restart", Part::Podman, podman_restart),
    Case::new("cri-made-anew", Part::Cri, cri_made_anew),
    Case::new("systemd-restart", Part::Systemd, systemd_restart),
];

/// One container, two runs.
fn docker_restart(scene: &Scene) -> Result<()> {
    let container = docker::Container::run(scene, &[], &["sh", "-c", STUBBORN])?;
    let first = container.init_and("sleep")?;
    docker::docker(scene, &["restart", "--time", "1", &container.name])?;
    let second = container.init_and("sleep")?;
    docker::docker(scene, &["kill", &container.name])?;
    let expected = [
        Expected::init("sh", first.0, STOPPED.stop("delivered")).by("docker"),
        Expected::with_init("sleep", 0).pid(first.1),
        Expected::init("sh", second.0, KILLED).by("docker"),
        Expected::with_init("sleep", 2).pid(second.1),
    ];
    let deaths = scene.deaths(&container.subject(), &expected);
    let wanted = [
        ("/container/id", &*container.id),
        ("/container/name", &container.name),
    ];
    scene.runs_again(&deaths, first.0, &wanted);
    Ok(())
}

/// Docker starts it again by itself.
fn docker_policy(scene: &Scene) -> Result<()> {
    let container = docker::Container::run(scene, &["--restart", "always"], &["sleep", "1000"])?;
    let init = container.init_named("sleep")?;
    let line = format!("kill -9 {init}; true");
    tools::output(tools::command("sh").args(["-c", &line]), scene.limit())?;
    let is_another = || container.init().ok().filter(|pid| ![0, init].contains(pid));
    tools::wait("the next run", scene.limit(), is_another)?;
    let deaths = scene.deaths(
        &container.subject(),
        &[Expected::init("sleep", init, BY_HAND)],
    );
    scene.runs_again(&deaths, init, &[("/container/id", &container.id)]);
    Ok(())
}

/// As Compose does it: another container of the same name.
fn docker_made_anew(scene: &Scene) -> Result<()> {
    let first = docker::Container::run(scene, &[], &["sleep", "1000"])?;
    let init = first.init_named("sleep")?;
    docker::docker(scene, &["rm", "--force", &first.name])?;
    let second = docker::Container::run(scene, &[], &["sleep", "1000"])?;
    let expected = Expected::init("sleep", init, KILLED).by("docker");
    let deaths = scene.deaths(&first.subject(), &[expected]);
    let wanted = [
        ("/container/id", &*second.id),
        ("/container/name", &second.name),
    ];
    scene.runs_again(&deaths, init, &wanted);
    Ok(())
}

fn podman_restart(scene: &Scene) -> Result<()> {
    let container = podman::Container::run(scene, &[], &["sh", "-c", STUBBORN])?;
    let (init, child) = container.init_and("sleep")?;
    podman::podman(scene, &["restart", "--time", "1", &container.name])?;
    let expected = [
        Expected::init("sh", init, STOPPED.stop("delivered")).by("podman"),
        Expected::with_init("sleep", 0).pid(child),
    ];
    let deaths = scene.deaths(&container.subject(), &expected);
    scene.runs_again(&deaths, init, &[("/container/id", &container.id)]);
    Ok(())
}

/// As the kubelet does it: another container of the same name in the same pod.
fn cri_made_anew(scene: &Scene) -> Result<()> {
    let pod = Pod::run(scene)?;
    let first = pod.container("web", LIMIT_BYTES, "sleep 1; exec tail /dev/zero")?;
    pod.end(&first)?;
    let second = pod.launch(Plan {
        name: "web",
        limit_bytes: LIMIT_BYTES,
        command: ["/bin/sh", "-c", "exec sleep 1000"]
            .map(str::to_owned)
            .to_vec(),
        mounts: Vec::new(),
        privileged: false,
        attempt: 1,
    })?;
    let deaths = scene.deaths(&pod.subject(&first), &[Expected::init_of("tail", OOM)]);
    let Some(death) = deaths.first() else {
        return Ok(());
    };
    let init = death["victim"]["pid"].as_i64().context("no pid")? as i32;
    let wanted = [
        ("/container/id", &*second.id),
        ("/container/namespace", "shop"),
    ];
    scene.runs_again(&deaths, init, &wanted);
    Ok(())
}

fn systemd_restart(scene: &Scene) -> Result<()> {
    let unit = Unit::run(
        scene,
        &["Restart=always", "RestartSec=500ms"],
        "exec sleep 1000",
    )?;
    let sleep = unit.process("sleep")?;
    unit.systemctl(&["kill", "--signal=KILL", &unit.name])?;
    let deaths = scene.deaths(
        &unit.subject(),
        &[main("sleep", sleep, KILLED_BY_SYSTEMD).by("systemd")],
    );
    scene.runs_again(&deaths, sleep, &[("/unit/name", &unit.name)]);
    Ok(())
}
