//! The Container Runtime Interface, which the kubelet speaks to containerd, CRI-O and
//! cri-dockerd. Of its messages, the fields that are used: k8s.io/cri-api,
//! pkg/apis/runtime/v1/api.proto, whose numbers never change.

use std::{collections::HashMap, path::Path};

use super::{
    api::{self, ApiError, Known},
    grpc::Grpc,
};
use crate::event::container::{ContainerFacts, ContainerKind, ContainerState};

const CONTAINER_STATUS: &str = "/runtime.v1.RuntimeService/ContainerStatus";
const LIST_CONTAINERS: &str = "/runtime.v1.RuntimeService/ListContainers";
const SANDBOX_STATUS: &str = "/runtime.v1.RuntimeService/PodSandboxStatus";

/// `ContainerStatusRequest` and `PodSandboxStatusRequest`: both have the id first.
#[derive(Clone, PartialEq, prost::Message)]
struct ById {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<ContainerStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerStatus {
    #[prost(string, tag = "1")]
    id: String,
    /// `ContainerMetadata`.
    #[prost(message, optional, tag = "2")]
    metadata: Option<Named>,
    #[prost(enumeration = "State", tag = "3")]
    state: i32,
    #[prost(int64, tag = "6")]
    finished_at: i64,
    #[prost(int32, tag = "7")]
    exit_code: i32,
    #[prost(message, optional, tag = "8")]
    image: Option<ImageSpec>,
    #[prost(string, tag = "9")]
    image_ref: String,
    #[prost(string, tag = "10")]
    reason: String,
    #[prost(map = "string, string", tag = "12")]
    labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "13")]
    annotations: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
    /// As the user wrote it; since 1.29.
    #[prost(string, tag = "18")]
    user_specified: String,
}

