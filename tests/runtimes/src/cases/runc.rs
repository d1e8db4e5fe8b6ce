//! runc alone, as whoever builds a runtime of their own does.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use oomtrace_scenarios::check::Death;
use serde_json::{Value, json};

use super::{Case, KILLED, LIMIT_BYTES, OOM, Part, STUBBORN};
use crate::{
    scene::Scene,
    subject::{Expected, Subject},
    tools,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("runc-kill", Part::Runc, kill),
    Case::new("runc-stop", Part::Runc, stop),
    Case::new("runc-oom", Part::Runc, oom),
    Case::new("runc-create-fails", Part::Runc, create_fails),
];

/// A container of `runc` or `crun`. It is removed when it goes out of scope.
pub(super) struct Container<'a> {
    scene: &'a Scene<'a>,
    runtime: Runtime,
    pub(super) id: String,
}

/// How a runtime is called: through the shell, for its containers keep what it writes to.
#[derive(Clone, Copy)]
pub(super) struct Runtime {
    pub(super) name: &'static str,
    /// What the shell does first.
    pub(super) before: &'static str,
}

const RUNC: Runtime = Runtime {
    name: "runc",
    before: "",
};

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.scene.cleans_up();
        let _ = self.call(&format!("delete --force {}", self.id));
        let _ = fs::remove_dir_all(self.bundle());
    }
}

impl<'a> Container<'a> {
    /// Runs it in the background, with a memory limit.
    pub(super) fn run(scene: &'a Scene, runtime: Runtime, script: &str) -> Result<Self> {
        let container = Self::planned(scene, runtime, script, Value::Null)?;
        container.start()?;
        Ok(container)
    }

    fn start(&self) -> Result<String> {
        let bundle = self.bundle();
        let dir = bundle.display();
        self.call(&format!(
            "run --detach --bundle {dir} {} >/dev/null 2>&1",
            self.id
        ))
    }

    /// Not there yet.
    fn planned(scene: &'a Scene, runtime: Runtime, script: &str, hooks: Value) -> Result<Self> {
        let container = Self {
            scene,
            runtime,
            id: scene.unique(),
        };
        let bundle = container.bundle();
        fs::create_dir_all(&bundle)?;
        let dir = bundle.to_string_lossy().into_owned();
        container.call(&format!("spec --bundle {dir}"))?;
        let path = bundle.join("config.json");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        config["root"] = json!({"path": scene.ground.place.root()});
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/sh", "-c", script]);
        config["linux"]["resources"]["memory"] = json!({"limit": LIMIT_BYTES, "swap": LIMIT_BYTES});
        config["hooks"] = hooks;
        fs::write(&path, config.to_string())?;
        Ok(container)
    }

    fn bundle(&self) -> PathBuf {
        self.scene.ground.place.folder.join(&self.id)
    }

    pub(super) fn call(&self, args: &str) -> Result<String> {
        let Runtime { name, before } = self.runtime;
        let line = format!("{before} {name} {args} </dev/null");
        let mut shell = tools::command("unshare");
        shell.args(["--mount", "sh", "-c", &line]);
        if before.is_empty() {
            shell = tools::command("sh");
            shell.args(["-c", &format!("{line}; exit $?")]);
        }
        tools::output(&mut shell, self.scene.limit())
    }

    pub(super) fn init(&self) -> Result<i32> {
        let state: Value = serde_json::from_str(&self.call(&format!("state {}", self.id))?)?;
        let pid = state["pid"].as_i64().context("it has no pid")?;
        Ok(pid as i32)
    }

    pub(super) fn init_and(&self, comm: &str) -> Result<(i32, i32)> {
        let init = self.init()?;
        Ok((init, tools::child(init, comm, self.scene.limit())?))
    }

    pub(super) fn subject(&self) -> Subject {
        Subject::container(self.runtime.name, &self.id)
    }
}

pub(super) fn kill_with(scene: &Scene, runtime: Runtime, row: Death) -> Result<()> {
    let container = Container::run(scene, runtime, STUBBORN)?;
    let (init, child) = container.init_and("sleep")?;
    container.call(&format!("kill {} KILL", container.id))?;
    let expected = [
        Expected::init("sh", init, row).by(runtime.name),
        Expected::with_init("sleep", 0).pid(child),
    ];
    scene.deaths(&container.subject(), &expected);
    Ok(())
}

pub(super) fn oom_with(scene: &Scene, runtime: Runtime) -> Result<()> {
    let container = Container::run(scene, runtime, "exec tail /dev/zero")?;
    scene.deaths(&container.subject(), &[Expected::init_of("tail", OOM)]);
    Ok(())
}

fn kill(scene: &Scene) -> Result<()> {
    kill_with(scene, RUNC, KILLED)
}

/// Whoever uses runc alone asks and kills with two commands of a shell.
fn stop(scene: &Scene) -> Result<()> {
    const TWO_COMMANDS: Death = Death::of("stop_timeout", "kill")
        .or("pidfd_send_signal")
        .actor("runtime")
        .stop("delivered");
    let container = Container::run(scene, RUNC, STUBBORN)?;
    let (init, child) = container.init_and("sleep")?;
    let id = &container.id;
    container.call(&format!("kill {id} TERM; sleep 1; runc kill {id} KILL"))?;
    let expected = [
        Expected::init("sh", init, TWO_COMMANDS).by("runc"),
        Expected::with_init("sleep", 0).pid(child),
    ];
    scene.deaths(&container.subject(), &expected);
    Ok(())
}

fn oom(scene: &Scene) -> Result<()> {
    oom_with(scene, RUNC)
}

/// runc kills its own child, which was to become the container's process 1, when something fails
/// on the way there. That is noise, and no workload's death.
fn create_fails(scene: &Scene) -> Result<()> {
    let hooks = json!({"createRuntime": [{"path": "/bin/false"}]});
    let container = Container::planned(scene, RUNC, STUBBORN, hooks)?;
    if container.start().is_ok() {
        scene.differs("it was started".to_owned());
    }
    let subject = container.subject();
    let helper = |records: &[Value]| {
        records
            .iter()
            .any(|record| record["victim"]["role"] == "runtime_helper" && record["final"] == true)
    };
    if !scene.wait_for(&subject, helper) {
        scene.differs("runc's own child was not seen as such".to_owned());
    }
    scene.deaths(&subject, &[]);
    Ok(())
}
