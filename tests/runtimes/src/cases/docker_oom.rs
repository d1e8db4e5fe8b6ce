//! Docker and the OOM killer: what happened, beside what Docker says of it.

use anyhow::Result;
use oomtrace_scenarios::check::{Death, Is};

use super::{
    Case, KILLED, OOM, OOM_CHILD, OOM_CHILD_LIVES, Part,
    docker::{Container, docker},
};
use crate::{scene::Scene, subject::Expected, tools};

pub(crate) const CASES: &[Case] = &[
    Case::new("docker-oom", Part::Docker, oom),
    Case::new("docker-oom-at-start", Part::Docker, oom_at_start),
    Case::new("docker-oom-child", Part::Docker, oom_child),
    Case::new("docker-oom-exec", Part::Docker, oom_exec),
    Case::new("docker-oom-then-stop", Part::Docker, oom_then_stop),
    Case::new("docker-oom-then-kill", Part::Docker, oom_then_kill),
];

/// No swap beside the memory.
const LIMITED: &[&str] = &["--memory", "64m", "--memory-swap", "64m"];

/// The container's end, as `docker wait` prints it.
fn wait(scene: &Scene, container: &Container) -> Result<String> {
    let code = docker(scene, &["wait", &container.name])?;
    Ok(code.trim().to_owned())
}

fn oom(scene: &Scene) -> Result<()> {
    let container = Container::run(
        scene,
        LIMITED,
        &[
            "sh",
            "-c",
            "until [ -e /go ]; do sleep 0.1; done; exec tail /dev/zero",
        ],
    )?;
    let init = container.init()?;
    docker(scene, &["exec", &container.name, "sh", "-c", "> /go"])?;
    wait(scene, &container)?;
    let expected = Expected::init("tail", init, OOM)
        .with("/oom/levels/0/of", "container")
        .with("/oom/levels/0/name", &container.name)
        .with("/oom/limit_of", Is::Saying("container"))
        .runtime_says(true, Some(137), true);
    scene.deaths(&container.subject(), &[expected]);
    Ok(())
}

/// Dead a tenth of a second after its start, it has its name all the same.
fn oom_at_start(scene: &Scene) -> Result<()> {
    let container = Container::run(scene, LIMITED, &["tail", "/dev/zero"])?;
    wait(scene, &container)?;
    let expected = Expected::init_of("tail", OOM);
    scene.deaths(&container.subject(), &[expected]);
    Ok(())
}

/// A child was chosen, and process 1 ended by itself later: Docker says `OOMKilled` of it.
fn oom_child(scene: &Scene) -> Result<()> {
    let container = Container::run(scene, LIMITED, &["sh", "-c", OOM_CHILD])?;
    let code = wait(scene, &container)?;
    if code != "3" {
        scene.differs(format!("the container ended with {code}"));
    }
    let said = container.says_oom_killed()?;
    let expected = Expected::child("tail", OOM)
        .with("/outcome/container_survived", true)
        .with("/summary", Is::Saying("goes on without it"))
        .runtime_says(said, Some(3), !said);
    scene.deaths(&container.subject(), &[expected]);
    Ok(())
}

/// What was started by `docker exec` was chosen: Docker says nothing of it.
fn oom_exec(scene: &Scene) -> Result<()> {
    let container = Container::run(scene, LIMITED, &["sleep", "1000"])?;
    let mut exec = tools::command("docker");
    exec.args(["exec", &container.name, "tail", "/dev/zero"]);
    tools::ended(&mut exec, scene.limit())?;
    let expected = Expected::child("tail", OOM)
        .with("/outcome/container_survived", true)
        .with("/summary", Is::Saying("goes on without it"))
        .runtime_says(container.says_oom_killed()?, None, false)
        .open();
    scene.deaths(&container.subject(), &[expected]);
    Ok(())
}

/// A container whose child was chosen, and which was seen to go on.
fn survivor<'a>(scene: &'a Scene) -> Result<(Container<'a>, i32, i32)> {
    let container = Container::run(scene, LIMITED, &["sh", "-c", OOM_CHILD_LIVES])?;
    let (init, sleep) = container.init_and("sleep")?;
    scene.deaths(&container.subject(), &[outlived().open()]);
    Ok((container, init, sleep))
}

fn outlived() -> Expected {
    Expected::child("tail", OOM).with("/outcome/container_survived", true)
}

/// Ends gracefully, long after: Docker still says `OOMKilled`.
fn oom_then_stop(scene: &Scene) -> Result<()> {
    let (container, _, sleep) = survivor(scene)?;
    docker(scene, &["stop", &container.name])?;
    let code = wait(scene, &container)?;
    if code != "143" {
        scene.differs(format!("the container ended with {code}"));
    }
    let said = container.says_oom_killed()?;
    let expected = [
        outlived().runtime_says(said, Some(143), !said),
        Expected::child("sleep", Death::of("namespace_exit", "pid_namespace"))
            .pid(sleep)
            .with("/caused_by", Is::Null),
    ];
    scene.deaths(&container.subject(), &expected);
    Ok(())
}

/// Killed, long after: Docker says `OOMKilled` of that too.
fn oom_then_kill(scene: &Scene) -> Result<()> {
    let (container, init, sleep) = survivor(scene)?;
    docker(scene, &["kill", &container.name])?;
    wait(scene, &container)?;
    let said = container.says_oom_killed()?;
    let expected = [
        outlived(),
        Expected::init("sh", init, KILLED)
            .by("docker")
            .runtime_says(said, Some(137), !said),
        Expected::with_init("sleep", 1).pid(sleep),
    ];
    scene.deaths(&container.subject(), &expected);
    Ok(())
}
