//! systemd's units: how a service is stopped, and what ends one otherwise.

use anyhow::{Context as _, Result};
use oomtrace_scenarios::check::{Death, Is};

use super::{Case, Part};
use crate::{
    scene::Scene,
    subject::{Expected, Subject},
    tools,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("systemd-stop", Part::Systemd, stop),
    Case::new("systemd-kill", Part::Systemd, kill),
    Case::new("systemd-runtime-max", Part::Systemd, runtime_max),
    Case::new("systemd-watchdog", Part::Systemd, watchdog),
    Case::new(
        "systemd-kill-mode-process",
        Part::Systemd,
        kill_mode_process,
    ),
    Case::new("systemd-kill-mode-mixed", Part::Systemd, kill_mode_mixed),
];

/// A main process that takes SIGTERM and stays, with a child that ignores it.
const STUBBORN: &str = "trap : TERM; (trap '' TERM; exec sleep 1000) & while :; do wait; done";
/// A main process that ignores all it can be asked by.
const DEAF: &str = "trap '' TERM ABRT; exec sleep 1000";

const STOPPED: Death = Death::of("stop_timeout", "kill")
    .or("pidfd_send_signal")
    .actor("service_manager");
pub(super) const KILLED: Death = Death::of("supervisor_kill", "kill")
    .or("pidfd_send_signal")
    .or("cgroup_kill")
    .actor("service_manager");

/// A transient service of a case. It is ended when it goes out of scope.
pub(super) struct Unit<'a> {
    scene: &'a Scene<'a>,
    pub(super) name: String,
}

impl Drop for Unit<'_> {
    fn drop(&mut self) {
        self.scene.cleans_up();
        let _ = self.systemctl(&["kill", "--signal=KILL", &self.name]);
        let _ = self.systemctl(&["stop", &self.name]);
        let _ = self.systemctl(&["reset-failed", &self.name]);
    }
}

impl<'a> Unit<'a> {
    pub(super) fn run(scene: &'a Scene, properties: &[&str], script: &str) -> Result<Self> {
        let unit = Self {
            scene,
            name: format!("{}.service", scene.unique()),
        };
        let mut run = scene.ground.place.systemd.command("systemd-run");
        run.arg(format!("--unit={}", unit.name));
        for property in properties {
            run.arg(format!("--property={property}"));
        }
        run.args(["sh", "-c", script]);
        tools::output(&mut run, scene.limit())?;
        Ok(unit)
    }

    pub(super) fn systemctl(&self, args: &[&str]) -> Result<String> {
        let mut systemctl = self.scene.ground.place.systemd.command("systemctl");
        tools::output(systemctl.args(args), self.scene.limit())
    }

    /// The processes in its cgroup, by their comm.
    pub(super) fn process(&self, comm: &str) -> Result<i32> {
        let mark = format!("/{}", self.name);
        tools::wait(comm, self.scene.limit(), || {
            let processes = tools::processes().into_iter();
            let mut inside = processes.filter(|process| {
                process.comm == comm && tools::cgroup_text(process.pid).contains(&mark)
            });
            inside.next().map(|process| process.pid)
        })
    }

    pub(super) fn subject(&self) -> Subject {
        Subject::unit(&self.name).with("/unit/slice", "system.slice")
    }
}

/// A unit's main process.
pub(super) fn main(comm: &str, pid: i32, row: Death) -> Expected {
    main_of(comm, row).pid(pid)
}

/// The same, where nobody could ask for its pid in time.
fn main_of(comm: &str, row: Death) -> Expected {
    Expected::new(comm, row).with("/victim/role", "unit_main")
}

/// Another of its processes.
pub(super) fn child(comm: &str, row: Death) -> Expected {
    Expected::new(comm, row).with("/victim/role", "unit_child")
}

fn stop(scene: &Scene) -> Result<()> {
    let unit = Unit::run(scene, &["TimeoutStopSec=2"], STUBBORN)?;
    let (sh, sleep) = (unit.process("sh")?, unit.process("sleep")?);
    unit.systemctl(&["stop", &unit.name])?;
    let expected = [
        main("sh", sh, STOPPED.stop("delivered"))
            .by("systemd")
            .with("/stop/reason", "handled")
            .with("/stop/grace_ms", Is::AtLeast(1900))
            .with("/summary", Is::Saying("oomtrace-systemd-stop-")),
        child("sleep", STOPPED.stop("ignored"))
            .pid(sleep)
            .by("systemd"),
    ];
    scene.deaths(&unit.subject(), &expected);
    Ok(())
}

/// The sender is systemd, and never systemctl.
fn kill(scene: &Scene) -> Result<()> {
    let unit = Unit::run(scene, &[], STUBBORN)?;
    let (sh, sleep) = (unit.process("sh")?, unit.process("sleep")?);
    unit.systemctl(&["kill", "--signal=KILL", &unit.name])?;
    let expected = [
        main("sh", sh, KILLED)
            .by("systemd")
            .with("/sender/comm", "systemd"),
        child("sleep", KILLED).pid(sleep).by("systemd"),
    ];
    scene.deaths(&unit.subject(), &expected);
    Ok(())
}

fn runtime_max(scene: &Scene) -> Result<()> {
    let unit = Unit::run(scene, &["RuntimeMaxSec=2", "TimeoutStopSec=1"], DEAF)?;
    let expected = main_of("sleep", STOPPED.stop("ignored")).by("systemd");
    scene.deaths(&unit.subject(), &[expected]);
    Ok(())
}

fn watchdog(scene: &Scene) -> Result<()> {
    let properties = ["WatchdogSec=2", "TimeoutAbortSec=1", "TimeoutStopSec=1"];
    let unit = Unit::run(scene, &properties, DEAF)?;
    let expected = main_of("sleep", STOPPED.stop("ignored"))
        .by("systemd")
        .with("/stop/signal", "SIGABRT");
    scene.deaths(&unit.subject(), &[expected]);
    Ok(())
}

/// Only the main process is asked and killed; the rest stays.
fn kill_mode_process(scene: &Scene) -> Result<()> {
    let unit = Unit::run(scene, &["KillMode=process", "TimeoutStopSec=1"], STUBBORN)?;
    let (sh, sleep) = (unit.process("sh")?, unit.process("sleep")?);
    unit.systemctl(&["stop", &unit.name])?;
    let expected = main("sh", sh, STOPPED.stop("delivered")).by("systemd");
    scene.deaths(&unit.subject(), &[expected]);
    if tools::processes()
        .iter()
        .all(|process| process.pid != sleep)
    {
        scene.differs("the child has ended too".to_owned());
    }
    scene.cleans_up();
    // SAFETY: kill(2) takes numbers only.
    unsafe { libc::kill(sleep, libc::SIGKILL) };
    Ok(())
}

/// The main process is asked; the rest is killed with no word before.
fn kill_mode_mixed(scene: &Scene) -> Result<()> {
    let unit = Unit::run(scene, &["KillMode=mixed", "TimeoutStopSec=1"], STUBBORN)?;
    let (sh, sleep) = (unit.process("sh")?, unit.process("sleep")?);
    unit.systemctl(&["stop", &unit.name]).context("stop")?;
    let expected = [
        main("sh", sh, STOPPED.stop("delivered")).by("systemd"),
        child("sleep", KILLED).pid(sleep).by("systemd"),
    ];
    scene.deaths(&unit.subject(), &expected);
    Ok(())
}
