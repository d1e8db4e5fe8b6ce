//! The processes that runtimes leave beside containers, and what their arguments tell of
//! places that are not the usual ones.
//!
//! Anybody can name a process `conmon`. So what one tells counts only for containers that it
//! may have started: of its own user, and not outside of the container that it runs in.

use std::{
    collections::HashMap,
    fs,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Subject, docker, folder::Folder, roots, text};
use crate::identity::place::Place;

/// Longer command lines are cut.
const MAX_ARGS_BYTES: u64 = 64 << 10;
/// More processes of this kind are not looked at.
const MAX_HELPERS: usize = 4096;

/// Whose word it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Teller {
    /// The containers around it, the innermost first.
    inside: Vec<String>,
    uid: u32,
}

impl Teller {
    /// Whether it may speak of this container.
    pub(super) fn may_tell(&self, subject: &Subject) -> bool {
        let outer = subject.place.containers.get(1..).unwrap_or_default();
        let within = outer.len() >= self.inside.len()
            && outer
                .iter()
                .rev()
                .zip(self.inside.iter().rev())
                .all(|(container, id)| container.id == *id);
        // Root of a container is somebody else on the node; the container bounds him.
        let own = self.uid == 0
            || !self.inside.is_empty()
            || subject
                .cgroup
                .contains(&format!("/user-{}.slice/", self.uid));
        within && own
    }
}

/// A folder by its path in the root of some process, or of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) root: PathBuf,
    /// Instead of a root that went with its process.
    pub(super) spare: Option<PathBuf>,
    pub(super) path: PathBuf,
    pub(super) teller: Teller,
}

impl At {
    /// `None`: not there.
    pub(super) fn folder(&self) -> Option<Folder> {
        self.other(&self.path)
    }

    /// Another folder in the same root.
    pub(super) fn other(&self, path: &Path) -> Option<Folder> {
        let roots = [Some(&self.root), self.spare.as_ref()];
        roots
            .into_iter()
            .flatten()
            .find_map(|root| Folder::open(root)?.under(path))
    }

    /// The same, whatever process told of it.
    fn is(&self, other: &Self) -> bool {
        self.path == other.path && self.teller == other.teller
    }

    /// For when the process is gone.
    fn without_process(self) -> Option<Self> {
        let root = self.spare.clone()?;
        Some(Self { root, ..self })
    }
}

/// A process that tells.
struct Process<'a> {
    folder: &'a Path,
    system: &'a Path,
    teller: Teller,
}

impl Process<'_> {
    /// A path in its own mount namespace.
    fn at(&self, path: PathBuf) -> At {
        let on_node = self.teller.inside.is_empty();
        let (root, spare) = if on_node && self.teller.uid == 0 {
            (self.system.to_owned(), Some(self.system.to_owned()))
        } else {
            let spare = on_node.then(|| self.system.to_owned());
            (self.folder.join("root"), spare)
        };
        At {
            root,
            spare,
            path,
            teller: self.teller.clone(),
        }
    }

    fn link(&self, name: &str) -> Option<PathBuf> {
        fs::read_link(self.folder.join(name)).ok()
    }

    fn read(&self, name: &str) -> Option<Vec<String>> {
        let mut bytes = Vec::new();
        fs::File::open(self.folder.join(name))
            .ok()?
            .take(MAX_ARGS_BYTES)
            .read_to_end(&mut bytes)
            .ok()?;
        let texts = bytes.split(|byte| *byte == 0);
        Some(
            texts
                .map(|text| String::from_utf8_lossy(text).into_owned())
                .collect(),
        )
    }

    /// Where a dockerd of a user's that is told nothing keeps its data.
    fn users_data(&self) -> Option<PathBuf> {
        let variables = self.read("environ")?;
        let value = |name: &str| {
            let values = variables.iter().filter_map(|both| both.split_once('='));
            values
                .filter(|(known, _)| *known == name)
                .map(|(_, value)| PathBuf::from(value))
                .next()
        };
        let data = value("XDG_DATA_HOME").or_else(|| Some(value("HOME")?.join(".local/share")));
        Some(data?.join("docker"))
    }
}

/// Where a containerd keeps its tasks, and its store.
#[derive(Clone, Debug)]
pub(super) struct Tasks {
    pub(super) state: At,
    pub(super) store: Option<PathBuf>,
}

/// A conmon: the monitor of one container of Podman's or CRI-O's.
#[derive(Clone, Debug)]
pub(super) struct Conmon {
    pub(super) at: At,
    pub(super) name: Option<String>,
    pub(super) exits: Option<PathBuf>,
    pub(super) persist: Option<PathBuf>,
}

/// All that was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Helpers {
    /// Docker's data.
    pub(super) docker: Vec<At>,
    pub(super) tasks: Vec<Tasks>,
    /// By the container's id.
    pub(super) conmons: HashMap<String, Vec<Conmon>>,
}

