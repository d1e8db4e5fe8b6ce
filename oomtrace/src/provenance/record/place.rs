//! Where a process ran.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Word;
use crate::event::container::ContainerKind;

/// Names of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerName {
    pub runtime: Option<String>,
    pub id: String,
    pub name: Option<String>,
    pub pod: Option<String>,
    pub namespace: Option<String>,
}

/// All that is known of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub runtime: Option<String>,
    pub id: String,
    pub name: Option<String>,
    pub image: Option<String>,
    pub pod: Option<String>,
    pub namespace: Option<String>,
    pub pod_uid: Option<String>,
    /// `guaranteed`, `burstable` or `besteffort`: the pod's class.
    pub qos: Option<Word>,
    pub kind: Option<ContainerKind>,
    pub labels: BTreeMap<String, String>,
    pub cgroup: Option<String>,
    /// The containers around it, the next one first.
    pub outer: Vec<ContainerName>,
    /// Where its names are from.
    pub sources: Vec<String>,
}

/// A systemd unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    pub name: String,
    pub slice: Option<String>,
    /// Of the service manager of this user, not of the system's.
    pub user: Option<u32>,
}
