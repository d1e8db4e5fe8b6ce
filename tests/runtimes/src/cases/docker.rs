//! Docker: containers that are stopped, killed, removed. Its client is never in the chain of
//! processes: the daemon asks a shim, which has runc do it.

use std::fs;

use anyhow::{Context as _, Result};
use oomtrace_scenarios::check::{Death, Is};

use super::{BY_HAND, Case, KILLED, Part, STOPPED, STUBBORN, TWO_WORKERS};
use crate::{
    place::IMAGE,
    scene::{Scene, start_tracer},
    subject::{Expected, Subject},
    tools,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("docker-stop", Part::Docker, stop),
    Case::new("docker-stop-handled", Part::Docker, stop_handled),
    Case::new("docker-stop-init", Part::Docker, stop_init),
    Case::new("docker-stop-shorter", Part::Docker, stop_shorter),
    Case::new("docker-kill", Part::Docker, kill),
    Case::new("docker-rm-force", Part::Docker, rm_force),
    Case::new("docker-host-pid", Part::Docker, host_pid),
    Case::new("docker-exec-kill", Part::Docker, exec_kill),
    Case::new("docker-host-kill", Part::Docker, host_kill),
    Case::new("docker-before-tracer", Part::Docker, before_tracer),
];

/// What Docker's commands print.
pub(super) fn docker(scene: &Scene, args: &[&str]) -> Result<String> {
    tools::output(tools::command("docker").args(args), scene.limit())
}

/// A container of a case. It is removed when it goes out of scope.
pub(super) struct Container<'a> {
    scene: &'a Scene<'a>,
    pub(super) name: String,
    pub(super) id: String,
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.scene.cleans_up();
        let _ = docker(self.scene, &["rm", "--force", &self.name]);
    }
}

impl<'a> Container<'a> {
    pub(super) fn run(scene: &'a Scene, options: &[&str], command: &[&str]) -> Result<Self> {
        let name = scene.unique();
        let mut args = vec!["run", "--detach", "--network", "none", "--name", &name];
        args.extend(["--label", "com.example.team=shop"]);
        args.extend(options);
        args.push(IMAGE);
        args.extend(command);
        let mut container = Self {
            scene,
            name: name.clone(),
            id: String::new(),
        };
        let printed = docker(scene, &args)?;
        let id = printed.lines().last().context("docker run prints no id")?;
        id.clone_into(&mut container.id);
        Ok(container)
    }

    /// What `docker inspect` says, by a template.
    pub(super) fn inspect(&self, template: &str) -> Result<String> {
        docker(self.scene, &["inspect", "--format", template, &self.name])
    }

    /// Process 1, as the node sees it.
    pub(super) fn init(&self) -> Result<i32> {
        Ok(self.inspect("{{.State.Pid}}")?.trim().parse()?)
    }

    /// Process 1, once it is its command.
    pub(super) fn init_named(&self, comm: &str) -> Result<i32> {
        tools::named(self.init()?, comm, self.scene.limit())
    }

    /// Process 1 and a child of it.
    pub(super) fn init_and(&self, comm: &str) -> Result<(i32, i32)> {
        let init = self.init()?;
        Ok((init, tools::child(init, comm, self.scene.limit())?))
    }

    pub(super) fn subject(&self) -> Subject {
        Subject::container("docker", &self.id)
            .with("/container/name", &self.name)
            .with("/container/image", Is::Saying("oomtrace-busybox"))
            .with("/container/labels/com.example.team", "shop")
            .with("/container/kind", "container")
            .with("/container/pod", Is::Null)
    }

    /// Docker's word for how it ended.
    pub(super) fn says_oom_killed(&self) -> Result<bool> {
        Ok(self.inspect("{{.State.OOMKilled}}")?.trim() == "true")
    }
}

/// The most common reason for a 137: nothing handles SIGTERM.
fn stop(scene: &Scene) -> Result<()> {
    const IGNORED: Death = STOPPED.stop("ignored").evidence(&["stop_signal_ignored"]);
    let container = Container::run(scene, &["--stop-timeout", "2"], &["sleep", "1000"])?;
    let init = container.init_named("sleep")?;
    docker(scene, &["stop", &container.name])?;
    let expected = Expected::init("sleep", init, IGNORED)
        .by("docker")
        .with("/stop/configured_grace_ms", 2000)
        .with("/stop/grace_ms", Is::AtLeast(1900))
        .with("/sender/comm", "runc")
        .with("/sender/container", Is::Null)
        .with("/actor/container", Is::Null)
        .with("/summary", Is::Saying("container oomtrace-docker-stop-"))
        .runtime_says(false, Some(137), true);
    scene.deaths(&container.subject(), &[expected]);
    Ok(())
}

fn stop_handled(scene: &Scene) -> Result<()> {
    let container = Container::run(scene, &["--stop-timeout", "1"], &["sh", "-c", STUBBORN])?;
    let (init, child) = container.init_and("sleep")?;
    docker(scene, &["stop", &container.name])?;
    let expected = [
        Expected::init("sh", init, STOPPED.stop("delivered"))
            .by("docker")
            .with("/stop/reason", "handled")
            .with("/stop/configured_grace_ms", 1000),
        Expected::with_init("sleep", 0).pid(child),
    ];
    scene.deaths(&container.subject(), &expected);
    Ok(())
}

