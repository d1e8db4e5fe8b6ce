//! The OCI bundle's `config.json`, and what runtimes write into its annotations. Docker
//! writes none.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use super::{FilesError, folder::Folder, kubernetes, text};
use crate::{
    event::container::{ContainerFacts, ContainerKind},
    identity::heap,
};

#[derive(Deserialize)]
struct Config {
    annotations: Option<BTreeMap<String, String>>,
    process: Option<Process>,
}

#[derive(Deserialize)]
struct Process {
    env: Option<Vec<String>>,
}

/// What the bundle in this folder tells; `None`: there is none.
pub(super) fn facts(
    bundle: &Folder,
    path: impl AsRef<Path>,
) -> Result<Option<ContainerFacts>, FilesError> {
    let Some(config) = text::object::<Config>(bundle, path)? else {
        return Ok(None);
    };
    let annotations = config.annotations.unwrap_or_default();
    let mut facts = ContainerFacts::default();
    if annotations.contains_key("io.kubernetes.cri.container-type") {
        containerds(&mut facts, &annotations);
    } else if annotations
        .get("io.container.manager")
        .is_some_and(|manager| manager == "libpod")
    {
        podmans(&mut facts, &annotations);
    } else if annotations.contains_key("io.kubernetes.cri-o.ContainerType") {
        // Podman has it too, in its own pods.
        crios(&mut facts, &annotations);
    } else {
        facts.sources = vec!["the OCI bundle".to_owned()];
        nerdctls(&mut facts, &annotations);
    }
    let environment = config.process.and_then(|process| process.env);
    let environment = environment.iter().flatten().map(String::as_str);
    facts.heap = heap::kept(environment)
        .into_iter()
        .filter_map(text::text)
        .collect();
    Ok(Some(facts))
}

/// Of a container of CRI-O's; JSON in an annotation.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
}

fn kind(of: Option<&String>) -> ContainerKind {
    if of.is_some_and(|kind| kind == "sandbox") {
        ContainerKind::Sandbox
    } else {
        ContainerKind::Container
    }
}

/// pkg/cri/annotations of containerd. Labels and the pod's own annotations are not there.
fn containerds(facts: &mut ContainerFacts, annotations: &BTreeMap<String, String>) {
    const PREFIX: &str = "io.kubernetes.cri.";
    let value = |key: &str| text::of(annotations, &format!("{PREFIX}{key}"));
    facts.runtime = Some("containerd".to_owned());
    facts.kind = kind(annotations.get("io.kubernetes.cri.container-type"));
    facts.name = value("container-name");
    facts.image = value("image-name");
    facts.pod = value("sandbox-name");
    facts.namespace = value("sandbox-namespace");
    facts.pod_uid = value("sandbox-uid");
    facts.sandbox_id = value("sandbox-id");
    facts.sources = vec!["the OCI bundle's CRI annotations".to_owned()];
}

/// pkg/annotations of CRI-O: labels and annotations are there as JSON.
fn crios(facts: &mut ContainerFacts, annotations: &BTreeMap<String, String>) {
    const PREFIX: &str = "io.kubernetes.cri-o.";
    let value = |key: &str| text::of(annotations, &format!("{PREFIX}{key}"));
    let map = |key: &str| -> BTreeMap<String, String> {
        annotations
            .get(&format!("{PREFIX}{key}"))
            .and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default()
    };
    facts.runtime = Some("cri-o".to_owned());
    facts.kind = kind(annotations.get("io.kubernetes.cri-o.ContainerType"));
    facts.image = value("ImageName").or_else(|| value("Image"));
    facts.sandbox_id = value("SandboxID");
    facts.namespace = value("Namespace");
    let labels = map("Labels");
    // Some versions have them among the annotations themselves too.
    kubernetes::labels(facts, annotations);
    kubernetes::labels(facts, &labels);
    kubernetes::annotations(facts, annotations, "");
    kubernetes::annotations(facts, &map("Annotations"), "");
    // Without a kubelet there are no such labels.
    let metadata: Metadata = annotations
        .get("io.kubernetes.cri-o.Metadata")
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default();
    let sandbox = value("SandboxName").unwrap_or_default();
    let sandbox: Vec<&str> = sandbox.split('_').collect();
    if let ["k8s", pod, namespace, uid, _] = sandbox[..] {
        let fill = |into: &mut Option<String>, from: &str| {
            into.get_or_insert_with(|| from.to_owned());
        };
        fill(&mut facts.pod, pod);
        fill(&mut facts.namespace, namespace);
        fill(&mut facts.pod_uid, uid);
    }
    match facts.kind {
        ContainerKind::Container => {
            facts.name = facts.name.take().or_else(|| text::text(metadata.name));
        }
        // The sandbox says `POD`.
        ContainerKind::Sandbox => facts.name = None,
    }
    facts.labels = text::labels(labels);
    facts.stop_signal = stop_signal(annotations);
    facts.sources = vec!["the OCI bundle's CRI-O annotations".to_owned()];
    facts.is_final = true;
}

/// Names, labels and the stop timeout are not there.
fn podmans(facts: &mut ContainerFacts, annotations: &BTreeMap<String, String>) {
    facts.runtime = Some("podman".to_owned());
    facts.kind = kind(annotations.get("io.kubernetes.cri-o.ContainerType"));
    facts.stop_signal = stop_signal(annotations);
    facts.sandbox_id = text::of(annotations, "io.kubernetes.cri-o.SandboxID");
    facts.sources = vec!["the OCI bundle's Podman annotations".to_owned()];
}

/// pkg/labels of nerdctl, which writes its labels as annotations.
fn nerdctls(facts: &mut ContainerFacts, annotations: &BTreeMap<String, String>) {
    facts.name = text::of(annotations, "nerdctl/name");
    facts.image = text::of(annotations, "nerdctl/image-ref");
    facts.stop_signal = stop_signal(annotations);
}

/// Podman writes a number.
fn stop_signal(annotations: &BTreeMap<String, String>) -> Option<String> {
    text::of(annotations, "org.opencontainers.image.stopSignal")
}
