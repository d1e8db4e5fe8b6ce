//! What a decision about privileges rests on: what this thread holds, what it is to do, and
//! what it could reach with less.

use std::{
    ffi::CString,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{
    keep::{Held, Keep},
    set::CapSet,
};
use crate::{
    identity::host,
    probe::{
        kallsyms,
        support::{Availability, Capability},
    },
};

/// What is still to be done when every hook is attached, as the command line has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Rules are read again when somebody asks for that.
    RereadRules,
    /// A command is started, and gets the signals that come.
    PassSignalsOn,
    /// The programs are told of cgroups that come and go.
    ChangeScope,
    AskRuntimes,
    WatchMemory,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// In force.
    pub held: CapSet,
    pub tasks: Vec<Task>,
    /// /proc is the node's.
    pub sees_node: bool,
    /// Kernel functions are named by /proc/kallsyms, and not by a program.
    pub kallsyms_open: bool,
    /// Some socket of a container runtime takes questions of its owner only. `None`: unknown.
    pub sockets_closed: Option<bool>,
    /// `None`: no deaths are kept.
    pub store: Option<StoreFacts>,
}

/// The place where deaths are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreFacts {
    /// It cannot be written without `CAP_DAC_OVERRIDE`. `None`: unknown.
    pub closed: Option<bool>,
    /// The file is there, and belongs to another user.
    pub of_another: bool,
}

impl Facts {
    /// Asks this host. `sockets`: of container runtimes. `store`: where deaths are kept.
    #[must_use]
    pub fn ask(tasks: Vec<Task>, sockets: &[PathBuf], store: Option<&Path>) -> Self {
        let reach = Reach::ask(sockets, store);
        Self {
            // Where it cannot be read it cannot be changed either, and that is said.
            held: Held::here().map_or(CapSet::FULL, |held| held.effective),
            tasks,
            sees_node: !host::in_pid_namespace(),
            kallsyms_open: kallsyms::availability() == Availability::Yes,
            sockets_closed: reach.map(|reach| reach.sockets_closed),
            store: store.map(|path| StoreFacts {
                closed: reach.map(|reach| reach.store_closed),
                of_another: is_of_another(path),
            }),
        }
    }

    #[must_use]
    pub(super) fn has(&self, task: Task) -> bool {
        self.tasks.contains(&task)
    }
}

/// What is out of reach with fewer capabilities.
#[derive(Clone, Copy, Debug)]
struct Reach {
    sockets_closed: bool,
    store_closed: bool,
}

impl Reach {
    /// Tries it, on a thread that has let go of them; modes, owners, groups and access control
    /// lists are the kernel's to judge. `None`: it cannot be tried.
    fn ask(sockets: &[PathBuf], store: Option<&Path>) -> Option<Self> {
        let ask = || {
            let without_override = CapSet::FULL.without(Capability::DacOverride);
            keep(without_override)?;
            let sockets_closed = sockets.iter().any(|path| is_refused(path, libc::W_OK));
            keep(without_override.without(Capability::DacReadSearch))?;
            Some(Self {
                sockets_closed,
                store_closed: store.is_some_and(is_store_closed),
            })
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new();
            thread.spawn_scoped(scope, ask).ok()?.join().ok()?
        })
    }
}

fn keep(capabilities: CapSet) -> Option<()> {
    let errors = Keep::only(capabilities, false).try_here();
    for error in &errors {
        log::debug!("what can be reached with fewer privileges is not known: {error}");
    }
    errors.is_empty().then_some(())
}

/// The files that a store consists of, and where they are made.
fn is_store_closed(path: &Path) -> bool {
    let file = path.as_os_str();
    let is_file_closed = ["", ".lock", "-wal", "-shm"].iter().any(|suffix| {
        let mut name = file.to_owned();
        name.push(suffix);
        is_refused(Path::new(&name), libc::R_OK | libc::W_OK)
    });
    // Missing folders are made in the nearest one that is there.
    let mut folder = path.ancestors().skip(1).map(|folder| {
        if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        }
    });
    let is_there = |folder: &&Path| access(folder, libc::F_OK) != Err(libc::ENOENT);
    let is_folder_closed = folder
        .find(is_there)
        .is_some_and(|folder| is_refused(folder, libc::W_OK | libc::X_OK));
    is_file_closed || is_folder_closed
}

/// Whether it is a matter of privileges that something cannot be done with a file.
fn is_refused(path: &Path, mode: libc::c_int) -> bool {
    access(path, mode) == Err(libc::EACCES)
}

/// access(2) judges by the real user, and for root by what is permitted: what it holds.
fn access(path: &Path, mode: libc::c_int) -> Result<(), libc::c_int> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| libc::EINVAL)?;
    // SAFETY: asks about a path that ends with its NUL.
    match unsafe { libc::access(name.as_ptr(), mode) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO)),
    }
}

/// SQLite gives the files that it makes beside it to the same user.
fn is_of_another(path: &Path) -> bool {
    // SAFETY: no arguments, no failure.
    let user = unsafe { libc::geteuid() };
    fs::metadata(path).is_ok_and(|file| file.uid() != user)
}

#[cfg(test)]
mod tests {
    use std::os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixListener,
    };

    use tempfile::TempDir;

    use super::*;

    const NOBODY: u32 = 65534;

    /// A folder that only another user may write to.
    fn of_nobody() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        folder
    }

    /// Who is not root owns nothing that others could not.
    fn is_root() -> bool {
        // SAFETY: no arguments, no failure.
        unsafe { libc::geteuid() == 0 }
    }

    fn is_closed(store: &Path) -> bool {
        Reach::ask(&[], Some(store)).unwrap().store_closed
    }

    #[test]
    fn a_store_of_ones_own_takes_no_privileges() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path();
        assert!(!is_closed(&own.join("deaths.db")));
        assert!(!is_closed(&own.join("new/folders/deaths.db")));
        assert!(!is_closed(Path::new("deaths.db")));
        fs::write(own.join("deaths.db"), "").unwrap();
        assert!(!is_of_another(&own.join("deaths.db")));
        assert!(!is_of_another(&own.join("none.db")));
    }

    #[test]
    fn a_store_in_a_users_home_takes_some() {
        if !is_root() {
            return;
        }
        let folder = of_nobody();
        let home = folder.path();
        assert!(is_closed(&home.join("deaths.db")));
        assert!(is_closed(&home.join("new/folders/deaths.db")));
        // One that all may write to takes none, until a file in it is somebody's.
        fs::set_permissions(home, fs::Permissions::from_mode(0o777)).unwrap();
        let store = home.join("deaths.db");
        assert!(!is_closed(&store));
        let journal = home.join("deaths.db-wal");
        fs::write(&journal, "").unwrap();
        fs::set_permissions(&journal, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&journal, Some(NOBODY), None).unwrap();
        assert!(is_closed(&store));
        fs::remove_file(&journal).unwrap();
        fs::write(&store, "").unwrap();
        chown(&store, Some(NOBODY), None).unwrap();
        assert!(is_of_another(&store));
    }

    #[test]
    fn a_socket_of_a_users_takes_some() {
        if !is_root() {
            return;
        }
        let folder = of_nobody();
        let path = folder.path().join("docker.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
        let sockets = [path.clone()];
        let closed = || Reach::ask(&sockets, None).unwrap().sockets_closed;
        // Root's own.
        assert!(!closed());
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        assert!(closed());
        assert!(!Reach::ask(&[], None).unwrap().sockets_closed);
    }
}
