//! From the path of a cgroup to what runs there: container, pod, unit. Pure: the path alone
//! is looked at, for the cgroup itself may be gone.

/// Where a process runs, as far as its cgroup's path tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The containers around it, the innermost first.
    pub containers: Vec<ContainerPlace>,
    /// The innermost pod.
    pub pod: Option<PodPlace>,
    /// The innermost systemd unit that is a service, a scope or the like and not a
    /// container's own; of the node, or inside the innermost container.
    pub unit: Option<UnitPlace>,
}

/// A container in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPlace {
    /// What the path tells of its runtime.
    pub runtime: Option<&'static str>,
    pub id: String,
    /// The path up to its own cgroup.
    pub cgroup: String,
}

/// A Kubernetes pod in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlace {
    /// With dashes.
    pub uid: String,
    /// `guaranteed`, `burstable` or `besteffort`.
    pub qos: &'static str,
    /// The path up to its own cgroup.
    pub cgroup: String,
}

/// A systemd unit in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitPlace {
    pub name: String,
    /// The slice that it stands in.
    pub slice: Option<String>,
    /// Of the service manager of this user, not of the system's.
    pub user: Option<u32>,
    /// The path up to its own cgroup.
    pub cgroup: String,
}

impl Place {
    /// Reads a path as `/proc/PID/cgroup` and the kernel write it.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let _ = path;
        Self::default()
    }

    /// The same, of the last name of a path alone.
    #[must_use]
    pub fn of_leaf(name: &str) -> Self {
        let _ = name;
        Self::default()
    }
}
