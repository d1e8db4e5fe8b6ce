//! Containers as their runtimes know them: what is asked about one, and what was found.
//! Questions go out beside the stream, answers come in as entries of it.

use std::collections::BTreeMap;

use oomtrace_common::maps::CgroupKey;
use serde::{Deserialize, Serialize};

/// What is wanted to be known of a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// Its id, as it stands in the path of its cgroup.
    pub id: String,
    /// Path of its own cgroup, from the root of the hierarchy.
    pub cgroup: String,
    pub what: What,
}

/// See [`Ask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// Name, image, pod and the like: [`ContainerFacts`].
    Facts,
    /// The same, of what need not be a container at all: its path tells nothing.
    Whether,
    /// How it ended, in its runtime's words: [`ContainerState`]. What the runtime wrote of an
    /// end before this moment (`CLOCK_BOOTTIME`; 0: not known) is of an earlier run.
    End { since_ns: u64 },
}

/// What kind of container it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerKind {
    #[default]
    Container,
    /// Holds a pod's namespaces, and runs nothing of the user's.
    Sandbox,
}

/// What was found out about a container. `None`: no source said so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFacts {
    pub boottime_ns: u64,
    pub id: String,
    /// `docker`, `containerd`, `cri-o`, `podman`, `runc`, `crun`, `lxc`, `systemd-nspawn`.
    pub runtime: Option<String>,
    pub kind: ContainerKind,
    pub name: Option<String>,
    pub image: Option<String>,
    pub pod: Option<String>,
    pub namespace: Option<String>,
    pub pod_uid: Option<String>,
    /// Of the pod's sandbox.
    pub sandbox_id: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// The container's process 1 as the node sees it.
    pub init_pid: Option<u32>,
    /// What a stop waits for before SIGKILL: the container's own stop timeout, or the grace
    /// period of its pod.
    pub stop_grace_ms: Option<u64>,
    /// The signal that a stop begins with, where the container names one.
    pub stop_signal: Option<String>,
    /// A hook runs before the stop signal is sent, and its time counts.
    pub pre_stop: bool,
    /// What in its environment sets the size of a heap (`GOMEMLIMIT=900MiB`), and nothing else of
    /// it.
    #[serde(default)]
    pub heap: Vec<String>,
    /// Where all this is from, for a person: `docker's config.v2.json`, `CRI`.
    pub sources: Vec<String>,
    /// Some source here can tell how the container ended.
    pub can_tell_end: bool,
    /// No better answer will come.
    pub is_final: bool,
}

/// How a container stands, in its runtime's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    pub boottime_ns: u64,
    pub id: String,
    /// As it was asked: see [`What::End`].
    #[serde(default)]
    pub since_ns: u64,
    /// Who says so: `docker`, `CRI`, `podman`.
    pub runtime: String,
    pub running: Option<bool>,
    pub exit_code: Option<i32>,
    /// The runtime says that it was killed for want of memory.
    pub oom_killed: Option<bool>,
    /// As the runtime words it: `OOMKilled=true, ExitCode=3`, `Reason: OOMKilled`.
    pub words: String,
    pub source: String,
}

/// No runtime could be asked, or none knew the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUnknown {
    pub boottime_ns: u64,
    pub id: String,
    /// It was the end that was asked for.
    pub of_end: bool,
    /// What was tried, and what came of it.
    pub why: String,
    /// Nobody was asked, for too much was asked at once: it may be known all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_busy: bool,
}

/// What a container is called by those who make the next one of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunName {
    pub runtime: Option<String>,
    /// The user's service manager that it runs below: each user has runtimes of their own.
    pub manager: Option<String>,
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub container: String,
}

/// A run of a container or a unit in which somebody died, and on which none has followed that was
/// seen. The tracer before has left it: what runs next may come in the time of this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedRun {
    /// Of its cgroup.
    pub path: String,
    pub made_ns: Option<u64>,
    /// The death that has ended it, or may have.
    pub death_id: String,
    pub died_ns: u64,
    /// Of the main process. Whatever else dies in the same run, this is what ended it.
    pub is_main: bool,
    pub name: Option<RunName>,
    /// When its last process had gone.
    pub emptied_ns: Option<u64>,
}

/// A cgroup came, or the last process in it and below has gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupChange {
    pub boottime_ns: u64,
    pub path: String,
    /// The kernel's number of it: its inode in cgroupfs.
    pub cgroup_id: u64,
    /// In v2's hierarchy, not in the memory controller's of v1: each has its own numbers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unified: bool,
    pub kind: CgroupChangeKind,
}

impl CgroupChange {
    /// As the programs know it.
    #[must_use]
    pub const fn key(&self) -> CgroupKey {
        CgroupKey::new(self.cgroup_id, self.unified)
    }
}

/// See [`CgroupChange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupChangeKind {
    /// It was there when the tracer started.
    Found,
    Made,
    Emptied,
}
