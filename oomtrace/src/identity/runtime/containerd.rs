//! containerd's own API, for containers that neither Docker nor the kubelet had it make:
//! `ctr` and nerdctl. Of its messages, the fields that are used; the files are those of
//! containerd's api/ folder.

use std::{collections::HashMap, path::Path};

use super::{
    api::{self, ApiError, Known},
    grpc::Grpc,
};
use crate::event::container::{ContainerFacts, ContainerState};

const NAMESPACES: &str = "/containerd.services.namespaces.v1.Namespaces/List";
const CONTAINER: &str = "/containerd.services.containers.v1.Containers/Get";
const TASK: &str = "/containerd.services.tasks.v1.Tasks/Get";

/// Docker's and the kubelet's: their own APIs know more.
const OF_OTHERS: &[&str] = &["moby", "k8s.io"];
/// Most namespaces that are looked through.
const MOST: usize = 8;

/// `GetContainerRequest` (services/containers/v1/containers.proto) and `GetRequest`
/// (services/tasks/v1/tasks.proto): both have the container's id first.
#[derive(Clone, PartialEq, prost::Message)]
struct ById {
    #[prost(string, tag = "1")]
    id: String,
}

/// `ListNamespacesRequest` (services/namespaces/v1/namespace.proto): all of them.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Everything {}

#[derive(Clone, PartialEq, prost::Message)]
struct ListNamespacesResponse {
    #[prost(message, repeated, tag = "1")]
    namespaces: Vec<Namespace>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Namespace {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetContainerResponse {
    #[prost(message, optional, tag = "1")]
    container: Option<Container>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(map = "string, string", tag = "2")]
    labels: HashMap<String, String>,
    #[prost(string, tag = "3")]
    image: String,
}

/// `GetResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct GetTaskResponse {
    #[prost(message, optional, tag = "1")]
    process: Option<Process>,
}

/// types/task/task.proto.
#[derive(Clone, PartialEq, prost::Message)]
struct Process {
    #[prost(uint32, tag = "3")]
    pid: u32,
    #[prost(enumeration = "Status", tag = "4")]
    status: i32,
    #[prost(uint32, tag = "9")]
    exit_status: u32,
    /// `google.protobuf.Timestamp`.
    #[prost(message, optional, tag = "10")]
    exited_at: Option<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum Status {
    Unknown = 0,
    Created = 1,
    Running = 2,
    Stopped = 3,
    Paused = 4,
    Pausing = 5,
}

/// A client for one socket.
#[derive(Debug)]
pub(super) struct Containerd {
    grpc: Grpc,
    source: String,
}

impl Containerd {
    /// Must be called within a tokio runtime.
    pub(super) fn at(path: &Path) -> Result<Self, ApiError> {
        Ok(Self {
            grpc: Grpc::at(path)?,
            source: format!("containerd's API at {}", path.display()),
        })
    }

    /// Asks about the container with this id, in whatever namespace it is.
    pub(super) async fn inspect(&self, id: &str) -> Result<Known, ApiError> {
        let all: ListNamespacesResponse = self.grpc.call(NAMESPACES, None, Everything {}).await?;
        let names = all.namespaces.into_iter().map(|namespace| namespace.name);
        let own = names.filter(|name| !OF_OTHERS.contains(&name.as_str()));
        for namespace in own.take(MOST) {
            match self.inspect_in(&namespace, id).await {
                Err(ApiError::NotKnown) => {}
                found => return found,
            }
        }
        Err(ApiError::NotKnown)
    }

    async fn inspect_in(&self, namespace: &str, id: &str) -> Result<Known, ApiError> {
        let by_id = ById { id: id.to_owned() };
        let answer: GetContainerResponse = self
            .grpc
            .call(CONTAINER, Some(namespace), by_id.clone())
            .await?;
        let container = answer.container.ok_or(ApiError::NotKnown)?;
        // A container whose task was deleted is still known, and does not run.
        let task: GetTaskResponse = match self.grpc.call(TASK, Some(namespace), by_id).await {
            Err(ApiError::NotKnown) => GetTaskResponse::default(),
            answer => answer?,
        };
        Ok(self.known(namespace, container, task.process.as_ref()))
    }

    fn known(&self, namespace: &str, container: Container, task: Option<&Process>) -> Known {
        let status = task.map(Process::status);
        let stopped = status == Some(Status::Stopped);
        let live = task.filter(|_| !stopped);
        let ended = task.filter(|_| stopped);
        let exit_code = ended.and_then(|task| i32::try_from(task.exit_status).ok());
        let word = match status {
            None => "no task".to_owned(),
            Some(status) => format!("status={}", format!("{status:?}").to_uppercase()),
        };
        let exit = exit_code.map(|code| format!(", exit_status={code}"));
        Known {
            facts: ContainerFacts {
                id: container.id.clone(),
                runtime: Some("containerd".to_owned()),
                name: container
                    .labels
                    .get("nerdctl/name")
                    .cloned()
                    .and_then(api::text),
                image: api::text(container.image),
                labels: api::labels(container.labels),
                init_pid: live.map(|task| task.pid).filter(|pid| *pid != 0),
                sources: vec![format!("{}, namespace {namespace}", self.source)],
                can_tell_end: true,
                ..ContainerFacts::default()
            },
            state: ContainerState {
                id: container.id,
                runtime: "containerd".to_owned(),
                running: match status {
                    // No task: before it was started, or after it was cleaned up.
                    Some(Status::Unknown) | None => None,
                    Some(_) => Some(!stopped),
                },
                exit_code,
                words: format!("{word}{}", exit.unwrap_or_default()),
                source: self.source.clone(),
                ..ContainerState::default()
            },
            ended_ns: ended.and_then(|task| task.exited_at).and_then(|at| {
                at.seconds
                    .checked_mul(1_000_000_000)?
                    .checked_add(i64::from(at.nanos))
            }),
        }
    }
}