/// `ContainerState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum State {
    Created = 0,
    Running = 1,
    Exited = 2,
    Unknown = 3,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListContainersRequest {
    /// `ContainerFilter`.
    #[prost(message, optional, tag = "1")]
    filter: Option<ById>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Container>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    sandbox_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<SandboxStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SandboxStatus {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<SandboxMetadata>,
    /// `PodSandboxState`: 0 is SANDBOX_READY, 1 SANDBOX_NOTREADY.
    #[prost(int32, tag = "3")]
    state: i32,
    #[prost(map = "string, string", tag = "7")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

/// A client for one socket.
#[derive(Debug)]
pub(super) struct Cri {
    grpc: Grpc,
    /// What stands behind, as far as the socket's name tells.
    runtime: &'static str,
    source: String,
}

impl Cri {
    /// Must be called within a tokio runtime.
    pub(super) fn at(path: &Path) -> Result<Self, ApiError> {
        let name = path.to_string_lossy();
        let runtime = if name.contains("crio") {
            "cri-o"
        } else if name.contains("cri-dockerd") {
            "docker"
        } else {
            "containerd"
        };
        Ok(Self {
            grpc: Grpc::at(path)?,
            runtime,
            source: format!("CRI at {name}"),
        })
    }

    /// Asks about the container, or the sandbox, with this full id.
    pub(super) async fn inspect(&self, id: &str) -> Result<Known, ApiError> {
        match self.container(id).await {
            Err(ApiError::NotKnown) => {
                let sandbox = self.sandbox(id).await?;
                Ok(self.of_sandbox(id, sandbox))
            }
            found => found,
        }
    }

    async fn container(&self, id: &str) -> Result<Known, ApiError> {
        let question = ById { id: id.to_owned() };
        let answer: ContainerStatusResponse =
            self.grpc.call(CONTAINER_STATUS, None, question).await?;
        // The first letters of an id are taken as well.
        let status = answer
            .status
            .filter(|status| status.id == id)
            .ok_or(ApiError::NotKnown)?;
        let mut known = self.of_container(status);
        // Its status does not say which pod it is of, and its labels only if the kubelet
        // made it.
        if let Ok(sandbox_id) = self.sandbox_of(id).await {
            if known.facts.pod.is_none()
                && let Ok(sandbox) = self.sandbox(&sandbox_id).await
            {
                name_pod(&mut known.facts, sandbox.metadata.unwrap_or_default());
            }
            known.facts.sandbox_id = Some(sandbox_id);
        }
        Ok(known)
    }

    async fn sandbox_of(&self, id: &str) -> Result<String, ApiError> {
        let question = ListContainersRequest {
            filter: Some(ById { id: id.to_owned() }),
        };
        let answer: ListContainersResponse =
            self.grpc.call(LIST_CONTAINERS, None, question).await?;
        answer
            .containers
            .into_iter()
            .find(|container| container.id == id)
            .and_then(|container| api::text(container.sandbox_id))
            .ok_or(ApiError::NotKnown)
    }

    async fn sandbox(&self, id: &str) -> Result<SandboxStatus, ApiError> {
        let question = ById { id: id.to_owned() };
        let answer: SandboxStatusResponse = self.grpc.call(SANDBOX_STATUS, None, question).await?;
        answer
            .status
            .filter(|status| status.id == id)
            .ok_or(ApiError::NotKnown)
    }

    fn of_container(&self, status: ContainerStatus) -> Known {
        let image = status.image.unwrap_or_default();
        let mut facts = ContainerFacts {
            id: status.id.clone(),
            runtime: Some(self.runtime.to_owned()),
            name: status
                .metadata
                .and_then(|metadata| api::text(metadata.name)),
            image: api::text(image.user_specified)
                .or(api::text(image.image))
                .or(api::text(status.image_ref)),
            sources: vec![self.source.clone()],
            can_tell_end: true,
            ..ContainerFacts::default()
        };
        api::kubelet_notes(&mut facts, |key| {
            let noted = status.annotations.get(key);
            noted.or_else(|| status.labels.get(key)).cloned()
        });
        facts.labels = api::labels(status.labels);

        let state = State::try_from(status.state).unwrap_or(State::Unknown);
        let ended = state == State::Exited;
        let word = match state {
            State::Created => "CREATED",
            State::Running => "RUNNING",
            State::Exited => "EXITED",
            State::Unknown => "UNKNOWN",
        };
        let mut words = format!("state={word}");
        if let Some(reason) = api::text(status.reason.clone()) {
            words.push_str(&format!(", reason={reason}"));
        }
        if ended {
            words.push_str(&format!(", exitCode={}", status.exit_code));
        }
        Known {
            state: ContainerState {
                id: status.id,
                runtime: "CRI".to_owned(),
                running: (state != State::Unknown).then_some(!ended),
                exit_code: ended.then_some(status.exit_code),
                oom_killed: ended.then_some(status.reason == "OOMKilled"),
                words,
                source: self.source.clone(),
                ..ContainerState::default()
            },
            facts,
            ended_ns: (ended && status.finished_at > 0).then_some(status.finished_at),
        }
    }

    fn of_sandbox(&self, id: &str, status: SandboxStatus) -> Known {
        let ready = status.state == 0;
        let mut facts = ContainerFacts {
            id: id.to_owned(),
            runtime: Some(self.runtime.to_owned()),
            kind: ContainerKind::Sandbox,
            sandbox_id: Some(id.to_owned()),
            labels: api::labels(status.labels),
            sources: vec![self.source.clone()],
            can_tell_end: true,
            ..ContainerFacts::default()
        };
        name_pod(&mut facts, status.metadata.unwrap_or_default());
        let word = if ready { "READY" } else { "NOTREADY" };
        Known {
            facts,
            state: ContainerState {
                id: id.to_owned(),
                runtime: "CRI".to_owned(),
                running: Some(ready),
                words: format!("state=SANDBOX_{word}"),
                source: self.source.clone(),
                ..ContainerState::default()
            },
            ended_ns: None,
        }
    }
}

fn name_pod(facts: &mut ContainerFacts, pod: SandboxMetadata) {
    facts.pod = api::text(pod.name);
    facts.namespace = api::text(pod.namespace);
    facts.pod_uid = api::text(pod.uid);
}
