//! Podman: no daemon, so that the operator's shell is in the chain of processes.

use anyhow::{Context as _, Result};
use oomtrace_scenarios::check::{Death, Is};
use serde_json::Value;

use super::{Case, KILLED, OOM, OOM_CHILD, Part, STOPPED, STUBBORN};
use crate::{
    place::IMAGE,
    scene::Scene,
    subject::{Expected, Subject},
    tools,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("podman-stop", Part::Podman, stop),
    Case::new("podman-kill", Part::Podman, kill),
    Case::new("podman-rm-force", Part::Podman, rm_force),
    Case::new("podman-oom", Part::Podman, oom),
    Case::new("podman-oom-child", Part::Podman, oom_child),
];

/// For a machine with no systemd, whose memory controller has a hierarchy of its own.
pub(crate) const V1_OPTIONS: &[&str] = &[
    "--cgroup-manager=cgroupfs",
    "--events-backend=file",
    "--runtime=runc",
    "--log-level=error",
];

pub(super) fn podman(scene: &Scene, args: &[&str]) -> Result<String> {
    let mut command = tools::command("podman");
    if scene.ground.place.cgroup_v1 {
        command.args(V1_OPTIONS);
    }
    // conmon may drop a file where it is started.
    command.current_dir(&scene.ground.place.folder);
    tools::output(command.args(args), scene.limit())
}

/// As an operator does, from a shell.
fn by_shell(scene: &Scene, args: &[&str]) -> Result<String> {
    let options = if scene.ground.place.cgroup_v1 {
        V1_OPTIONS
    } else {
        &[]
    };
    let line = format!("podman {} {}; true", options.join(" "), args.join(" "));
    tools::output(tools::command("sh").args(["-c", &line]), scene.limit())
}

pub(super) struct Container<'a> {
    scene: &'a Scene<'a>,
    pub(super) name: String,
    pub(super) id: String,
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.scene.cleans_up();
        let _ = podman(self.scene, &["rm", "--force", "--time", "0", &self.name]);
    }
}

impl<'a> Container<'a> {
    pub(super) fn run(scene: &'a Scene, options: &[&str], command: &[&str]) -> Result<Self> {
        let name = scene.unique();
        let mut args = vec!["run", "--detach", "--network=none", "--name", &name];
        // Without CAP_SYS_RESOURCE, limits cannot be raised to Podman's own.
        args.extend([
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=4096:4096",
        ]);
        args.extend(["--label", "com.example.team=shop"]);
        args.extend(options);
        args.push(IMAGE);
        args.extend(command);
        let mut container = Self {
            scene,
            name: name.clone(),
            id: String::new(),
        };
        let printed = podman(scene, &args)?;
        let id = printed.lines().last().context("podman run prints no id")?;
        id.clone_into(&mut container.id);
        Ok(container)
    }

    fn inspect(&self, template: &str) -> Result<String> {
        podman(self.scene, &["inspect", "--format", template, &self.name])
    }

    fn init(&self) -> Result<i32> {
        Ok(self.inspect("{{.State.Pid}}")?.trim().parse()?)
    }

    /// Process 1, once it is its command.
    fn init_named(&self, comm: &str) -> Result<i32> {
        tools::named(self.init()?, comm, self.scene.limit())
    }

    pub(super) fn init_and(&self, comm: &str) -> Result<(i32, i32)> {
        let init = self.init()?;
        Ok((init, tools::child(init, comm, self.scene.limit())?))
    }

    pub(super) fn subject(&self) -> Subject {
        Subject::container("podman", &self.id)
            .with("/container/name", &self.name)
            .with("/container/image", Is::Saying("oomtrace-busybox"))
            .with("/container/kind", "container")
    }

    fn says_oom_killed(&self) -> Result<bool> {
        Ok(self.inspect("{{.State.OOMKilled}}")?.trim() == "true")
    }
}

/// The operator's shell and podman stand behind the sender.
fn check_chain(scene: &Scene, deaths: &[Value]) {
    for death in deaths {
        let chain = death["sender"]["ancestry"].to_string();
        for comm in ["podman", "sh"] {
            if !chain.contains(&format!("\"{comm}\"")) {
                scene.differs(format!("{comm} is not in the chain: {chain}"));
            }
        }
    }
}

fn stop(scene: &Scene) -> Result<()> {
    const IGNORED: Death = STOPPED.stop("ignored").evidence(&["stop_signal_ignored"]);
    let container = Container::run(scene, &["--stop-timeout", "2"], &["sleep", "1000"])?;
    let init = container.init_named("sleep")?;
    by_shell(scene, &["stop", &container.name])?;
    let expected = Expected::init("sleep", init, IGNORED)
        .by("podman")
        .with("/stop/configured_grace_ms", 2000);
    check_chain(scene, &scene.deaths(&container.subject(), &[expected]));
    Ok(())
}

fn kill(scene: &Scene) -> Result<()> {
    let container = Container::run(scene, &[], &["sh", "-c", STUBBORN])?;
    let (init, child) = container.init_and("sleep")?;
    by_shell(scene, &["kill", &container.name])?;
    let expected = [
        Expected::init("sh", init, KILLED)
            .by("podman")
            .runtime_says(false, Some(137), true),
        Expected::with_init("sleep", 0).pid(child),
    ];
    let deaths = scene.deaths(&container.subject(), &expected);
    check_chain(scene, &deaths[..deaths.len().min(1)]);
    Ok(())
}

fn rm_force(scene: &Scene) -> Result<()> {
    let container = Container::run(scene, &[], &["sh", "-c", STUBBORN])?;
    let (init, child) = container.init_and("sleep")?;
    by_shell(scene, &["rm", "--force", "--time", "1", &container.name])?;
    let expected = [
        Expected::init("sh", init, STOPPED.stop("delivered"))
            .by("podman")
            .with("/stop/reason", "handled"),
        Expected::with_init("sleep", 0).pid(child),
    ];
    scene.deaths(&container.subject(), &expected);
    Ok(())
}

/// Podman 4.3 says no to every OOM.
fn oom(scene: &Scene) -> Result<()> {
    let limited = ["--memory", "64m", "--memory-swap", "64m"];
    let container = Container::run(scene, &limited, &["tail", "/dev/zero"])?;
    podman(scene, &["wait", &container.name])?;
    let said = container.says_oom_killed()?;
    let expected = Expected::init_of("tail", OOM)
        .with("/oom/limit_of", "container")
        .runtime_says(said, Some(137), said);
    scene.deaths(&container.subject(), &[expected]);
    Ok(())
}

fn oom_child(scene: &Scene) -> Result<()> {
    let limited = ["--memory", "64m", "--memory-swap", "64m"];
    let container = Container::run(scene, &limited, &["sh", "-c", OOM_CHILD])?;
    podman(scene, &["wait", &container.name])?;
    let said = container.says_oom_killed()?;
    let expected = Expected::child("tail", OOM)
        .with("/outcome/container_survived", true)
        .runtime_says(said, Some(3), false);
    scene.deaths(&container.subject(), &[expected]);
    Ok(())
}
