//! Where runtimes keep what they know.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folders that are looked into. Those of runtimes that were started with others are
/// found from their processes.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Symbolic links in the paths of runtimes are followed as if this were the root.
    pub system: PathBuf,
    /// Our own root folder, where that is another: sockets are often mounted there.
    pub own: Option<PathBuf>,
    pub proc: PathBuf,
    /// Where cgroupfs may be mounted: the hierarchies with the paths that events carry.
    pub cgroups: Vec<PathBuf>,
}

impl Default for Roots {
    fn default() -> Self {
        let system = of_node();
        Self {
            own: (system != "/").then(|| PathBuf::from("/")),
            ..Self::under(Path::new(system))
        }
    }
}

impl Roots {
    /// The usual places, of the system whose root folder this is.
    #[must_use]
    pub fn under(system: &Path) -> Self {
        Self {
            system: system.to_owned(),
            own: None,
            proc: system.join("proc"),
            cgroups: CGROUPS.iter().map(|path| system.join(path)).collect(),
        }
    }
}

/// The node's root folder, as far as it can be reached: from a container that sees the
/// node's processes, it is that of process 1.
fn of_node() -> &'static str {
    let mounts = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let elsewhere = mounts("1").is_some_and(|first| Some(first) != mounts("self"));
    if elsewhere && Path::new("/proc/1/root/proc/1").exists() {
        "/proc/1/root"
    } else {
        "/"
    }
}

/// Version 2 alone, version 2 beside version 1, and version 1.
const CGROUPS: &[&str] = &[
    "sys/fs/cgroup",
    "sys/fs/cgroup/unified",
    "sys/fs/cgroup/memory",
];

/// Docker's data.
pub(super) const DOCKER: &[&str] = &["/var/lib/docker", "/var/snap/docker/common/var-lib-docker"];

/// Docker's own settings, which may name another.
pub(super) const DOCKER_SETTINGS: &str = "/etc/docker/daemon.json";

/// containerd's state (gone with a reboot) and its store: its own defaults, and those of
/// Docker's, k3s's, k0s's and MicroK8s's.
pub(super) const CONTAINERD: &[(&str, &str)] = &[
    ("/run/containerd", "/var/lib/containerd"),
    (
        "/run/docker/containerd/daemon",
        "/var/lib/docker/containerd/daemon",
    ),
    (
        "/run/k3s/containerd",
        "/var/lib/rancher/k3s/agent/containerd",
    ),
    ("/run/k0s/containerd", "/var/lib/k0s/containerd"),
    (
        "/var/snap/microk8s/common/run/containerd",
        "/var/snap/microk8s/common/var/lib/containerd",
    ),
];

/// The storage that Podman and CRI-O share, and where it keeps what is gone with a reboot.
pub(super) const STORAGES: &[&str] = &["/var/lib/containers/storage", "/run/containers/storage"];

/// Where conmon leaves how a container ended, for Podman and CRI-O: in `exits` for all, and
/// newer ones in `persist` for each.
pub(super) const ENDS: &[(&str, &str)] = &[
    ("/run/libpod", "podman"),
    ("/run/crio", "cri-o"),
    ("/var/run/crio", "cri-o"),
];

/// States of runc's and crun's: used alone, by containerd and by Docker. Below the last two
/// is one folder more, of the namespace.
pub(super) const STATES: &[(&str, &str)] = &[("/run/runc", "runc"), ("/run/crun", "crun")];
pub(super) const NAMESPACED_STATES: &[&str] = &["/run/containerd/runc", "/run/docker/runtime-runc"];
