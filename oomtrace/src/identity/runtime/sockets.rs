//! Finding the sockets of container runtimes: in the usual places, and where the arguments
//! of running daemons and their shims point to.
//!
//! A socket is asked only about what its owner may speak for. One that root made speaks for
//! the node; a user's own, for what runs in that user's slice. Else anybody could name the
//! containers of others.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    io::Read as _,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Component, Path, PathBuf},
};

use super::files::Roots;

/// What is spoken at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Api {
    /// Docker's, and Podman's after it.
    Docker,
    Cri,
    /// containerd's own.
    Containerd,
}

/// A socket that is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Socket {
    pub(crate) path: PathBuf,
    pub(crate) api: Api,
    /// Whose it is, unless it is root's.
    pub(crate) user: Option<u32>,
}

/// Where the sockets lie unless somebody said otherwise. One of containerd's speaks CRI too.
const USUAL: &[(&str, &[Api])] = &[
    ("/run/docker.sock", &[Api::Docker]),
    ("/var/run/docker.sock", &[Api::Docker]),
    ("/run/podman/podman.sock", &[Api::Docker]),
    ("/run/containerd/containerd.sock", CONTAINERD),
    // k3s and rke2.
    ("/run/k3s/containerd/containerd.sock", CONTAINERD),
    ("/run/k0s/containerd.sock", CONTAINERD),
    // MicroK8s.
    ("/var/snap/microk8s/common/run/containerd.sock", CONTAINERD),
    ("/run/crio/crio.sock", &[Api::Cri]),
    ("/run/cri-dockerd.sock", &[Api::Cri]),
];

const CONTAINERD: &[Api] = &[Api::Cri, Api::Containerd];

/// Below each folder of `/run/user`: rootless daemons.
const OF_USERS: &[&str] = &["docker.sock", "podman/podman.sock"];

/// Most of a file of /proc or of a daemon's settings that is read, bytes.
const FILE_BYTES: u64 = 256 * 1024;

/// Looks for sockets. This reads /proc and may take its time.
pub(crate) fn find(roots: &Roots, docker_host: Option<&str>) -> Vec<Socket> {
    let mut found = Found::default();
    if let Some(path) = docker_host.and_then(unix_path) {
        found.take(&path, &[Api::Docker]);
    }
    for system in std::iter::once(&roots.system).chain(&roots.own) {
        for (path, apis) in USUAL {
            found.take(&below(system, Path::new(path)), apis);
        }
    }
    for path in of_users(&roots.system) {
        found.take(&path, &[Api::Docker]);
    }
    for process in fs::read_dir(&roots.proc).into_iter().flatten().flatten() {
        let is_process = process
            .file_name()
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_digit);
        if is_process {
            of_process(roots, &process.path(), &mut found);
        }
    }
    found.sockets
}

/// Where users' own daemons may have theirs, whether they are there or not.
fn of_users(system: &Path) -> impl Iterator<Item = PathBuf> {
    let users = fs::read_dir(below(system, Path::new("/run/user")));
    let users = users.into_iter().flatten().flatten();
    users.flat_map(|user| OF_USERS.iter().map(move |name| user.path().join(name)))
}

/// The sockets that need not be root's, as far as they are known without a look at processes.
#[must_use]
pub(crate) fn not_of_root(roots: &Roots, docker_host: Option<&str>) -> Vec<PathBuf> {
    let named = docker_host.and_then(unix_path);
    named.into_iter().chain(of_users(&roots.system)).collect()
}

#[derive(Default)]
struct Found {
    sockets: Vec<Socket>,
    /// By device and inode: one socket may have many names.
    seen: HashSet<(u64, u64)>,
}

impl Found {
    fn take(&mut self, path: &Path, apis: &[Api]) {
        let Ok(file) = fs::metadata(path) else {
            return;
        };
        if !file.file_type().is_socket() || !self.seen.insert((file.dev(), file.ino())) {
            return;
        }
        self.sockets.extend(apis.iter().map(|api| Socket {
            path: path.to_owned(),
            api: *api,
            user: (file.uid() != 0).then(|| file.uid()),
        }));
    }
}

/// The sockets that a process's arguments point to.
fn of_process(roots: &Roots, folder: &Path, found: &mut Found) {
    let Some(daemon) = read(&folder.join("comm")).and_then(|comm| Daemon::named(&comm)) else {
        return;
    };
    let arguments = read(&folder.join("cmdline")).unwrap_or_default();
    let arguments: Vec<&str> = arguments.split('\0').collect();
    let Ok(owner) = fs::metadata(folder).map(|file| file.uid()) else {
        return;
    };
    let inside = folder.join("root");
    let working = fs::read_link(folder.join("cwd")).unwrap_or_else(|_| PathBuf::from("/"));
    let named = daemon.sockets(&arguments, |settings| {
        read(&below(&inside, &working.join(settings)))
    });
    for path in named {
        let path = working.join(path);
        let here = below(&roots.system, &path);
        // One that lives in a container has sockets of its own by the same names.
        let there = fs::metadata(below(&inside, &path));
        let Ok(file) = fs::metadata(&here) else {
            continue;
        };
        let is_same =
            there.is_ok_and(|there| (there.dev(), there.ino()) == (file.dev(), file.ino()));
        // A user's process points to that user's own sockets only.
        if is_same && (owner == 0 || owner == file.uid()) {
            found.take(&here, daemon.apis());
        }
    }
}

/// A program whose arguments name sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Daemon {
    Docker,
    Podman,
    Containerd,
    Shim,
    Crio,
    CriDockerd,
}

