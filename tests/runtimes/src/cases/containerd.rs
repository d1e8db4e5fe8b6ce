//! containerd by its own client, `ctr`.

use anyhow::{Context as _, Result};

use super::{Case, KILLED, OOM, Part, STUBBORN};
use crate::{
    place::IMAGE,
    scene::Scene,
    subject::{Expected, Subject},
    tools,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("ctr-kill", Part::Containerd, kill),
    Case::new("ctr-oom", Part::Containerd, oom),
    Case::new("ctr-shim-killed", Part::Containerd, shim_killed),
];

fn ctr(scene: &Scene, args: &[&str]) -> Result<String> {
    tools::output(tools::command("ctr").args(args), scene.limit())
}

struct Container<'a> {
    scene: &'a Scene<'a>,
    id: String,
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.scene.cleans_up();
        let id = self.id.as_str();
        // Each fails where it has been done already.
        let _ = ctr(self.scene, &["task", "rm", "--force", id]);
        let _ = ctr(self.scene, &["container", "rm", id]);
    }
}

impl<'a> Container<'a> {
    fn run(scene: &'a Scene, options: &[&str], command: &[&str]) -> Result<Self> {
        let container = Self {
            scene,
            id: scene.unique(),
        };
        let mut args = vec!["run", "--detach"];
        args.extend(options);
        args.extend([IMAGE, container.id.as_str()]);
        args.extend(command);
        ctr(scene, &args)?;
        Ok(container)
    }

    fn init(&self) -> Result<i32> {
        let tasks = ctr(self.scene, &["task", "ls"])?;
        let line = tasks.lines().find(|line| line.starts_with(&self.id));
        let pid = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(pid.context("ctr knows no such task")?.parse()?)
    }

    fn init_and(&self, comm: &str) -> Result<(i32, i32)> {
        let init = self.init()?;
        Ok((init, tools::child(init, comm, self.scene.limit())?))
    }

    fn subject(&self) -> Subject {
        Subject::container("containerd", &self.id)
    }
}

fn kill(scene: &Scene) -> Result<()> {
    let container = Container::run(scene, &[], &["sh", "-c", STUBBORN])?;
    let (init, child) = container.init_and("sleep")?;
    ctr(
        scene,
        &["task", "kill", "--signal", "SIGKILL", &container.id],
    )?;
    let expected = [
        Expected::init("sh", init, KILLED)
            .by("containerd")
            .with("/sender/comm", "runc"),
        Expected::with_init("sleep", 0).pid(child),
    ];
    scene.deaths(&container.subject(), &expected);
    Ok(())
}

fn oom(scene: &Scene) -> Result<()> {
    let limit = super::LIMIT_BYTES.to_string();
    let container = Container::run(scene, &["--memory-limit", &limit], &["tail", "/dev/zero"])?;
    scene.deaths(&container.subject(), &[Expected::init_of("tail", OOM)]);
    Ok(())
}

/// containerd cleans up after a shim that was killed: with a new one, and runc.
fn shim_killed(scene: &Scene) -> Result<()> {
    let container = Container::run(scene, &[], &["sh", "-c", STUBBORN])?;
    let (init, child) = container.init_and("sleep")?;
    let shim = tools::processes()
        .into_iter()
        .find(|process| process.pid == init)
        .context("the container has ended")?
        .parent;
    let line = format!("kill -9 {shim}; true");
    tools::output(tools::command("sh").args(["-c", &line]), scene.limit())?;
    let expected = [
        Expected::init("sh", init, KILLED).by("containerd"),
        Expected::with_init("sleep", 0).pid(child),
    ];
    scene.deaths(&container.subject(), &expected);
    Ok(())
}
