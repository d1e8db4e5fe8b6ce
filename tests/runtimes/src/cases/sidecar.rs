//! The tracer as a sidecar: a container of the pod that it watches, with all privileges, in PID
//! and cgroup namespaces of its own. What it says is read where the kubelet reads it.

use std::{
    env, fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use oomtrace_scenarios::{check::Is, tracer};
use serde_json::Value;

use super::{
    BY_HAND, Case, LIMIT_BYTES, OOM, Part, STOPPED, STUBBORN, TWO_WORKERS,
    pod::{Container, Plan, Pod},
};
use crate::{
    cli::IN_CGROUP_NAMESPACE,
    cri::messages as m,
    scene::{Records, Scene},
    subject::{Expected, Subject},
    tools,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("sidecar-oom", Part::Cri, oom),
    Case::new(
        "sidecar-killed-from-outside",
        Part::Cri,
        killed_from_outside,
    ),
    Case::new("sidecar-stays", Part::Cri, stays),
    Case::new("sidecar-alone", Part::Cri, alone),
    Case::new("sidecar-told-twice", Part::Cri, told_twice),
];

/// From its start to every hook attached; an emulated CPU is ten times as slow.
const START_LIMIT: Duration = Duration::from_secs(60);
/// More than any test takes: whoever is still waiting then was not heard.
const LONG: i64 = 300;
/// What it says when it is asked to end before the others.
const STAYING: &str = "staying until the pod's other containers";

/// Whether it is to have a cgroup namespace of its own. With privileges, containerd gives it none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cgroups {
    Own,
    Nodes,
}

struct Sidecar<'a> {
    pod: &'a Pod<'a>,
    container: Container,
    log: PathBuf,
}

impl<'a> Sidecar<'a> {
    fn start(pod: &'a Pod, cgroups: Cgroups) -> Result<Self> {
        let bind = |host_path: String, container_path: &str| m::Mount {
            container_path: container_path.to_owned(),
            host_path,
            readonly: true,
        };
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let tracer = fs::canonicalize(&pod.scene.ground.options.tracer)?;
        let mut mounts = vec![bind(path(tracer), "/oomtrace")];
        let mut command = Vec::new();
        if cgroups == Cgroups::Own {
            mounts.push(bind(path(env::current_exe()?), "/runner"));
            command.extend(["/runner", IN_CGROUP_NAMESPACE]);
        }
        command.extend([
            "/oomtrace",
            "run",
            "--no-store",
            "--output",
            "json",
            "--scope",
            "pod",
        ]);
        let container = pod.launch(Plan {
            name: "oomtrace",
            limit_bytes: 0,
            command: command.into_iter().map(str::to_owned).collect(),
            mounts,
            privileged: true,
            attempt: 0,
        })?;
        let log = pod.log(&container);
        let sidecar = Self {
            pod,
            container,
            log,
        };
        let started = |records: &[Value]| !records.is_empty();
        if !sidecar.wait_for(0, START_LIMIT, &started) {
            let said = fs::read_to_string(&sidecar.log).unwrap_or_default();
            anyhow::bail!("the sidecar did not start: {said}");
        }
        sidecar.check_started();
        Ok(sidecar)
    }

    /// It says what it cannot see, and why.
    fn check_started(&self) {
        let started = self.records(0).first().cloned().unwrap_or_default();
        let absent = started["absent"].as_array().cloned().unwrap_or_default();
        let says = |what: &str, why: &str| {
            absent.iter().any(|one| {
                let has =
                    |field: &str, words| one[field].as_str().unwrap_or_default().contains(words);
                has("what", what) && has("why", why)
            })
        };
        if started["type"] != "started" || !says("/proc of the node", "PID namespace") {
            self.pod
                .scene
                .differs(format!("it says at its start: {started}"));
        }
    }

    fn output(&self, stream: &str) -> Vec<String> {
        lines_of(&fs::read_to_string(&self.log).unwrap_or_default(), stream)
    }

    /// It has been asked to end, and says that it stays.
    fn stays(&self) -> Result<()> {
        tools::wait("a word of the sidecar", self.pod.scene.limit(), || {
            let said = self.output("stderr");
            said.iter().any(|line| line.contains(STAYING)).then_some(())
        })
    }

