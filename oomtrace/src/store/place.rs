//! Where a store is: its folder, its lock, and whether the file is still the one that was
//! opened. Nobody but root reads what it holds: arguments and names of all that died.

use std::{
    ffi::{CString, OsString},
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use super::error::{Purpose, StoreError, Trouble};

/// Where `run` keeps deaths unless it is told otherwise.
pub const DEFAULT_PATH: &str = "/var/lib/oomtrace/deaths.db";

const FOLDER_MODE: u32 = 0o700;
/// SQLite gives the files beside it the mode of the file itself.
const FILE_MODE: u32 = 0o600;

/// A path with something behind its name.
#[must_use]
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// The right to write to a store, as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
    identity: (u64, u64),
}

impl Lock {
    /// Makes folder and file where they lack, and takes the lock.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: &io::Error| StoreError::io(path, Purpose::Write, error);
        if path.is_dir() {
            return Err(StoreError::new(
                path,
                Purpose::Write,
                Trouble::NotAStore,
                "it is a folder",
            ));
        }
        make_folder(path).map_err(|error| failed(&error))?;
        // The lock first: who comes second touches nothing.
        let mut lock = open_private(&beside(path, ".lock")).map_err(|error| failed(&error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = (&lock).take(32).read_to_string(&mut owner);
                let owner = match owner.trim().parse::<u32>() {
                    Ok(pid) => format!("pid {pid}"),
                    Err(_) => "its lock is held".to_owned(),
                };
                return Err(StoreError::new(path, Purpose::Write, Trouble::Taken, owner));
            }
            Err(TryLockError::Error(error)) => return Err(failed(&error)),
        }
        // For whoever comes second; a disk without room for it has other worries.
        let _ = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        // Closed before SQLite opens it: a later close would give up SQLite's own locks.
        let file = open_private(path).map_err(|error| failed(&error))?;
        let file = file.metadata().map_err(|error| failed(&error))?;
        if !file.is_file() {
            return Err(StoreError::new(
                path,
                Purpose::Write,
                Trouble::NotAStore,
                "it is no regular file",
            ));
        }
        Ok(Self {
            _file: lock,
            identity: (file.dev(), file.ino()),
        })
    }

    /// Whether the path still leads to the file that was there when the lock was taken.
    #[must_use]
    pub(super) fn is_in_place(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|file| (file.dev(), file.ino()) == self.identity)
    }
}

/// Makes the folder of a file where it lacks.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.exists()) {
        Some(folder) => DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(folder),
        None => Ok(()),
    }
}

/// Opens a file that nobody but its owner may read, and makes it where there is none.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        // As root: not where a link of somebody else's leads.
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Moves a damaged store aside, with its journal, so that it can be looked into. One that was
/// moved before stays.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let aside = beside(path, ".damaged");
    if aside.exists() {
        return Err(StoreError::new(
            path,
            Purpose::Write,
            Trouble::DamagedAgain,
            "as was the one before it",
        ));
    }
    let failed = |error: &io::Error| StoreError::io(path, Purpose::Write, error);
    let journal = beside(path, "-wal");
    if journal.exists() {
        fs::rename(&journal, beside(&aside, "-wal")).map_err(|error| failed(&error))?;
    }
    let _ = fs::remove_file(beside(path, "-shm"));
    fs::rename(path, &aside).map_err(|error| failed(&error))?;
    Ok(aside)
}

/// Why a file cannot be opened as a database. The connection must be closed: to read the file is
/// to give up SQLite's own locks.
#[must_use]
pub(super) fn opening(path: &Path, purpose: Purpose, error: &rusqlite::Error) -> StoreError {
    let error = StoreError::sqlite(path, purpose, error);
    if error.trouble() == Trouble::NotAStore && begins_with_zeros(path) {
        let found = "its first page is nothing but zeros, as a loss of power leaves it";
        return StoreError::new(path, purpose, Trouble::Damaged, found);
    }
    error
}

/// What nobody has written: other kinds of files begin with what tells their kind.
fn begins_with_zeros(path: &Path) -> bool {
    const PAGE_BYTES: u64 = 4096;
    let mut page = Vec::new();
    let read = File::open(path).and_then(|file| file.take(PAGE_BYTES).read_to_end(&mut page));
    read.is_ok() && !page.is_empty() && page.iter().all(|byte| *byte == 0)
}

/// Why a file cannot be written, as far as its file system tells.
#[must_use]
pub(super) fn why(path: &Path) -> Trouble {
    if let Err(error) = fs::metadata(path) {
        return match error.kind() {
            io::ErrorKind::NotFound => Trouble::Missing,
            io::ErrorKind::PermissionDenied => Trouble::Denied,
            _ => Trouble::Failed,
        };
    }
    let Ok(name) = CString::new(path.as_os_str().as_bytes()) else {
        return Trouble::Failed;
    };
    // SAFETY: asks about a path that ends with its NUL.
    if unsafe { libc::access(name.as_ptr(), libc::R_OK) } != 0
        && io::Error::last_os_error().raw_os_error() == Some(libc::EACCES)
    {
        return Trouble::Denied;
    }
    let mut system = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path ends with its NUL, and all zeros is a valid `statvfs`.
    let system = unsafe {
        if libc::statvfs(name.as_ptr(), system.as_mut_ptr()) != 0 {
            return Trouble::Failed;
        }
        system.assume_init()
    };
    if system.f_flag & libc::ST_RDONLY != 0 {
        Trouble::ReadOnly
    } else if system.f_blocks > 0 && system.f_bavail == 0 {
        Trouble::Full
    } else {
        Trouble::Failed
    }
}
