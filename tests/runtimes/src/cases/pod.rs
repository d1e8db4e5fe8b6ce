//! A pod of a case, made as the kubelet does it.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use oomtrace_scenarios::check::Is;

use crate::{
    cri::{Cri, labels, messages as m},
    place::IMAGE,
    scene::Scene,
    subject::Subject,
    systemd::Systemd,
    tools,
};

const NAMESPACE: &str = "shop";
/// Of the pods, in seconds.
const GRACE: &str = "30";

/// A pod of a case. It is removed when it goes out of scope.
pub(super) struct Pod<'a> {
    pub(super) scene: &'a Scene<'a>,
    pub(super) cri: Cri,
    config: m::PodConfig,
    pub(super) uid: String,
    pub(super) id: String,
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
pub(super) struct Container {
    pub(super) id: String,
    name: &'static str,
}

/// What a container is to be.
pub(super) struct Plan {
    pub(super) name: &'static str,
    /// 0: none.
    pub(super) limit_bytes: u64,
    pub(super) command: Vec<String>,
    pub(super) mounts: Vec<m::Mount>,
    pub(super) privileged: bool,
    /// How many of this name were there before it.
    pub(super) attempt: u32,
}

impl<'a> Pod<'a> {
    pub(super) fn run(scene: &'a Scene) -> Result<Self> {
        let mut pod = Self::planned(scene)?;
        pod.start()?;
        Ok(pod)
    }

    /// One that may have containers with all privileges.
    pub(super) fn run_privileged(scene: &'a Scene) -> Result<Self> {
        let mut pod = Self::planned(scene)?;
        let linux = pod.config.linux.as_mut();
        let security = linux.and_then(|linux| linux.security.as_mut());
        security.context("no security")?.privileged = true;
        pod.start()?;
        Ok(pod)
    }

    /// Not there yet.
    pub(super) fn planned(scene: &'a Scene) -> Result<Self> {
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

    pub(super) fn start(&mut self) -> Result<()> {
        self.id = self.cri.run_pod(&self.config)?;
        Ok(())
    }

    fn name(&self) -> String {
        format!("web-{}", self.scene.name)
    }

    /// Runs a script with a memory limit.
    pub(super) fn container(
        &self,
        name: &'static str,
        limit_bytes: u64,
        script: &str,
    ) -> Result<Container> {
        self.launch(Plan {
            name,
            limit_bytes,
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            mounts: Vec::new(),
            privileged: false,
            attempt: 0,
        })
    }

    /// Made and started as the kubelet does it.
    pub(super) fn launch(&self, plan: Plan) -> Result<Container> {
        let metadata = self.config.metadata.clone().context("no metadata")?;
        let name = plan.name;
        let mut labels = labels(&metadata);
        labels.insert("io.kubernetes.container.name".to_owned(), name.to_owned());
        let annotations = [
            ("io.kubernetes.container.hash", "0"),
            ("io.kubernetes.container.restartCount", "0"),
            ("io.kubernetes.pod.terminationGracePeriod", GRACE),
        ];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let config = m::ContainerConfig {
            metadata: Some(m::ContainerMetadata {
                name: name.to_owned(),
                attempt: plan.attempt,
            }),
            image: Some(m::Image {
                image: IMAGE.to_owned(),
            }),
            command: plan.command,
            mounts: plan.mounts,
            labels,
            annotations: BTreeMap::from(annotations),
            log_path: log_name(name),
            linux: Some(m::ContainerLinux {
                resources: Some(m::Resources {
                    memory_limit_bytes: plan.limit_bytes as i64,
                    oom_score_adj: 1000,
                    memory_swap_limit_bytes: plan.limit_bytes as i64,
                }),
                security: Some(m::ContainerSecurity {
                    privileged: plan.privileged,
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

    /// Where a container's output is kept.
    pub(super) fn log(&self, container: &Container) -> PathBuf {
        PathBuf::from(&self.config.log_directory).join(log_name(container.name))
    }

    pub(super) fn init(&self, container: &Container) -> Result<i32> {
        let (_, pid) = self.cri.status(&container.id)?;
        pid.context("CRI tells no pid")
    }

    /// The same, once it is its command.
    pub(super) fn init_named(&self, container: &Container, comm: &str) -> Result<i32> {
        tools::named(self.init(container)?, comm, self.scene.limit())
    }

    pub(super) fn init_and(&self, container: &Container, comm: &str) -> Result<(i32, i32)> {
        let init = self.init(container)?;
        Ok((init, tools::child(init, comm, self.scene.limit())?))
    }

    /// Waits for its end: the reason and the exit status.
    pub(super) fn end(&self, container: &Container) -> Result<(String, i32)> {
        tools::wait("the end of the container", self.scene.limit(), || {
            let (status, _) = self.cri.status(&container.id).ok()?;
            (status.state == m::STATE_EXITED).then_some((status.reason, status.exit_code))
        })
    }

    pub(super) fn subject(&self, container: &Container) -> Subject {
        self.member(&container.id)
            .with("/container/name", container.name)
            .with("/container/image", Is::Saying("oomtrace-busybox"))
            .with("/container/kind", "container")
    }

    /// The container that holds the pod.
    pub(super) fn sandbox(&self) -> Subject {
        self.member(&self.id).with("/container/kind", "sandbox")
    }

    pub(super) fn member(&self, id: &str) -> Subject {
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
    pub(super) fn limit(&self, bytes: u64) -> Result<()> {
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

fn log_name(container: &str) -> String {
    format!("{container}.log")
}

/// A burstable pod's slice, as the kubelet names it.
fn slice(uid: &str) -> String {
    format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"))
}