/// An init of Docker's passes the signal on, and nobody is killed.
fn stop_init(scene: &Scene) -> Result<()> {
    let container = Container::run(scene, &["--init"], &["sleep", "1000"])?;
    container.init_and("sleep")?;
    docker(scene, &["stop", &container.name])?;
    scene.deaths(&container.subject(), &[]);
    let code = container.inspect("{{.State.ExitCode}}")?;
    if code.trim() != "143" {
        scene.differs(format!("the container ended with {code}"));
    }
    Ok(())
}

/// Whoever stops it waits for less than the container was made with.
fn stop_shorter(scene: &Scene) -> Result<()> {
    const SHORTER: Death = STOPPED.stop("ignored").evidence(&["grace_shorter"]);
    let container = Container::run(scene, &["--stop-timeout", "30"], &["sleep", "1000"])?;
    let init = container.init_named("sleep")?;
    docker(scene, &["stop", "--time", "1", &container.name])?;
    let expected = Expected::init("sleep", init, SHORTER)
        .by("docker")
        .with("/stop/configured_grace_ms", 30_000);
    scene.deaths(&container.subject(), &[expected]);
    Ok(())
}

fn kill(scene: &Scene) -> Result<()> {
    let container = Container::run(scene, &[], &["sh", "-c", STUBBORN])?;
    let (init, child) = container.init_and("sleep")?;
    docker(scene, &["kill", &container.name])?;
    let expected = [
        Expected::init("sh", init, KILLED)
            .by("docker")
            .runtime_says(false, Some(137), true),
        Expected::with_init("sleep", 0).pid(child),
    ];
    scene.deaths(&container.subject(), &expected);
    Ok(())
}

/// The container is gone from Docker before anybody can ask about it.
fn rm_force(scene: &Scene) -> Result<()> {
    let container = Container::run(scene, &[], &["sh", "-c", STUBBORN])?;
    let (init, child) = container.init_and("sleep")?;
    docker(scene, &["rm", "--force", &container.name])?;
    let expected = [
        Expected::init("sh", init, KILLED).by("docker"),
        Expected::with_init("sleep", 0).pid(child),
    ];
    scene.deaths(&container.subject(), &expected);
    Ok(())
}

/// With no PID namespace of its own, runc kills what is left in the cgroup, one by one.
fn host_pid(scene: &Scene) -> Result<()> {
    const REST: Death = Death::of("supervisor_kill", "kill")
        .or("pidfd_send_signal")
        .or("cgroup_kill")
        .actor("runtime");
    let container = Container::run(scene, &["--pid", "host"], &["sh", "-c", STUBBORN])?;
    let (init, child) = container.init_and("sleep")?;
    docker(scene, &["kill", &container.name])?;
    let expected = [
        Expected::init("sh", init, KILLED)
            .by("docker")
            .with("/victim/is_ns_init", false),
        Expected::child("sleep", REST).pid(child).by("docker"),
    ];
    scene.deaths(&container.subject(), &expected);
    Ok(())
}

/// The worker's own number, and its number in its namespace.
fn namespace_pid(pid: i32) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let last = line.and_then(|line| line.split_whitespace().last());
    Ok(last.context("no NSpid")?.to_owned())
}

fn exec_kill(scene: &Scene) -> Result<()> {
    const BY_EXEC: Death = BY_HAND.evidence(&["exec_session"]);
    let container = Container::run(scene, &[], &["sh", "-c", TWO_WORKERS])?;
    let (_, worker) = container.init_and("sleep")?;
    let line = format!("kill -9 {}; true", namespace_pid(worker)?);
    docker(scene, &["exec", &container.name, "sh", "-c", &line])?;
    let expected = Expected::child("sleep", BY_EXEC)
        .pid(worker)
        .with("/outcome/container_survived", true)
        .with("/sender/comm", "sh")
        .with("/sender/container/name", &container.name)
        .with("/sender/container/runtime", "docker");
    scene.deaths(&container.subject(), &[expected]);
    Ok(())
}

/// Docker says 137, as if it had killed it itself.
fn host_kill(scene: &Scene) -> Result<()> {
    let container = Container::run(scene, &[], &["sleep", "1000"])?;
    let init = container.init_named("sleep")?;
    let line = format!("kill -9 {init}; true");
    tools::output(tools::command("sh").args(["-c", &line]), scene.limit())?;
    let expected = Expected::init("sleep", init, BY_HAND)
        .with("/sender/comm", "sh")
        .with("/sender/container", Is::Null)
        .runtime_says(false, Some(137), true);
    scene.deaths(&container.subject(), &[expected]);
    Ok(())
}

/// The tracer came when the container ran already.
fn before_tracer(scene: &Scene) -> Result<()> {
    let container = Container::run(scene, &[], &["sh", "-c", STUBBORN])?;
    let (init, child) = container.init_and("sleep")?;
    let (tracer, _) = start_tracer(&scene.ground.options.tracer)?;
    docker(scene, &["rm", "--force", &container.name])?;
    let expected = [
        Expected::init("sh", init, KILLED).by("docker"),
        Expected::with_init("sleep", 0).pid(child),
    ];
    scene.deaths_by(&tracer, 0, &container.subject(), &expected);
    tracer.signal(libc::SIGTERM);
    for problem in tracer.wait(scene.limit())?.problems() {
        scene.differs(problem);
    }
    Ok(())
}
