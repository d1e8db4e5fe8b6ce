//! What runc and crun keep of a container while it runs: its process 1.

use std::path::Path;

use serde::Deserialize;

use super::{FilesError, Subject, folder::Folder, roots, text};
use crate::event::container::ContainerFacts;

/// runc's `state.json`, crun's `status`.
#[derive(Deserialize)]
struct State {
    #[serde(alias = "pid")]
    init_process_pid: u32,
}

const FILES: &[&str] = &["state.json", "status"];

/// Of the container whose state is in this folder.
pub(super) fn init_pid(folder: &Folder) -> Result<Option<u32>, FilesError> {
    for file in FILES {
        if let Some(state) = text::object::<State>(folder, file)? {
            return Ok((state.init_process_pid > 0).then_some(state.init_process_pid));
        }
    }
    Ok(None)
}

/// Of a container that runc or crun runs, for whomever.
pub(super) fn facts(
    system: &Path,
    subject: &Subject,
) -> Result<Option<ContainerFacts>, FilesError> {
    let Some(system) = Folder::open(system) else {
        return Ok(None);
    };
    for (states, runtime) in roots::STATES {
        let folder = system
            .under(Path::new(states))
            .and_then(|states| states.below(subject.id));
        let Some(folder) = folder else {
            continue;
        };
        let Some(init_pid) = self::init_pid(&folder)? else {
            continue;
        };
        // Others use runc too, and name its containers by ids.
        let alone = !subject.has_random_id() && subject.runtime().is_none_or(|of| of == *runtime);
        return Ok(Some(ContainerFacts {
            runtime: alone.then(|| (*runtime).to_owned()),
            name: alone.then(|| text::text(subject.id.to_owned())).flatten(),
            init_pid: Some(init_pid),
            sources: vec![format!("{runtime}'s state")],
            is_final: alone,
            ..ContainerFacts::default()
        }));
    }
    for states in roots::NAMESPACED_STATES {
        let Some(states) = system.under(Path::new(states)) else {
            continue;
        };
        for namespace in states.names() {
            let Some(folder) = states.below(Path::new(&namespace).join(subject.id)) else {
                continue;
            };
            if let Some(init_pid) = self::init_pid(&folder)? {
                return Ok(Some(ContainerFacts {
                    init_pid: Some(init_pid),
                    sources: vec!["runc's state".to_owned()],
                    ..ContainerFacts::default()
                }));
            }
        }
    }
    Ok(None)
}
