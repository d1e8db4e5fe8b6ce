//! Pods of Kubernetes, over the interface that the kubelet uses.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use oomtrace_scenarios::check::{Death, Is};

use super::{Case, KILLED, LIMIT_BYTES, OOM, OOM_CHILD, Part, STOPPED, STUBBORN};
use crate::{
    cri::{Cri, labels, messages as m},
    place::IMAGE,
    scene::Scene,
    subject::{Expected, Subject},
    systemd::Systemd,
    tools,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("cri-stop-container", Part::Cri, stop_container),
    Case::new("cri-stop-pod", Part::Cri, stop_pod),
    Case::new("cri-oom", Part::Cri, oom),
    Case::new("cri-oom-child", Part::Cri, oom_child),
    Case::new("cri-oom-pod-limit", Part::Cri, oom_pod_limit),
];

const NAMESPACE: &str = "shop";
/// Of the pods, in seconds.
const GRACE: &str = "30";

/// A pod of a case. It is removed when it goes out of scope.
struct Pod<'a> {
    scene: &'a Scene<'a>,
    cri: Cri,
    config: m::PodConfig,
    uid: String,
    id: String,
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        self.scene.cleans_up();
        // Each fails where it has been done already.
        let _ = self.cri.stop_pod(&self.id);
        let _ = self.cri.remove_pod(&self.id);
        for folder in self.own_cgroups() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// A container of a pod.
struct Container {
    id: String,
    name: &'static str,
}

impl<'a> Pod<'a> {
    fn run(scene: &'a Scene) -> Result<Self> {
        let mut pod = Self::planned(scene)?;
        pod.start()?;
        Ok(pod)
    }

    /// Not there yet.
    fn planned(scene: &'a Scene) -> Result<Self> {
        let uid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        let uid = uid.trim().to_owned();
        let metadata = m::PodMetadata {
            name: format!("web-{}", scene.name),
            uid: uid.clone(),
            namespace: NAMESPACE.to_owned(),
        };
        let cgroup_parent = match scene.ground.place.systemd {
            Systemd::Real => slice(&uid),
            _ => format!("/kubepods/burstable/pod{uid}"),
        };
        let namespaces = m::NamespaceOption {
            network: m::NAMESPACE_NODE,
            pid: m::NAMESPACE_CONTAINER,
        };
        let logs = scene.ground.place.folder.join("pods").join(&uid);
        let config = m::PodConfig {
            labels: labels(&metadata),
            metadata: Some(metadata),
            log_directory: logs.to_string_lossy().into_owned(),
            linux: Some(m::PodLinux {
                cgroup_parent,
                security: Some(m::PodSecurity {
                    namespaces: Some(namespaces),
                    privileged: false,
                }),
            }),
        };
        Ok(Self {
            scene,
            cri: Cri::new(scene.limit()),
            config,
            uid,
            id: String::new(),
        })
    }

    fn start(&mut self) -> Result<()> {
        self.id = self.cri.run_pod(&self.config)?;
        Ok(())
    }

    fn name(&self) -> String {
        format!("web-{}", self.scene.name)
    }

    /// Made and started as the kubelet does it.
    fn container(&self, name: &'static str, limit: u64, script: &str) -> Result<Container> {
        let metadata = self.config.metadata.clone().context("no metadata")?;
        let mut labels = labels(&metadata);
        labels.insert("io.kubernetes.container.name".to_owned(), name.to_owned());
        let annotations = BTreeMap::from([
            ("io.kubernetes.container.hash".to_owned(), "0".to_owned()),
            (
                "io.kubernetes.container.restartCount".to_owned(),
                "0".to_owned(),
            ),
            (
                "io.kubernetes.pod.terminationGracePeriod".to_owned(),
                GRACE.to_owned(),
            ),
        ]);
        let config = m::ContainerConfig {
            metadata: Some(m::ContainerMetadata {
                name: name.to_owned(),
                attempt: 0,
            }),
            image: Some(m::Image {
                image: IMAGE.to_owned(),
            }),
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            mounts: Vec::new(),
            labels,
            annotations,
            log_path: format!("{name}.log"),
            linux: Some(m::ContainerLinux {
                resources: Some(m::Resources {
                    memory_limit_bytes: limit as i64,
                    oom_score_adj: 1000,
                    memory_swap_limit_bytes: limit as i64,
                }),
                security: Some(m::ContainerSecurity {
                    privileged: false,
                    namespaces: Some(m::NamespaceOption {
                        network: m::NAMESPACE_NODE,
                        pid: m::NAMESPACE_CONTAINER,
                    }),
                }),
            }),
        };
        let id = self.cri.create(&self.id, &self.config, &config)?;
        self.cri.start(&id)?;
        Ok(Container { id, name })
    }

    fn init(&self, container: &Container) -> Result<i32> {
        let (_, pid) = self.cri.status(&container.id)?;
        pid.context("CRI tells no pid")
    }

    fn init_and(&self, container: &Container, comm: &str) -> Result<(i32, i32)> {
        let init = self.init(container)?;
        Ok((init, tools::child(init, comm, self.scene.limit())?))
    }

    /// Waits for its end: the reason and the exit status.
    fn end(&self, container: &Container) -> Result<(String, i32)> {
        tools::wait("the end of the container", self.scene.limit(), || {
            let (status, _) = self.cri.status(&container.id).ok()?;
            (status.state == m::STATE_EXITED).then_some((status.reason, status.exit_code))
        })
    }

    fn subject(&self, container: &Container) -> Subject {
        self.member(&container.id)
            .with("/container/name", container.name)
            .with("/container/image", Is::Saying("oomtrace-busybox"))
            .with("/container/kind", "container")
    }

