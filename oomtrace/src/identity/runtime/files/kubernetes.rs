//! What Kubernetes hangs on its containers, by the names that the kubelet gives to labels
//! and annotations: pkg/kubelet/kuberuntime/labels.go and pkg/kubelet/types/labels.go.

use std::collections::BTreeMap;

use super::text;
use crate::event::container::{ContainerFacts, ContainerKind};

type Map = BTreeMap<String, String>;

/// Labels of a container or of a sandbox.
pub(super) fn labels(facts: &mut ContainerFacts, labels: &Map) {
    let fill = |into: &mut Option<String>, key: &str| {
        if let Some(value) = text::of(labels, key) {
            *into = Some(value);
        }
    };
    fill(&mut facts.name, "io.kubernetes.container.name");
    fill(&mut facts.pod, "io.kubernetes.pod.name");
    fill(&mut facts.namespace, "io.kubernetes.pod.namespace");
    fill(&mut facts.pod_uid, "io.kubernetes.pod.uid");
}

/// Annotations of a container. `prefix`: what the runtime puts in front of their names.
pub(super) fn annotations(facts: &mut ContainerFacts, annotations: &Map, prefix: &str) {
    let value = |key: &str| annotations.get(&format!("{prefix}{key}"));
    let grace_s: Option<u64> =
        value("io.kubernetes.pod.terminationGracePeriod").and_then(|seconds| seconds.parse().ok());
    if let Some(seconds) = grace_s {
        facts.stop_grace_ms = Some(seconds.saturating_mul(1000));
    }
    facts.pre_stop |= value("io.kubernetes.container.preStopHandler").is_some();
}

/// cri-dockerd has labels alone: pkg of core/helpers.go.
pub(super) fn dockers_labels(facts: &mut ContainerFacts, all: &Map) {
    const ANNOTATION: &str = "annotation.";
    if !all.contains_key("io.kubernetes.pod.uid") {
        return;
    }
    labels(facts, all);
    annotations(facts, all, ANNOTATION);
    facts.sandbox_id = text::of(all, "io.kubernetes.sandbox.id");
    if all
        .get("io.kubernetes.docker.type")
        .is_some_and(|kind| kind == "podsandbox")
    {
        facts.kind = ContainerKind::Sandbox;
        facts.name = None;
    }
}
