//! Docker's API over its unix socket, and Podman's, which speaks the same.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bollard::{
    API_DEFAULT_VERSION, BollardRequest, Docker as Client, errors::Error as ClientError,
    models::ContainerInspectResponse,
};
use hyper::{
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{io::AsyncReadExt as _, net::UnixStream};

use super::api::{self, ApiError, Known};
use crate::event::container::{ContainerFacts, ContainerKind, ContainerState};

/// Most of an answer that is read, bytes: an inspected container has some 10 KiB.
const ANSWER_BYTES: u64 = 4 * 1024 * 1024;
/// A connection lives for so long at the most; who asks gives up before.
const CONNECTION: Duration = Duration::from_secs(5);
/// `docker stop` waits for so long where nothing else was said (daemon/container's
/// `defaultStopTimeout`).
const DEFAULT_STOP_SECONDS: i64 = 10;
/// Podman's answers have it. To ask for its version instead takes it a second: it runs
/// programs for that.
const OF_PODMAN: &str = "libpod-api-version";

/// A client for one socket. Each request has a connection of its own: what hangs in one
/// hangs in no other.
#[derive(Debug)]
pub(super) struct Docker {
    client: Client,
    path: PathBuf,
    /// Docker's socket may well be Podman's.
    is_podman: Arc<AtomicBool>,
}

impl Docker {
    pub(super) fn at(path: &Path) -> Result<Self, ApiError> {
        let socket = path.to_owned();
        let is_podman = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&is_podman);
        let client = Client::connect_with_custom_transport(
            move |request| send(socket.clone(), request, Arc::clone(&noted)),
            Some("http://localhost"),
            CONNECTION.as_secs(),
            API_DEFAULT_VERSION,
        )
        .map_err(failed)?;
        Ok(Self {
            client,
            path: path.to_owned(),
            is_podman,
        })
    }

    /// Asks about the container with this full id.
    pub(super) async fn inspect(&self, id: &str) -> Result<Known, ApiError> {
        let answer = match self.client.inspect_container(id, None).await {
            Err(ClientError::JsonDataError {
                message, contents, ..
            }) => leniently(&contents).ok_or(ApiError::Failed(message))?,
            answer => answer.map_err(failed)?,
        };
        // It takes names and the first letters of ids as well.
        if answer.id.as_deref() != Some(id) {
            return Err(ApiError::NotKnown);
        }
        let is_podman = self.is_podman.load(Ordering::Relaxed);
        let runtime = if is_podman { "podman" } else { "docker" };
        Ok(known(answer, runtime, &self.path))
    }
}

/// One request over a connection of its own.
async fn send(
    path: PathBuf,
    request: BollardRequest,
    is_podman: Arc<AtomicBool>,
) -> Result<hyper::Response<hyper::body::Incoming>, ClientError> {
    let (reads, writes) = UnixStream::connect(&path).await?.into_split();
    let limited = tokio::io::join(reads.take(ANSWER_BYTES), writes);
    let (mut sender, connection) = http1::handshake(TokioIo::new(limited)).await?;
    tokio::spawn(tokio::time::timeout(CONNECTION, connection));
    let (mut head, body) = request.into_parts();
    head.headers
        .insert(HOST, HeaderValue::from_static("localhost"));
    if let Some(path) = head.uri.path_and_query() {
        head.uri = path.clone().into();
    }
    let request = BollardRequest::from_parts(head, body);
    let answer = sender.send_request(request).await?;
    is_podman.store(answer.headers().contains_key(OF_PODMAN), Ordering::Relaxed);
    Ok(answer)
}

/// Reads an answer again, for what is used of it alone. Podman has words of its own where
/// Docker has a fixed set (`"Status": "stopped"`), and newer ones of Docker's may have more.
fn leniently(answer: &str) -> Option<ContainerInspectResponse> {
    let answer: Value = serde_json::from_str(answer).ok()?;
    let pick = |from: &Value, keys: &[&str]| {
        let kept = keys
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), from.get(key)?.clone())));
        Value::Object(kept.collect())
    };
    let mut used = pick(&answer, &["Id", "Name"]);
    used["Config"] = pick(
        answer.get("Config")?,
        &["Image", "Labels", "StopSignal", "StopTimeout"],
    );
    used["State"] = pick(
        answer.get("State")?,
        &[
            "Error",
            "ExitCode",
            "FinishedAt",
            "OOMKilled",
            "Pid",
            "Running",
        ],
    );
    serde_json::from_value(used).ok()
}