    /// It ended by itself, in good order.
    fn check_end(&self) -> Result<()> {
        let (_, code) = self.pod.end(&self.container)?;
        if code != 0 {
            let said = self.output("stderr").join("; ");
            let scene = self.pod.scene;
            scene.differs(format!("the sidecar's exit status is {code}: {said}"));
        }
        let last = |records: &[Value]| records.last().is_some_and(|last| last["type"] == "stopped");
        if !self.wait_for(0, self.pod.scene.limit(), &last) {
            let last = self.records(0).pop();
            self.pod
                .scene
                .differs(format!("the sidecar's last record is {last:?}"));
        }
        Ok(())
    }

    /// These deaths are told, as the node's tracer tells them, and none of anybody else.
    fn tells(&self, container: &Container, expected: &[Expected]) {
        let subject = self.inside(container);
        let told = self.pod.scene.deaths_by(self, 0, &subject, expected);
        let of_pod = |record: &&Value| {
            let cgroup = record["victim"]["cgroup"].as_str().unwrap_or_default();
            record["type"] != "death"
                || cgroup.contains(&self.pod.uid)
                || cgroup.contains(&self.pod.uid.replace('-', "_"))
        };
        for foreign in self.records(0).iter().filter(|record| !of_pod(record)) {
            self.pod
                .scene
                .differs(format!("of no concern to the pod: {}", foreign["summary"]));
        }
        let nodes = self.pod.scene.records();
        for death in &told {
            let of_node = nodes.iter().rfind(|record| record["id"] == death["id"]);
            for path in [
                "/cause",
                "/mechanism",
                "/victim/pid",
                "/victim/ns_pid",
                "/sender/pid",
                "/sender/comm",
                "/actor/kind",
                "/actor/name",
            ] {
                let node = of_node.and_then(|record| record.pointer(path));
                if death.pointer(path) != node {
                    self.pod.scene.differs(format!(
                        "{path} is {:?}, and on the node {node:?}",
                        death.pointer(path)
                    ));
                }
            }
        }
    }

    /// Of a container, as far as it is seen from inside the pod: its cgroup's path has its id, and
    /// not in every place its runtime.
    fn inside(&self, container: &Container) -> Subject {
        Subject::some_container(&container.id)
            .with("/container/pod_uid", &self.pod.uid)
            .with("/container/qos", "burstable")
    }
}

impl Records for Sidecar<'_> {
    fn records(&self, mark: usize) -> Vec<Value> {
        let mut records = tracer::parse(&self.output("stdout")).0;
        records.drain(..mark.min(records.len()));
        records
    }

    fn wait_for(&self, mark: usize, limit: Duration, wanted: &dyn Fn(&[Value]) -> bool) -> bool {
        let there = || wanted(&self.records(mark)).then_some(());
        tools::wait("records", limit, there).is_ok()
    }
}

/// A stream's whole lines in a log as the kubelet keeps it: `TIME STREAM F|P TEXT`, where `P` is
/// a part of a line.
fn lines_of(log: &str, stream: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut part = String::new();
    for line in log.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else {
            break;
        };
        let mut words = line.splitn(4, ' ').skip(1);
        let (Some(of), Some(tag), Some(text)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if of == stream {
            part.push_str(text);
            if tag == "F" {
                lines.push(std::mem::take(&mut part));
            }
        }
    }
    lines
}

/// First the child of a container's process 1 is chosen, and later process 1.
fn oom(scene: &Scene) -> Result<()> {
    let pod = Pod::run_privileged(scene)?;
    let sidecar = Sidecar::start(&pod, Cgroups::Own)?;
    let script = "tail /dev/zero; sleep 2; exec tail /dev/zero";
    let app = pod.container("app", LIMIT_BYTES, script)?;
    let expected = [
        Expected::child("tail", OOM)
            .with("/victim/ns_pid", Is::AtLeast(2))
            .with("/victim/pid", Is::AtLeast(3))
            .with("/outcome/container_survived", true),
        Expected::init_of("tail", OOM).with("/victim/pid", Is::AtLeast(3)),
    ];
    scene.deaths(&pod.subject(&app), &expected);
    sidecar.tells(&app, &expected);
    Ok(())
}

