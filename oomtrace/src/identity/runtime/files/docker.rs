//! Docker: `<data>/containers/<id>/config.v2.json`, written when a container is made and
//! again when it starts and ends. What the user does not set there has Docker's defaults.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use super::{End, FilesError, Subject, helpers::At, kubernetes, text, time};
use crate::event::container::{ContainerFacts, ContainerState};

const SOURCE: &str = "docker's config.v2.json";
/// `containerpkg.DefaultStopTimeout` of moby's daemon/container.
const DEFAULT_STOP_TIMEOUT_S: i64 = 10;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Container {
    name: String,
    state: State,
    config: Config,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct State {
    running: bool,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    pid: u32,
    exit_code: i32,
    finished_at: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    image: String,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
    stop_timeout: Option<i64>,
}

#[derive(Deserialize)]
struct Settings {
    #[serde(rename = "data-root", alias = "graph")]
    data_root: Option<String>,
}

/// The folder of data that a file of Docker's settings names.
pub(super) fn data_root(settings: &At) -> Option<String> {
    let folder = settings.other(settings.path.parent()?)?;
    let settings: Settings = text::object(&folder, settings.path.file_name()?).ok()??;
    settings.data_root
}

fn container(at: &At, id: &str) -> Result<Option<Container>, FilesError> {
    let containers = at.other(&at.path.join("containers"));
    containers.map_or(Ok(None), |containers| {
        text::object(&containers, Path::new(id).join("config.v2.json"))
    })
}

pub(super) fn facts(at: &At, subject: &Subject) -> Result<Option<ContainerFacts>, FilesError> {
    let Some(container) = container(at, subject.id)? else {
        return Ok(None);
    };
    let Container {
        name,
        state,
        config,
    } = container;
    let stop_timeout_s = config.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT_S);
    let labels = config.labels.unwrap_or_default();
    let mut facts = ContainerFacts {
        runtime: Some("docker".to_owned()),
        name: text::text(name.trim_start_matches('/').to_owned()),
        image: text::text(config.image),
        init_pid: (state.pid > 0).then_some(state.pid),
        // Negative: it waits for ever.
        stop_grace_ms: u64::try_from(stop_timeout_s)
            .ok()
            .map(|seconds| seconds.saturating_mul(1000)),
        stop_signal: config.stop_signal.and_then(text::text),
        sources: vec![SOURCE.to_owned()],
        can_tell_end: true,
        is_final: true,
        ..ContainerFacts::default()
    };
    kubernetes::dockers_labels(&mut facts, &labels);
    facts.labels = text::labels(labels);
    Ok(Some(facts))
}

pub(super) fn end(at: &At, subject: &Subject, since_ns: u64) -> Result<End, FilesError> {
    let Some(Container { state, .. }) = container(at, subject.id)? else {
        return Ok(End::Unknown);
    };
    let finished_ns = time::rfc3339_ns(&state.finished_at);
    if state.running {
        return Ok(End::Runs(ContainerState {
            runtime: "docker".to_owned(),
            running: Some(true),
            exit_code: None,
            oom_killed: Some(state.oom_killed),
            words: format!("Running=true, OOMKilled={}", state.oom_killed),
            source: SOURCE.to_owned(),
            ..ContainerState::default()
        }));
    }
    if !finished_ns.is_some_and(|ns| time::is_after(ns, since_ns)) {
        return Ok(End::NotYet);
    }
    Ok(End::Ended(ContainerState {
        runtime: "docker".to_owned(),
        running: Some(false),
        exit_code: Some(state.exit_code),
        oom_killed: Some(state.oom_killed),
        words: format!(
            "OOMKilled={}, ExitCode={}",
            state.oom_killed, state.exit_code
        ),
        source: SOURCE.to_owned(),
        ..ContainerState::default()
    }))
}
