//! A client of the container runtime interface: one call a connection, as little of gRPC as that
//! takes. It does what the kubelet does, with the kubelet's labels and annotations.

mod call;
pub(crate) mod messages;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use prost::Message;

use self::messages as m;
use crate::place::CONTAINERD_SOCKET;

pub(crate) struct Cri {
    limit: Duration,
}

impl Cri {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit }
    }

    fn call<A: Message + Default>(&self, method: &str, request: &impl Message) -> Result<A> {
        let path = format!("/runtime.v1.RuntimeService/{method}");
        let answer = call::unary(
            CONTAINERD_SOCKET,
            &path,
            &request.encode_to_vec(),
            self.limit,
        )
        .with_context(|| format!("CRI {method}"))?;
        A::decode(&answer[..]).with_context(|| format!("CRI {method}: its answer"))
    }

    /// The image that pods are held with.
    pub(crate) fn sandbox_image(&self) -> Result<String> {
        let status: m::StatusAnswer = self.call("Status", &m::StatusRequest { verbose: true })?;
        let config = status.info.get("config").context("CRI tells no config")?;
        let config: serde_json::Value = serde_json::from_str(config)?;
        let image = config["sandboxImage"].as_str();
        Ok(image.context("CRI tells no sandbox image")?.to_owned())
    }

    pub(crate) fn run_pod(&self, config: &m::PodConfig) -> Result<String> {
        let request = m::RunPodRequest {
            config: Some(config.clone()),
        };
        let answer: m::PodId = self.call("RunPodSandbox", &request)?;
        Ok(answer.pod_sandbox_id)
    }

    pub(crate) fn create(
        &self,
        pod: &str,
        pod_config: &m::PodConfig,
        config: &m::ContainerConfig,
    ) -> Result<String> {
        let request = m::CreateRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config.clone()),
            sandbox_config: Some(pod_config.clone()),
        };
        let answer: m::ContainerId = self.call("CreateContainer", &request)?;
        Ok(answer.container_id)
    }

    pub(crate) fn start(&self, id: &str) -> Result<()> {
        self.call::<m::Empty>("StartContainer", &container(id))
            .map(drop)
    }

    pub(crate) fn stop(&self, id: &str, timeout_seconds: i64) -> Result<()> {
        let request = m::StopRequest {
            container_id: id.to_owned(),
            timeout: timeout_seconds,
        };
        self.call::<m::Empty>("StopContainer", &request).map(drop)
    }

    /// With the process 1, as the node sees it.
    pub(crate) fn status(&self, id: &str) -> Result<(m::ContainerStatus, Option<i32>)> {
        let request = m::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: true,
        };
        let answer: m::ContainerStatusAnswer = self.call("ContainerStatus", &request)?;
        let info: serde_json::Value = match answer.info.get("info") {
            Some(text) => serde_json::from_str(text)?,
            None => serde_json::Value::Null,
        };
        let pid = info["pid"].as_i64().map(|pid| pid as i32);
        Ok((answer.status.context("CRI: no status")?, pid))
    }

    pub(crate) fn stop_pod(&self, id: &str) -> Result<()> {
        self.call::<m::Empty>("StopPodSandbox", &pod(id)).map(drop)
    }

    pub(crate) fn remove_pod(&self, id: &str) -> Result<()> {
        self.call::<m::Empty>("RemovePodSandbox", &pod(id))
            .map(drop)
    }
}

fn container(id: &str) -> m::ContainerId {
    m::ContainerId {
        container_id: id.to_owned(),
    }
}

fn pod(id: &str) -> m::PodId {
    m::PodId {
        pod_sandbox_id: id.to_owned(),
    }
}

/// What the kubelet puts on everything of a pod.
pub(crate) fn labels(pod: &m::PodMetadata) -> BTreeMap<String, String> {
    [
        ("io.kubernetes.pod.name", &pod.name),
        ("io.kubernetes.pod.namespace", &pod.namespace),
        ("io.kubernetes.pod.uid", &pod.uid),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.clone()))
    .collect()
}