impl Daemon {
    /// By its comm, of which the kernel keeps 15 bytes.
    fn named(comm: &str) -> Option<Self> {
        Some(match comm.trim_end() {
            "dockerd" => Self::Docker,
            "podman" => Self::Podman,
            "containerd" => Self::Containerd,
            "crio" => Self::Crio,
            "cri-dockerd" => Self::CriDockerd,
            shim if shim.starts_with("containerd-shim") => Self::Shim,
            _ => return None,
        })
    }

    fn apis(self) -> &'static [Api] {
        match self {
            Self::Docker | Self::Podman => &[Api::Docker],
            Self::Containerd | Self::Shim => CONTAINERD,
            Self::Crio | Self::CriDockerd => &[Api::Cri],
        }
    }

    /// The sockets that the arguments name, themselves or in a file of settings.
    fn sockets(
        self,
        arguments: &[&str],
        settings: impl Fn(&str) -> Option<String>,
    ) -> Vec<PathBuf> {
        let of = |names: &[&str]| values(arguments, names);
        let plain = |texts: Vec<String>| texts.into_iter().map(PathBuf::from).collect();
        let settings_at =
            |names: &[&str], usual: &str| settings(of(names).last().map_or(usual, |text| text));
        let hosts = |texts: Vec<String>| texts.iter().filter_map(|text| unix_path(text)).collect();
        match self {
            Self::Docker => {
                let mut named = of(&["-H", "--host"]);
                let json: Option<serde_json::Value> =
                    settings_at(&["--config-file"], "/etc/docker/daemon.json")
                        .and_then(|text| serde_json::from_str(&text).ok());
                let in_file = json.as_ref().and_then(|json| json.get("hosts")?.as_array());
                let texts = in_file
                    .into_iter()
                    .flatten()
                    .filter_map(|host| host.as_str());
                named.extend(texts.map(str::to_owned));
                hosts(named)
            }
            // `podman system service unix:///…`
            Self::Podman => {
                let words = arguments.iter().map(|word| (*word).to_owned());
                hosts(words.filter(|word| word.starts_with("unix:")).collect())
            }
            Self::Containerd => {
                let named = of(&["-a", "--address"]);
                if !named.is_empty() {
                    return plain(named);
                }
                let toml: Option<toml::Table> =
                    settings_at(&["-c", "--config"], "/etc/containerd/config.toml")
                        .and_then(|text| text.parse().ok());
                let in_file = toml
                    .as_ref()
                    .and_then(|toml| toml.get("grpc")?.get("address")?.as_str());
                in_file.into_iter().map(PathBuf::from).collect()
            }
            Self::Shim => plain(of(&["-address", "--address"])),
            Self::Crio => plain(of(&["--listen"])),
            Self::CriDockerd => hosts(of(&["--container-runtime-endpoint"])),
        }
    }
}

/// The values of options, which may stand behind `=` or be the next word.
fn values(arguments: &[&str], names: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if names.contains(word) {
            found.extend(words.next().map(|value| (*value).to_owned()));
        } else if let Some((name, value)) = word.split_once('=')
            && names.contains(&name)
        {
            found.push(value.to_owned());
        }
    }
    found
}

/// The path of an address such as `unix:///run/docker.sock`.
fn unix_path(address: &str) -> Option<PathBuf> {
    let path = address.strip_prefix("unix:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// A path as it lies below another root.
fn below(root: &Path, path: &Path) -> PathBuf {
    let inner = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_)));
    inner.fold(root.to_owned(), |path, part| {
        path.join::<&OsStr>(part.as_ref())
    })
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    // Only plain files: reading a pipe waits for who writes to it.
    let is_file = fs::metadata(path).is_ok_and(|file| file.is_file());
    let file = is_file.then(|| fs::File::open(path).ok())??;
    file.take(FILE_BYTES).read_to_end(&mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(comm: &str, arguments: &str, settings: &str) -> Vec<String> {
        let words: Vec<&str> = arguments.split(' ').collect();
        Daemon::named(comm)
            .unwrap()
            .sockets(&words, |_| Some(settings.to_owned()))
            .into_iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn daemons_say_where_they_listen() {
        for (comm, arguments, settings, wanted) in [
            (
                "dockerd",
                "dockerd -H fd:// -H unix:///x/docker.sock --host=unix:///y.sock -H tcp://[::]:1",
                r#"{"hosts":["unix:///z.sock"]}"#,
                &["/x/docker.sock", "/y.sock", "/z.sock"][..],
            ),
            ("dockerd", "dockerd -H", "nonsense", &[]),
            (
                "containerd",
                "containerd -c x.toml",
                "[grpc]\naddress = \"/x/ctd.sock\"",
                &["/x/ctd.sock"],
            ),
            (
                "containerd",
                "containerd -a /run/k3s/containerd/containerd.sock",
                "",
                &["/run/k3s/containerd/containerd.sock"],
            ),
            (
                "containerd-shim",
                "/usr/bin/containerd-shim-runc-v2 -namespace moby -id 4f -address /x/ctd.sock",
                "",
                &["/x/ctd.sock"],
            ),
            (
                "podman",
                "podman system service --time=0 unix:///run/podman/podman.sock",
                "",
                &["/run/podman/podman.sock"],
            ),
            ("crio", "crio --listen /x/crio.sock", "", &["/x/crio.sock"]),
        ] {
            assert_eq!(sockets(comm, arguments, settings), wanted, "{arguments}");
        }
        assert_eq!(Daemon::named("nginx"), None);
    }

    #[test]
    fn a_path_does_not_climb_out_of_its_root() {
        let path = below(Path::new("/r"), Path::new("/../../etc/./x"));
        assert_eq!(path, Path::new("/r/etc/x"));
    }
}