    /// The container that holds the pod.
    fn sandbox(&self) -> Subject {
        self.member(&self.id).with("/container/kind", "sandbox")
    }

    fn member(&self, id: &str) -> Subject {
        Subject::container("containerd", id)
            .with("/container/pod", &self.name())
            .with("/container/namespace", NAMESPACE)
            .with("/container/pod_uid", &self.uid)
            .with("/container/qos", "burstable")
    }

    /// The pod's cgroups, which the kubelet makes and removes where systemd does not.
    fn own_cgroups(&self) -> Vec<PathBuf> {
        let Ok(controllers) = fs::read_dir("/sys/fs/cgroup") else {
            return Vec::new();
        };
        controllers
            .flatten()
            .map(|entry| {
                entry
                    .path()
                    .join("kubepods/burstable")
                    .join(format!("pod{}", self.uid))
            })
            .filter(|path| path.is_dir())
            .collect()
    }

    /// Gives the pod as a whole a limit, as the kubelet does before it starts one.
    fn limit(&self, bytes: u64) -> Result<()> {
        if matches!(self.scene.ground.place.systemd, Systemd::Real) {
            let unit = slice(&self.uid);
            let text = format!("[Slice]\nMemoryMax={bytes}\nMemorySwapMax=0\n");
            fs::write(format!("/run/systemd/system/{unit}"), text)?;
            let mut systemctl = tools::command("systemctl");
            tools::output(systemctl.arg("daemon-reload"), self.scene.limit())?;
            return Ok(());
        }
        let folder = format!("/sys/fs/cgroup/memory/kubepods/burstable/pod{}", self.uid);
        fs::create_dir_all(&folder)?;
        fs::write(format!("{folder}/memory.limit_in_bytes"), bytes.to_string())?;
        Ok(())
    }
}

/// A burstable pod's slice, as the kubelet names it.
fn slice(uid: &str) -> String {
    format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"))
}

/// With less patience than the pod's own.
fn stop_container(scene: &Scene) -> Result<()> {
    const SHORTER: Death = STOPPED.stop("delivered").evidence(&["grace_shorter"]);
    let pod = Pod::run(scene)?;
    let web = pod.container("web", LIMIT_BYTES, STUBBORN)?;
    let (init, child) = pod.init_and(&web, "sleep")?;
    pod.cri.stop(&web.id, 2)?;
    let expected = [
        Expected::init("sh", init, SHORTER)
            .by("containerd")
            .with("/stop/reason", "handled")
            .with("/stop/configured_grace_ms", 30_000)
            .with("/stop/grace_ms", Is::AtLeast(1900))
            .with("/summary", Is::Saying("container web of pod shop/web-"))
            .runtime_says(false, Some(137), true),
        Expected::with_init("sleep", 0).pid(child),
    ];
    scene.deaths(&pod.subject(&web), &expected);
    Ok(())
}

/// The sandbox is killed at once, and its container with it.
fn stop_pod(scene: &Scene) -> Result<()> {
    let pod = Pod::run(scene)?;
    let web = pod.container("web", LIMIT_BYTES, STUBBORN)?;
    let (init, child) = pod.init_and(&web, "sleep")?;
    pod.cri.stop_pod(&pod.id)?;
    let expected = [
        Expected::init("sh", init, KILLED).by("containerd"),
        Expected::with_init("sleep", 0).pid(child),
    ];
    scene.deaths(&pod.subject(&web), &expected);
    let sandbox = Expected::init_of("sleep", KILLED).by("containerd");
    scene.deaths(&pod.sandbox(), &[sandbox]);
    Ok(())
}

fn oom(scene: &Scene) -> Result<()> {
    let pod = Pod::run(scene)?;
    let web = pod.container("web", LIMIT_BYTES, "sleep 1; exec tail /dev/zero")?;
    let (reason, code) = pod.end(&web)?;
    if reason != "OOMKilled" {
        scene.differs(format!("CRI says {reason:?}"));
    }
    let expected = Expected::init_of("tail", OOM)
        .with("/oom/levels/0/of", "container")
        .with("/oom/levels/1/of", "pod")
        .with("/oom/limit_of", Is::Saying("container"))
        .runtime_says(true, Some(code), true);
    scene.deaths(&pod.subject(&web), &[expected]);
    Ok(())
}

/// CRI says `OOMKilled` of a container that ended by itself.
fn oom_child(scene: &Scene) -> Result<()> {
    let pod = Pod::run(scene)?;
    let web = pod.container("web", LIMIT_BYTES, OOM_CHILD)?;
    let (reason, code) = pod.end(&web)?;
    let said = reason == "OOMKilled";
    let expected = Expected::child("tail", OOM)
        .with("/outcome/container_survived", true)
        .with("/summary", Is::Saying("goes on without it"))
        .runtime_says(said, Some(code), !said);
    scene.deaths(&pod.subject(&web), &[expected]);
    Ok(())
}

/// Pod and container have one limit: the kernel finds the pod's hit first, for the container's
/// memory is the pod's too.
fn oom_pod_limit(scene: &Scene) -> Result<()> {
    let mut pod = Pod::planned(scene)?;
    pod.limit(LIMIT_BYTES)?;
    pod.start()?;
    let web = pod.container("web", LIMIT_BYTES, "sleep 1; exec tail /dev/zero")?;
    pod.end(&web)?;
    let expected = Expected::init_of("tail", OOM)
        .with("/oom/levels/0/limit_bytes", LIMIT_BYTES)
        .with("/oom/levels/1/of", "pod")
        .with("/oom/levels/1/limit_bytes", LIMIT_BYTES)
        .with("/oom/limit_of", Is::Saying("pod"))
        .with("/oom/limit_cgroup", Is::Saying("pod"));
    scene.deaths(&pod.subject(&web), &[expected]);
    Ok(())
}