fn failed(error: ClientError) -> ApiError {
    match error {
        ClientError::DockerResponseServerError {
            status_code: 404, ..
        } => ApiError::NotKnown,
        ClientError::IOError { err } if err.kind() == std::io::ErrorKind::NotFound => {
            ApiError::Gone
        }
        error => ApiError::Failed(error.to_string()),
    }
}

fn known(answer: ContainerInspectResponse, runtime: &str, socket: &Path) -> Known {
    let source = format!("{runtime}'s API at {}", socket.display());
    let config = answer.config.unwrap_or_default();
    let state = answer.state.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    let mut facts = ContainerFacts {
        id: answer.id.clone().unwrap_or_default(),
        runtime: Some(runtime.to_owned()),
        name: answer.name.and_then(|name| {
            let name = name.strip_prefix('/').unwrap_or(&name);
            api::text(name)
        }),
        image: config.image.and_then(api::text),
        init_pid: state
            .pid
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|pid| *pid != 0),
        // Below zero: for ever. Podman always has one.
        stop_grace_ms: u64::try_from(config.stop_timeout.unwrap_or(DEFAULT_STOP_SECONDS))
            .ok()
            .map(|seconds| seconds.saturating_mul(1_000)),
        stop_signal: config.stop_signal.and_then(api::text),
        sources: vec![source.clone()],
        can_tell_end: true,
        ..ContainerFacts::default()
    };
    // cri-dockerd keeps the kubelet's annotations among the labels.
    api::kubelet_notes(&mut facts, |key| {
        let annotation = || labels.get(&format!("annotation.{key}"));
        labels.get(key).or_else(annotation).cloned()
    });
    if labels
        .get("io.kubernetes.docker.type")
        .is_some_and(|kind| kind == "podsandbox")
    {
        facts.kind = ContainerKind::Sandbox;
    }
    facts.sandbox_id = labels
        .get("io.kubernetes.sandbox.id")
        .cloned()
        .and_then(api::text);
    facts.labels = api::labels(labels);

    let running = state.running;
    let oom_killed = state.oom_killed;
    let exit_code = state
        .exit_code
        .and_then(|code| i32::try_from(code).ok())
        .filter(|_| running != Some(true));
    let words = [
        running
            .filter(|running| *running)
            .map(|running| format!("Running={running}")),
        oom_killed.map(|killed| format!("OOMKilled={killed}")),
        exit_code.map(|code| format!("ExitCode={code}")),
        state
            .error
            .map(|error| format!("Error={:?}", api::text(error).unwrap_or_default())),
    ];
    let status = state.status.map(|status| status.to_string());
    Known {
        state: ContainerState {
            id: facts.id.clone(),
            runtime: runtime.to_owned(),
            // Made, and not started yet: it has not ended either.
            running: running.map(|running| running || status.as_deref() == Some("created")),
            exit_code,
            oom_killed,
            words: words.into_iter().flatten().collect::<Vec<_>>().join(", "),
            source,
            ..ContainerState::default()
        },
        facts,
        ended_ns: state.finished_at.as_deref().and_then(moment),
    }
}

/// A moment in RFC 3339; the year 1 stands for never.
fn moment(text: &str) -> Option<i64> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(moment.unix_timestamp_nanos())
        .ok()
        .filter(|ns| *ns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_no_moment() {
        assert_eq!(moment("0001-01-01T00:00:00Z"), None);
        assert_eq!(
            moment("2026-11-21T14:00:00.5+01:00"),
            Some(1_795_266_000_500_000_000)
        );
        assert_eq!(moment("soon"), None);
    }

    #[test]
    fn a_restarted_container_has_no_exit_code() {
        let text = r#"{"Id":"a","Name":"/web","State":{"Status":"running","Running":true,
            "OOMKilled":false,"Pid":7,"ExitCode":0,"Error":""}}"#;
        let known = known(
            serde_json::from_str(text).unwrap(),
            "docker",
            Path::new("s"),
        );
        assert_eq!(known.state.running, Some(true));
        assert_eq!(known.state.exit_code, None);
        assert_eq!(
            known.state.words,
            r#"Running=true, OOMKilled=false, Error="""#
        );
        assert_eq!(known.facts.name.as_deref(), Some("web"));
        assert_eq!(known.facts.init_pid, Some(7));
        assert_eq!(known.facts.stop_grace_ms, Some(10_000));
    }
}
