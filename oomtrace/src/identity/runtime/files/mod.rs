//! What runtimes keep of their containers in files: no socket is needed, and no runtime is
//! asked. Every read is bounded and stays below the folder that it is meant for.
//!
//! source                                   file
//! Docker                                   `docker`
//! containerd's tasks, and its CRI plugin   `containerd`
//! Podman and CRI-O                         `conmon`
//! runc and crun                            `state`
//! annotations in any of their bundles      `bundle`

mod bundle;
mod conmon;
mod containerd;
mod docker;
mod folder;
mod gather;
mod helpers;
mod kubernetes;
mod roots;
mod running;
mod state;
#[cfg(test)]
mod tests;
mod text;
mod time;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use thiserror::Error;

pub use self::roots::Roots;
use self::{
    gather::Gathered,
    helpers::{At, Helpers, Tasks, Teller},
};
use crate::{
    event::container::{Ask, ContainerFacts, ContainerKind, ContainerState},
    identity::place::Place,
};

/// Why a file of a runtime's could not be used.
#[derive(Debug, Error)]
pub enum FilesError {
    #[error("{}: {error}", path.display())]
    Io {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{}: {why}", path.display())]
    Unusable { path: PathBuf, why: String },
}

/// The container that is asked for.
struct Subject<'a> {
    id: &'a str,
    cgroup: &'a str,
    place: Place,
}

impl<'a> Subject<'a> {
    /// `None` for an id that cannot be a name in a folder.
    fn of(ask: &'a Ask) -> Option<Self> {
        let id = ask.id.as_str();
        let is_name =
            !matches!(id, "" | "." | "..") && id.len() <= 255 && !id.contains(['/', '\0']);
        is_name.then(|| Self {
            id,
            cgroup: &ask.cgroup,
            place: Place::of(&ask.cgroup),
        })
    }

    /// What its cgroup tells of its runtime.
    fn runtime(&self) -> Option<&'static str> {
        self.place
            .containers
            .first()
            .filter(|container| container.id == self.id)
            .and_then(|container| container.runtime)
    }

    /// The cgroup does not speak against it being one of these.
    fn may_be(&self, runtimes: &[&str]) -> bool {
        self.runtime()
            .is_none_or(|runtime| runtimes.contains(&runtime))
    }

    /// No person chose it, and no other container has it.
    fn has_random_id(&self) -> bool {
        self.id.len() == 64 && self.id.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// Where a name is no random number, a container in a container is not the node's.
    fn may_be_of_node(&self) -> bool {
        self.has_random_id() || self.place.containers.len() <= 1
    }
}

/// What a source says of a container's end.
enum End {
    /// It does not know the container.
    Unknown,
    /// The run that is asked for goes on, as far as it knows.
    NotYet,
    /// The same, in its words.
    Runs(ContainerState),
    Ended(ContainerState),
}

/// The files of all runtimes of a node.
#[derive(Debug)]
pub struct Files {
    roots: Roots,
    helpers: Mutex<Known>,
}

/// The processes of runtimes, as last looked for.
#[derive(Clone, Debug, Default)]
struct Known {
    helpers: Arc<Helpers>,
    looked_ns: Option<u64>,
}

/// Looking through all processes takes some 10 ms: not for each question.
const LOOK_EVERY_NS: u64 = 100_000_000;

impl Files {
    #[must_use]
    pub fn new(roots: Roots) -> Self {
        Self {
            roots,
            helpers: Mutex::default(),
        }
    }

    /// What the files tell about a container; `None` where none knows it. Where one tells and
    /// another is damaged, what the first tells counts.
    pub fn facts(&self, ask: &Ask, now_ns: u64) -> Result<Option<ContainerFacts>, FilesError> {
        let Some(subject) = Subject::of(ask) else {
            return Ok(None);
        };
        let enough =
            |facts: &ContainerFacts| facts.name.is_some() || facts.kind == ContainerKind::Sandbox;
        let mut gathered = self.gather(&subject, &self.known().helpers);
        // Its runtime may have come since.
        if !matches!(&gathered, Ok(Some(facts)) if enough(facts))
            && let Some(helpers) = self.look(now_ns)
        {
            gathered = self.gather(&subject, &helpers);
        }
        Ok(gathered?.map(|facts| ContainerFacts {
            boottime_ns: now_ns,
            id: ask.id.clone(),
            ..facts
        }))
    }

    /// How its run ended that was still going on at `since_ns`; `None` as long as no file says
    /// that it did. All on `CLOCK_BOOTTIME`; `now_ns` is now.
    pub fn end(
        &self,
        ask: &Ask,
        since_ns: u64,
        now_ns: u64,
    ) -> Result<Option<ContainerState>, FilesError> {
        let Some(subject) = Subject::of(ask) else {
            return Ok(None);
        };
        let mut end = self.end_by(&subject, since_ns, &self.known().helpers);
        if matches!(end, Ok(End::Unknown))
            && let Some(helpers) = self.look(now_ns)
        {
            end = self.end_by(&subject, since_ns, &helpers);
        }
        Ok(match end? {
            End::Ended(state) | End::Runs(state) => Some(ContainerState {
                boottime_ns: now_ns,
                id: ask.id.clone(),
                ..state
            }),
            End::Unknown | End::NotYet => None,
        })
    }

