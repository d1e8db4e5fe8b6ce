//! containerd: the bundle of each task, `<state>/io.containerd.runtime.v2.task/<namespace>/<id>`.
//! It goes when the container ends. How a container of Kubernetes ended stays in the CRI
//! plugin's own folder.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{End, FilesError, Subject, bundle, folder::Folder, helpers::Tasks, state, text, time};
use crate::event::container::{ContainerFacts, ContainerState};

pub(super) const TASKS: &str = "io.containerd.runtime.v2.task";
const STATUS: &str = "containerd's CRI status file";
/// The namespace that dockerd uses.
const MOBY: &str = "moby";

/// Folders of the CRI plugin's: of containerd 1 and 2.
const CRI: &[&str] = &["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"];

/// Written at each change of state: `containerstore.Status` of containerd's internal/cri.
/// Times are nanoseconds of the wall clock, 0 for not yet.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    #[serde(default)]
    pid: u32,
    #[serde(default)]
    finished_at: i64,
    #[serde(default)]
    exit_code: i32,
    #[serde(default)]
    reason: String,
}

/// Options of the runtime, as the client gave them.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Options {
    /// runc's folder of states.
    root: String,
}

pub(super) fn facts(
    tasks: &Tasks,
    subject: &Subject,
) -> Result<Option<ContainerFacts>, FilesError> {
    let Some(folder) = tasks.state.folder() else {
        return Ok(None);
    };
    for namespace in folder.names() {
        let path = PathBuf::from(&namespace).join(subject.id);
        let Some(bundle) = folder.below(&path) else {
            continue;
        };
        let Some(mut facts) = bundle::facts(&bundle, "config.json")? else {
            continue;
        };
        if namespace == MOBY {
            facts.runtime = Some("docker".to_owned());
        }
        facts.runtime.get_or_insert_with(|| "containerd".to_owned());
        if facts.pod.is_none() && facts.name.is_none() && !subject.has_random_id() {
            // Whoever made it chose it.
            facts.name = text::text(subject.id.to_owned());
        }
        facts.init_pid = init_pid(&bundle);
        let options: Option<Options> = text::object(&bundle, "options.json").unwrap_or_default();
        let states = options
            .map(|options| options.root)
            .filter(|states| !states.is_empty());
        let states = states.and_then(|states| tasks.state.other(&Path::new(&states).join(path)));
        if let (None, Some(states)) = (facts.init_pid, states) {
            facts.init_pid = state::init_pid(&states)?;
        }
        facts.can_tell_end = matches!(end(tasks, subject, 0), Ok(End::NotYet | End::Ended(_)));
        return Ok(Some(facts));
    }
    Ok(None)
}

/// `init.pid`: the shim writes it once the container is created.
fn init_pid(bundle: &Folder) -> Option<u32> {
    let bytes = bundle.read("init.pid").ok()??;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}

pub(super) fn end(tasks: &Tasks, subject: &Subject, since_ns: u64) -> Result<End, FilesError> {
    let store = tasks
        .store
        .as_ref()
        .and_then(|store| tasks.state.other(store));
    let Some(store) = store else {
        return Ok(End::Unknown);
    };
    for plugin in CRI {
        let path = Path::new(plugin)
            .join("containers")
            .join(subject.id)
            .join("status");
        let Some(status) = text::object::<Status>(&store, path)? else {
            continue;
        };
        if status.pid != 0 || status.finished_at <= 0 {
            return Ok(End::NotYet);
        }
        if !time::is_after(status.finished_at, since_ns) {
            return Ok(End::NotYet);
        }
        return Ok(End::Ended(status.into()));
    }
    Ok(End::Unknown)
}

impl From<Status> for ContainerState {
    fn from(status: Status) -> Self {
        let reason = match status.reason.as_str() {
            // As the CRI says it: `toCRIContainerStatus` of containerd.
            "" if status.exit_code == 0 => "Completed".to_owned(),
            "" => "Error".to_owned(),
            _ => text::text(status.reason).unwrap_or_default(),
        };
        Self {
            runtime: "CRI".to_owned(),
            running: Some(false),
            exit_code: Some(status.exit_code),
            oom_killed: Some(reason == "OOMKilled"),
            words: format!("Reason: {reason}, ExitCode: {}", status.exit_code),
            source: STATUS.to_owned(),
            ..Self::default()
        }
    }
}
