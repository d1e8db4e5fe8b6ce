//! What the cgroups from a process's own to the root are: its container's, its pod's, a
//! slice's, the node's.

use super::{
    naming::{self, Located},
    words,
};
use crate::{event::MemcgLevel, identity::target::is_within};

/// What a cgroup is, and its name.
pub(super) type Owner = (&'static str, Option<String>);

/// Whether a cgroup is the one that a container is confined by. Below a scope of systemd's, crun
/// puts its processes and their limits into a cgroup `container`.
fn is_own(path: &str, container: &str) -> bool {
    path.strip_prefix(container)
        .is_some_and(|rest| rest.is_empty() || rest == "/container")
}

/// The owner of the cgroup at `path`, which stands on the way from a process's own to the
/// root.
#[must_use]
pub(super) fn owner(path: &str, at: &Located<'_>) -> Owner {
    let last = path.rsplit('/').next().unwrap_or_default();
    if path == "/" {
        return ("root", None);
    }
    for (index, container) in at.place.containers.iter().enumerate() {
        let name = || {
            if index == 0 {
                at.container()
            } else {
                Some(naming::short(&container.id).to_owned())
            }
        };
        if is_own(path, &container.cgroup) {
            return (
                if index == 0 {
                    "container"
                } else {
                    "outer_container"
                },
                name(),
            );
        }
        if index == 0 && !container.cgroup.is_empty() && is_within(path, &container.cgroup) {
            return ("in_container", name());
        }
    }
    if let Some(pod) = &at.place.pod
        && path == pod.cgroup
    {
        return ("pod", at.pod());
    }
    if let Some(unit) = &at.place.unit {
        if path == unit.cgroup {
            return ("unit", Some(unit.name.clone()));
        }
        if is_within(path, &unit.cgroup) {
            return ("in_unit", Some(unit.name.clone()));
        }
    }
    if last.strip_suffix(".slice").is_some() {
        return ("slice", Some(last.to_owned()));
    }
    let pod = at.place.pod.as_ref();
    if pod.is_some_and(|pod| pod.cgroup.starts_with(path)) {
        return ("kubepods", Some(last.to_owned()));
    }
    ("cgroup", None)
}

/// What a cgroup is called by people.
#[must_use]
pub(super) fn name(path: &str, at: &Located<'_>) -> String {
    match owner(path, at) {
        ("container", Some(name)) => format!("container {name}"),
        ("pod", Some(name)) => format!("pod {name}"),
        ("unit" | "slice", Some(name)) => name,
        _ => path.to_owned(),
    }
}

/// A limit of this size ("memory limit of 64.0 MiB"), with whose it is.
#[must_use]
pub(super) fn phrase(level: Option<&MemcgLevel>, at: &Located<'_>, size: &str) -> String {
    let Some(path) = level.and_then(|level| level.path.as_deref()) else {
        return format!("the {size}");
    };
    match owner(path, at) {
        ("container", _) => format!("the container's {size}"),
        ("outer_container", Some(name)) => {
            format!("the {size} of the container around it, {name},")
        }
        ("in_container", _) => format!("the {size} on {path}, inside the container,"),
        ("pod", Some(name)) => format!("the {size} of the whole pod {name}"),
        ("unit", _) => format!("the unit's {size}"),
        ("in_unit", _) => format!("the {size} on {path}, inside the unit,"),
        ("slice", Some(name)) => format!("the {size} of the slice {name}"),
        ("kubepods", Some(name)) => format!("the {size} of all pods of a class together ({name})"),
        _ => format!("the {size} on {path}"),
    }
}

/// A pod and its container that have the same limit: the pod's counts its sandbox as well, and
/// is full first; the container's is what somebody has set.
#[must_use]
pub(super) fn same_as_container(
    limit: Option<&MemcgLevel>,
    levels: &[MemcgLevel],
    at: &Located<'_>,
    page_bytes: u64,
) -> Option<String> {
    let limit = limit?;
    let path = limit.path.as_deref()?;
    let container = at.place.containers.first()?;
    if owner(path, at).0 != "pod" {
        return None;
    }
    let own = levels
        .iter()
        .find(|level| level.path.as_deref() == Some(&container.cgroup))?;
    (own.max_pages.is_some() && own.max_pages == limit.max_pages).then(|| {
        format!(
            "the pod and its container have the same limit, {}: the pod's counts its sandbox as well and is full first; the container's own is the one that somebody has set",
            words::bytes(limit.max_pages.unwrap_or_default().saturating_mul(page_bytes))
        )
    })
}
