//! Names for people and for records: of the container, the pod and the unit that a process
//! ran in.

use super::{
    containers::{Containers, Known},
    record::{Container, ContainerName, Unit},
    role::Role,
    words,
};
use crate::{
    event::Process,
    identity::place::{ContainerPlace, Place, UnitPlace},
};

/// A process with where it ran.
pub(super) struct Located<'a> {
    pub place: Place,
    pub known: Option<&'a Known>,
    pub role: Role,
}

/// An id as people know it: runtimes show twelve digits.
#[must_use]
pub fn short(id: &str) -> &str {
    let is_hex = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex {
        id.get(..12).unwrap_or(id)
    } else {
        id
    }
}

/// `web of pod shop/web-6f`, or the id.
pub(super) fn container_label(container: &ContainerPlace, known: Option<&Known>) -> String {
    let facts = known.and_then(|known| known.facts.as_deref());
    let Some(facts) = facts else {
        return short(&container.id).to_owned();
    };
    let name = facts
        .name
        .as_deref()
        .unwrap_or_else(|| short(&container.id));
    match pod_label(facts.namespace.as_deref(), facts.pod.as_deref()) {
        Some(pod) => format!("{name} of pod {pod}"),
        None => name.to_owned(),
    }
}

/// `shop/web-6f`, or the pod alone where its namespace is not known.
#[must_use]
pub fn pod_label(namespace: Option<&str>, pod: Option<&str>) -> Option<String> {
    let pod = pod?;
    Some(match namespace {
        Some(namespace) => format!("{namespace}/{pod}"),
        None => pod.to_owned(),
    })
}

impl Located<'_> {
    /// The container as people speak of it, if it was in one.
    pub(super) fn container(&self) -> Option<String> {
        let container = self.place.containers.first()?;
        Some(container_label(container, self.known))
    }

    /// The pod as people speak of it.
    pub(super) fn pod(&self) -> Option<String> {
        let facts = self.known.and_then(|known| known.facts.as_deref());
        facts
            .and_then(|facts| pod_label(facts.namespace.as_deref(), facts.pod.as_deref()))
            .or_else(|| self.place.pod.as_ref().map(|pod| pod.uid.clone()))
    }

    /// The process, with what it was part of.
    pub(super) fn label(&self, process: &Process) -> String {
        let process = words::label(process);
        let container = self.container();
        match (self.role, container, &self.place.unit) {
            (Role::ContainerInit, Some(container), _) => {
                format!("container {container} ({process})")
            }
            (Role::Child, Some(container), _) => format!("{process} in container {container}"),
            (Role::UnitMain, _, Some(unit)) => format!("{} ({process})", unit.name),
            (Role::UnitChild, _, Some(unit)) => format!("{process} of {}", unit.name),
            (Role::RuntimeHelper, ..) => format!("{process}, a helper of the container runtime,"),
            _ => process,
        }
    }
}

/// The record of the container that a process ran in.
#[must_use]
pub(super) fn container(place: &Place, containers: &Containers) -> Option<Container> {
    let (inner, outer) = place.containers.split_first()?;
    let known = containers.get(&inner.id);
    let facts = known.and_then(|known| known.facts.as_deref());
    let name = container_name(inner, containers);
    Some(Container {
        runtime: name.runtime,
        id: name.id,
        name: name.name,
        image: facts.and_then(|facts| facts.image.clone()),
        pod: name.pod,
        namespace: name.namespace,
        pod_uid: facts
            .and_then(|facts| facts.pod_uid.clone())
            .or_else(|| place.pod.as_ref().map(|pod| pod.uid.clone())),
        qos: place.pod.as_ref().map(|pod| pod.qos.into()),
        kind: facts.map(|facts| facts.kind),
        labels: facts.map(|facts| facts.labels.clone()).unwrap_or_default(),
        cgroup: Some(inner.cgroup.clone()).filter(|path| !path.is_empty()),
        outer: outer
            .iter()
            .map(|container| container_name(container, containers))
            .collect(),
        sources: facts.map(|facts| facts.sources.clone()).unwrap_or_default(),
    })
}

/// A container's names alone.
#[must_use]
pub(super) fn container_name(container: &ContainerPlace, containers: &Containers) -> ContainerName {
    let facts = containers
        .get(&container.id)
        .and_then(|known| known.facts.as_deref());
    ContainerName {
        runtime: facts
            .and_then(|facts| facts.runtime.clone())
            .or_else(|| container.runtime.map(str::to_owned)),
        id: container.id.clone(),
        name: facts.and_then(|facts| facts.name.clone()),
        pod: facts.and_then(|facts| facts.pod.clone()),
        namespace: facts.and_then(|facts| facts.namespace.clone()),
    }
}

/// The record of a unit.
#[must_use]
pub(super) fn unit(unit: &UnitPlace) -> Unit {
    Unit {
        name: unit.name.clone(),
        slice: unit.slice.clone(),
        user: unit.user,
    }
}