/// Whoever kills is not in the pod; others outside of it are killed, too.
fn killed_from_outside(scene: &Scene) -> Result<()> {
    let pod = Pod::run_privileged(scene)?;
    let sidecar = Sidecar::start(&pod, Cgroups::Own)?;
    let app = pod.container("app", LIMIT_BYTES, TWO_WORKERS)?;
    let (init, worker) = pod.init_and(&app, "sleep")?;
    let neighbour = Pod::run(scene)?;
    let other = neighbour.container("other", LIMIT_BYTES, "exec sleep 1000")?;
    let other_init = neighbour.init_named(&other, "sleep")?;
    let line = format!("sleep 1000 & kill -9 $! {other_init} {worker}; true");
    tools::output(tools::command("sh").args(["-c", &line]), scene.limit())?;
    pod.cri.stop(&app.id, 1)?;
    let expected = [
        Expected::child("sleep", BY_HAND)
            .pid(worker)
            .with("/outcome/container_survived", true)
            .with("/sender/comm", "sh")
            .with("/sender/pid", Is::There)
            .with("/sender/container", Is::Null),
        Expected::init("sh", init, STOPPED.stop("delivered"))
            .by("containerd")
            .with("/sender/comm", "runc"),
        Expected::with_init("sleep", 1),
    ];
    scene.deaths(
        &neighbour.subject(&other),
        &[Expected::init("sleep", other_init, BY_HAND)],
    );
    scene.deaths(&pod.subject(&app), &expected);
    sidecar.tells(&app, &expected);
    Ok(())
}

/// It is asked to end when the app is, a moment before, and ends after it.
fn stays(scene: &Scene) -> Result<()> {
    let pod = Pod::run_privileged(scene)?;
    let sidecar = Sidecar::start(&pod, Cgroups::Nodes)?;
    let app = pod.container("app", LIMIT_BYTES, STUBBORN)?;
    let (init, child) = pod.init_and(&app, "sleep")?;
    let began = Instant::now();
    thread::scope(|scope| {
        let asked = scope.spawn(|| pod.cri.stop(&sidecar.container.id, LONG));
        // It has been asked by then, however late the runtime's command comes to it.
        sidecar.stays()?;
        pod.cri.stop(&app.id, 2)?;
        asked.join().ok().context("it panicked")?
    })?;
    ensure!(began.elapsed() < scene.limit(), "it did not end by itself");
    let expected = [
        Expected::init("sh", init, STOPPED.stop("delivered")).by("containerd"),
        Expected::with_init("sleep", 0).pid(child),
    ];
    scene.deaths(&pod.subject(&app), &expected);
    sidecar.tells(&app, &expected);
    sidecar.check_end()
}

/// With nobody else in the pod but what holds it, there is nothing to stay for.
fn alone(scene: &Scene) -> Result<()> {
    let pod = Pod::run_privileged(scene)?;
    let sidecar = Sidecar::start(&pod, Cgroups::Own)?;
    pod.cri.stop(&sidecar.container.id, LONG)?;
    sidecar.check_end()
}

/// Whoever asks twice means it.
fn told_twice(scene: &Scene) -> Result<()> {
    let pod = Pod::run_privileged(scene)?;
    let sidecar = Sidecar::start(&pod, Cgroups::Own)?;
    let app = pod.container("app", LIMIT_BYTES, "exec sleep 1000")?;
    let init = pod.init(&sidecar.container)?;
    // SAFETY: kill(2) takes numbers only; the container runs, so that its number is its own.
    let ask = || unsafe { libc::kill(init, libc::SIGTERM) };
    ask();
    sidecar.stays()?;
    ask();
    sidecar.check_end()?;
    let (status, _) = pod.cri.status(&app.id)?;
    if status.state == m::STATE_EXITED {
        scene.differs("the app ended before".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_lines_are_put_together() {
        let log =
            "t stdout P {\"a\":\nt stderr F oops\nt stdout F 1}\nt stdout F b c\nt stdout F cut";
        assert_eq!(lines_of(log, "stdout"), ["{\"a\":1}", "b c"]);
        assert_eq!(lines_of(log, "stderr"), ["oops"]);
    }
}
