//! Podman and CRI-O: the storage that both use, and conmon, which watches a container of
//! theirs and leaves how it ended. Podman takes that away within the second.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{
    End, FilesError, Subject, bundle,
    folder::Folder,
    helpers::{At, Conmon},
    text, time,
};
use crate::event::container::{ContainerFacts, ContainerState};

/// The storage's folder of containers, by its driver.
const DRIVERS: &[&str] = &["overlay-containers", "vfs-containers", "btrfs-containers"];
/// The list of containers: those that outlive a reboot, and those made with `--rm`.
const LISTS: &[&str] = &["containers.json", "volatile-containers.json"];

#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    /// JSON in JSON.
    #[serde(default)]
    metadata: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Metadata {
    image_name: String,
    name: String,
}

/// From a storage.
pub(super) fn stored(at: &At, subject: &Subject) -> Result<Option<ContainerFacts>, FilesError> {
    let Some(storage) = at.folder() else {
        return Ok(None);
    };
    for driver in DRIVERS {
        let Some(containers) = storage.below(driver) else {
            continue;
        };
        let path = Path::new(subject.id).join("userdata/config.json");
        if let Some(mut facts) = bundle::facts(&containers, path)? {
            list(&containers, subject, &mut facts)?;
            return Ok(Some(facts));
        }
    }
    Ok(None)
}

/// Fills in what the storage's list knows. CRI-O's names there are made up of many.
fn list(
    containers: &Folder,
    subject: &Subject,
    facts: &mut ContainerFacts,
) -> Result<(), FilesError> {
    if facts.runtime.as_deref() != Some("podman") {
        return Ok(());
    }
    for list in LISTS {
        let all: Vec<Listed> = text::list(containers, list)?.unwrap_or_default();
        let Some(listed) = all.into_iter().find(|listed| listed.id == subject.id) else {
            continue;
        };
        let metadata: Metadata = serde_json::from_str(&listed.metadata).unwrap_or_default();
        let name = listed.names.into_iter().next().unwrap_or(metadata.name);
        facts.name = text::text(name);
        facts.image = text::text(metadata.image_name);
        facts.is_final = facts.name.is_some();
        facts.sources.push("Podman's containers.json".to_owned());
    }
    Ok(())
}

/// From a conmon that runs.
pub(super) fn watched(
    conmon: &Conmon,
    subject: &Subject,
) -> Result<Option<ContainerFacts>, FilesError> {
    let Some(bundle) = conmon.at.folder() else {
        return Ok(None);
    };
    let Some(mut facts) = bundle::facts(&bundle, "config.json")? else {
        return Ok(None);
    };
    // `<storage>/overlay-containers/<id>/userdata`
    let containers = conmon.at.path.parent().and_then(Path::parent);
    if let Some(containers) = containers.and_then(|containers| conmon.at.other(containers)) {
        list(&containers, subject, &mut facts)?;
    }
    if facts.runtime.as_deref() == Some("podman") && facts.name.is_none() {
        facts.name.clone_from(&conmon.name);
        facts.is_final = facts.name.is_some();
        facts.sources.push("conmon's arguments".to_owned());
    }
    Ok(Some(facts))
}

/// How a container ended, as its conmon left it.
pub(super) fn end(conmon: &Conmon, subject: &Subject, since_ns: u64) -> Result<End, FilesError> {
    let folder = |path: &PathBuf| conmon.at.other(path);
    let ends = Ends {
        persist: conmon.persist.as_ref().and_then(folder),
        exits: conmon.exits.as_ref().and_then(folder),
        bundle: conmon.at.folder(),
    };
    ends.read(subject, subject.runtime().unwrap_or("podman"), since_ns)
}

/// The same without knowing the conmon, in one of the usual places.
pub(super) fn usual_end(
    at: &At,
    runtime: &str,
    subject: &Subject,
    since_ns: u64,
) -> Result<End, FilesError> {
    let below = |path: PathBuf| at.other(&at.path.join(path));
    let ends = Ends {
        persist: below(Path::new("persist").join(subject.id)),
        exits: below(PathBuf::from("exits")),
        bundle: None,
    };
    ends.read(subject, runtime, since_ns)
}

/// The folders that conmon writes to when a container ends.
struct Ends {
    persist: Option<Folder>,
    exits: Option<Folder>,
    bundle: Option<Folder>,
}

impl Ends {
    fn read(&self, subject: &Subject, runtime: &str, since_ns: u64) -> Result<End, FilesError> {
        let oom_left = [&self.persist, &self.bundle]
            .into_iter()
            .flatten()
            .any(|folder| is_new(folder, Path::new("oom"), since_ns));
        let files = [(&self.persist, "exit"), (&self.exits, subject.id)];
        for (folder, name) in files {
            if let Some(folder) = folder
                && let Some(state) = left(folder, Path::new(name), oom_left, runtime, since_ns)?
            {
                return Ok(End::Ended(state));
            }
        }
        Ok(End::Unknown)
    }
}

fn is_new(folder: &Folder, name: &Path, since_ns: u64) -> bool {
    folder
        .written_ns(name)
        .is_some_and(|written_ns| time::is_after(written_ns, since_ns))
}

/// The file holds the exit code, and nothing else.
fn left(
    folder: &Folder,
    name: &Path,
    oom_left: bool,
    runtime: &str,
    since_ns: u64,
) -> Result<Option<ContainerState>, FilesError> {
    if !is_new(folder, name, since_ns) {
        return Ok(None);
    }
    let Some(bytes) = folder.read(name)? else {
        return Ok(None);
    };
    let code: Option<i32> = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    // It may be there and not yet written.
    let Some(code) = code else {
        return Ok(None);
    };
    let oom = if oom_left { ", with an oom file" } else { "" };
    Ok(Some(ContainerState {
        runtime: runtime.to_owned(),
        running: Some(false),
        exit_code: Some(code),
        // Some conmons leave the file where nobody looks: its absence says nothing.
        oom_killed: oom_left.then_some(true),
        words: format!("exit code {code}{oom}"),
        source: "conmon's exit file".to_owned(),
        ..ContainerState::default()
    }))
}