impl Helpers {
    /// Looks through the processes. What those told that are gone by now stays known: how a
    /// container ended is asked when its processes have ended.
    pub(super) fn look(proc: &Path, system: &Path, before: &Self) -> Self {
        let mut helpers = Self::default();
        let mut left = MAX_HELPERS;
        for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_process = name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
            if is_process && left > 0 && helpers.add(&entry.path(), system).is_some() {
                left -= 1;
            }
        }
        helpers.keep(before.clone(), left);
        helpers
    }

    fn keep(&mut self, before: Self, mut left: usize) {
        for at in before.docker {
            if left > 0
                && !self.docker.iter().any(|known| known.is(&at))
                && let Some(at) = at.without_process()
            {
                self.docker.push(at);
                left -= 1;
            }
        }
        for Tasks { state, store } in before.tasks {
            if left > 0
                && !self.tasks.iter().any(|known| known.state.is(&state))
                && let Some(state) = state.without_process()
            {
                self.tasks.push(Tasks { state, store });
                left -= 1;
            }
        }
        for (id, conmons) in before.conmons {
            if left > 0 && !self.conmons.contains_key(&id) {
                let conmons: Vec<Conmon> = conmons
                    .into_iter()
                    .filter_map(|conmon| {
                        let at = conmon.at.without_process()?;
                        Some(Conmon { at, ..conmon })
                    })
                    .collect();
                left -= 1;
                self.conmons.insert(id, conmons);
            }
        }
    }

    fn add(&mut self, folder: &Path, system: &Path) -> Option<()> {
        let comm = fs::read(folder.join("comm")).ok()?;
        let comm = comm.trim_ascii_end();
        // The kernel cuts containerd-shim-runc-v2.
        let shim = comm.starts_with(b"containerd-shim");
        if !shim && !matches!(comm, b"conmon" | b"dockerd") {
            return None;
        }
        let process = Process {
            folder,
            system,
            teller: Teller {
                inside: inside(folder),
                uid: fs::metadata(folder).ok()?.uid(),
            },
        };
        if shim {
            self.shim(&process)
        } else if comm == b"conmon" {
            self.conmon(&process)
        } else {
            self.dockerd(&process)
        }
    }

    /// Its working folder is the bundle of the container that it was started for.
    fn shim(&mut self, process: &Process) -> Option<()> {
        let bundle = process.link("cwd")?;
        let state = process.at(tasks_of(&bundle)?.to_owned());
        let store = state
            .other(&bundle)
            .and_then(|bundle| bundle.link("work"))
            .and_then(|work| Some(tasks_of(&work)?.parent()?.to_owned()));
        let tasks = Tasks { state, store };
        let known = self
            .tasks
            .iter_mut()
            .find(|known| known.state.is(&tasks.state));
        match known {
            Some(known) => *known = tasks,
            None => self.tasks.push(tasks),
        }
        Some(())
    }

    fn conmon(&mut self, process: &Process) -> Option<()> {
        let args = process.read("cmdline")?;
        // What follows is for the command that it runs at the end.
        let end = args
            .iter()
            .position(|arg| arg.starts_with("--exit-command"));
        let own = args.get(..end.unwrap_or(args.len()))?;
        let value = |names: &[&str]| flag(own, names);
        let id = value(&["-c", "--cid"])?;
        let found = Conmon {
            at: process.at(PathBuf::from(value(&["-b", "--bundle"])?)),
            name: value(&["-n", "--name"]).and_then(text::text),
            exits: value(&["--exit-dir"]).map(PathBuf::from),
            persist: value(&["--persist-dir"]).map(PathBuf::from),
        };
        self.conmons.entry(id).or_default().push(found);
        Some(())
    }

    fn dockerd(&mut self, process: &Process) -> Option<()> {
        let args = process.read("cmdline")?;
        let cwd = process.link("cwd").unwrap_or_default();
        let by_settings = || {
            let settings = flag(&args, &["--config-file"])
                .unwrap_or_else(|| roots::DOCKER_SETTINGS.to_owned());
            docker::data_root(&process.at(cwd.join(settings)))
        };
        let data = flag(&args, &["--data-root", "--graph", "-g"])
            .or_else(by_settings)
            .map(|data| cwd.join(data))
            .or_else(|| match process.teller.uid {
                0 => None,
                _ => process.users_data(),
            });
        let data = data.unwrap_or_else(|| PathBuf::from(roots::DOCKER[0]));
        self.docker.push(process.at(data));
        Some(())
    }
}

/// The folder of tasks that a bundle stands in: `<tasks>/<namespace>/<id>`.
fn tasks_of(bundle: &Path) -> Option<&Path> {
    let tasks = bundle.parent()?.parent()?;
    tasks
        .file_name()?
        .to_str()?
        .starts_with("io.containerd.runtime.v")
        .then_some(tasks)
}

/// The value of a flag: `--flag value` or `--flag=value`.
fn flag(args: &[String], names: &[&str]) -> Option<String> {
    args.iter().enumerate().find_map(|(at, arg)| {
        if names.contains(&arg.as_str()) {
            return args.get(at + 1).cloned();
        }
        let (name, value) = arg.split_once('=')?;
        names.contains(&name).then(|| value.to_owned())
    })
}

/// The containers that a process is in: hierarchies may differ, and the deepest tells most.
fn inside(process: &Path) -> Vec<String> {
    let all = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
    all.lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .map(|path| Place::of(path).containers)
        .max_by_key(Vec::len)
        .unwrap_or_default()
        .into_iter()
        .map(|container| container.id)
        .collect()
}