    /// The containers that are there now, as cgroupfs shows.
    #[must_use]
    pub fn running(&self) -> Vec<Ask> {
        running::running(&self.roots.cgroups)
    }

    fn known(&self) -> Known {
        self.helpers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Looks for the processes of runtimes anew; `None`: it has just been done.
    fn look(&self, now_ns: u64) -> Option<Arc<Helpers>> {
        let known = self.known();
        if let Some(looked_ns) = known.looked_ns
            && now_ns.abs_diff(looked_ns) < LOOK_EVERY_NS
        {
            return None;
        }
        let found = Helpers::look(&self.roots.proc, &self.roots.system, &known.helpers);
        let found = Arc::new(found);
        *self.helpers.lock().unwrap_or_else(PoisonError::into_inner) = Known {
            helpers: Arc::clone(&found),
            looked_ns: Some(now_ns),
        };
        Some(found)
    }

    fn at(&self, path: &str) -> At {
        At {
            root: self.roots.system.clone(),
            spare: None,
            path: PathBuf::from(path),
            teller: Teller::default(),
        }
    }

    /// The folders of Docker's data, the usual ones first.
    fn docker(&self, subject: &Subject, helpers: &Helpers) -> Vec<At> {
        if !subject.may_be(&["docker"]) {
            return Vec::new();
        }
        let told = helpers.docker.iter();
        let mut places: Vec<At> = told
            .filter(|at| at.teller.may_tell(subject))
            .cloned()
            .collect();
        if subject.may_be_of_node() {
            let named = docker::data_root(&self.at(roots::DOCKER_SETTINGS));
            let usual = roots::DOCKER.iter().copied().chain(named.as_deref());
            places.splice(..0, usual.map(|path| self.at(path)));
        }
        places
    }

    fn tasks(&self, subject: &Subject, helpers: &Helpers) -> Vec<Tasks> {
        if !subject.may_be(&["docker", "containerd", "garden"]) {
            return Vec::new();
        }
        let usual = roots::CONTAINERD.iter().map(|(state, store)| Tasks {
            state: self.at(&format!("{state}/{}", containerd::TASKS)),
            store: Some(PathBuf::from(store)),
        });
        let told = helpers.tasks.iter();
        usual
            .filter(|_| subject.may_be_of_node())
            .chain(
                told.filter(|tasks| tasks.state.teller.may_tell(subject))
                    .cloned(),
            )
            .collect()
    }

    fn gather(
        &self,
        subject: &Subject,
        helpers: &Helpers,
    ) -> Result<Option<ContainerFacts>, FilesError> {
        let mut gathered = Gathered::default();
        for at in self.docker(subject, helpers) {
            gathered.add(docker::facts(&at, subject));
        }
        if subject.may_be(&["podman", "cri-o"]) {
            for conmon in watchers(subject, helpers) {
                gathered.add(conmon::watched(conmon, subject));
            }
            for path in roots::STORAGES.iter().filter(|_| subject.may_be_of_node()) {
                gathered.add(conmon::stored(&self.at(path), subject));
            }
        }
        for tasks in self.tasks(subject, helpers) {
            gathered.add(containerd::facts(&tasks, subject));
        }
        if subject.may_be_of_node() {
            gathered.add(state::facts(&self.roots.system, subject));
        }
        gathered.result()
    }

    fn end_by(
        &self,
        subject: &Subject,
        since_ns: u64,
        helpers: &Helpers,
    ) -> Result<End, FilesError> {
        let mut known = false;
        let mut runs = None;
        let mut error = None;
        let mut ask = |end: Result<End, FilesError>| match end {
            Ok(End::Ended(state)) => Some(state),
            Ok(End::Runs(state)) => {
                runs.get_or_insert(state);
                None
            }
            Ok(End::NotYet) => {
                known = true;
                None
            }
            Ok(End::Unknown) => None,
            Err(new) => {
                error.get_or_insert(new);
                None
            }
        };
        let ended = self
            .docker(subject, helpers)
            .iter()
            .find_map(|at| ask(docker::end(at, subject, since_ns)))
            .or_else(|| {
                self.tasks(subject, helpers)
                    .iter()
                    .find_map(|tasks| ask(containerd::end(tasks, subject, since_ns)))
            })
            .or_else(|| {
                watchers(subject, helpers)
                    .find_map(|conmon| ask(conmon::end(conmon, subject, since_ns)))
            })
            .or_else(|| {
                roots::ENDS
                    .iter()
                    .filter(|(_, runtime)| subject.runtime() == Some(*runtime))
                    .find_map(|(path, runtime)| {
                        ask(conmon::usual_end(
                            &self.at(path),
                            runtime,
                            subject,
                            since_ns,
                        ))
                    })
            });
        match (ended, error) {
            (Some(state), _) => Ok(End::Ended(state)),
            (None, _) if runs.is_some() => Ok(runs.map_or(End::NotYet, End::Runs)),
            (None, Some(error)) => Err(error),
            (None, None) if known => Ok(End::NotYet),
            (None, None) => Ok(End::Unknown),
        }
    }
}

fn watchers<'a>(
    subject: &Subject,
    helpers: &'a Helpers,
) -> impl Iterator<Item = &'a helpers::Conmon> {
    helpers
        .conmons
        .get(subject.id)
        .into_iter()
        .flatten()
        .filter(|conmon| conmon.at.teller.may_tell(subject))
}
