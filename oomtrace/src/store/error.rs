//! What can be wrong with a store: what was tried, what was found, and what to do.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;

use super::place;
use crate::event::text::printable;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is none.
    Missing,
    /// There is one, and nothing is in it.
    Empty,
    /// The disk has no room.
    Full,
    ReadOnly,
    Denied,
    /// It is a store, and what is in it does not hold together.
    Damaged,
    /// It is, and one that was moved aside lies there already.
    DamagedAgain,
    /// It is a file of another kind, or no file at all.
    NotAStore,
    /// A newer version has made it.
    Newer,
    /// An older version has made it, and who only reads cannot bring it up to date.
    Older,
    /// Another tracer writes to it.
    Taken,
    /// The file system has no locks.
    NoLocks,
    /// Another program has it locked.
    Busy,
    /// A reader that does not end keeps what is written from its place.
    Held,
    /// Anything else.
    Failed,
}

/// What it was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Write,
    Read,
}

/// A store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    path: PathBuf,
    purpose: Purpose,
    trouble: Trouble,
    found: String,
}

impl StoreError {
    pub(super) fn new(
        path: &Path,
        purpose: Purpose,
        trouble: Trouble,
        found: impl Into<String>,
    ) -> Self {
        Self {
            path: path.to_path_buf(),
            purpose,
            trouble,
            found: found.into(),
        }
    }

    pub(super) fn io(path: &Path, purpose: Purpose, error: &io::Error) -> Self {
        let trouble = match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Trouble::Full,
            Some(libc::EROFS) => Trouble::ReadOnly,
            Some(libc::EACCES | libc::EPERM) => Trouble::Denied,
            Some(libc::ENOENT) => Trouble::Missing,
            Some(libc::EISDIR | libc::ENOTDIR) => Trouble::NotAStore,
            Some(libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS) => Trouble::NoLocks,
            _ => Trouble::Failed,
        };
        Self::new(path, purpose, trouble, error.to_string())
    }

    pub(super) fn sqlite(path: &Path, purpose: Purpose, error: &rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        let trouble = match code {
            Some(ErrorCode::DiskFull) => Trouble::Full,
            Some(ErrorCode::ReadOnly) => Trouble::ReadOnly,
            Some(ErrorCode::PermissionDenied) => Trouble::Denied,
            Some(ErrorCode::DatabaseCorrupt) => Trouble::Damaged,
            Some(ErrorCode::NotADatabase) => Trouble::NotAStore,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Trouble::Busy,
            // SQLite says that it failed, the file system says why.
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => place::why(path),
            _ => Trouble::Failed,
        };
        Self::new(path, purpose, trouble, error.to_string())
    }

    /// What is wrong.
    #[must_use]
    pub const fn trouble(&self) -> Trouble {
        self.trouble
    }

    /// What was found, as it was said.
    pub(super) fn found(&self) -> &str {
        &self.found
    }

    fn what(&self) -> &'static str {
        match self.trouble {
            Trouble::Missing => "there is no such file",
            Trouble::Empty => "it is empty",
            Trouble::Full => "the disk is full",
            Trouble::ReadOnly => "the disk is read-only",
            Trouble::Denied => "these privileges do not suffice",
            Trouble::Damaged | Trouble::DamagedAgain => "it is damaged",
            Trouble::NotAStore => "it is no store of oomtrace",
            Trouble::Newer => "a newer oomtrace has made it",
            Trouble::Older => "an older oomtrace has made it",
            Trouble::Taken => "another oomtrace writes to it",
            Trouble::NoLocks => "its file system has no locks",
            Trouble::Busy => "another program has it locked",
            Trouble::Held => "another program reads it and does not come to an end",
            Trouble::Failed => "that failed",
        }
    }

    fn to_do(&self) -> String {
        let path = printable(&self.path.display().to_string());
        match (self.trouble, self.purpose) {
            (Trouble::Missing | Trouble::Empty, Purpose::Read) => {
                "deaths are stored while `oomtrace run` runs; --store PATH names another file"
                    .to_owned()
            }
            (Trouble::Missing | Trouble::Empty, Purpose::Write) => "see that its folder stays".to_owned(),
            (Trouble::Full, _) => {
                "make room; --store-size BYTES bounds what the store takes, --store PATH names another disk".to_owned()
            }
            (Trouble::ReadOnly, _) => {
                "make it writable, or name a file on another disk with --store PATH".to_owned()
            }
            (Trouble::Denied, Purpose::Read) => "read it as root (sudo)".to_owned(),
            (Trouble::Denied, Purpose::Write) => {
                "run oomtrace as root, or name another file with --store PATH".to_owned()
            }
            (Trouble::Damaged, _) => {
                "a running `oomtrace run` moves it aside and begins a new one".to_owned()
            }
            (Trouble::DamagedAgain, _) => format!(
                "look at {path}.damaged, which was damaged before, move it away, and this one takes its place"
            ),
            (Trouble::NotAStore, _) => "name another file with --store PATH".to_owned(),
            (Trouble::Newer, _) => {
                "use that version, or name another file with --store PATH".to_owned()
            }
            (Trouble::Older, _) => {
                "start `oomtrace run` once: it brings the file up to date".to_owned()
            }
            (Trouble::Taken, _) => {
                "end one of the two, or give this one a file of its own with --store PATH, or none with --no-store".to_owned()
            }
            (Trouble::NoLocks, _) => {
                "name a file on a local disk with --store PATH: a network's is not for this"
                    .to_owned()
            }
            (Trouble::Busy | Trouble::Held, _) => {
                format!("find it with `fuser -v {path}` and end it")
            }
            (Trouble::Failed, _) => "look at the kernel's log for errors of the disk".to_owned(),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = printable(&self.path.display().to_string());
        match self.purpose {
            Purpose::Write => write!(to, "deaths cannot be stored in {path}: ")?,
            Purpose::Read => write!(to, "{path} cannot be read: ")?,
        }
        write!(
            to,
            "{} ({})\ndo: {}",
            self.what(),
            printable(&self.found),
            self.to_do()
        )
    }
}

impl std::error::Error for StoreError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_system_says_is_told_apart() {
        for (errno, trouble) in [
            (libc::ENOSPC, Trouble::Full),
            (libc::EDQUOT, Trouble::Full),
            (libc::EROFS, Trouble::ReadOnly),
            (libc::EACCES, Trouble::Denied),
            (libc::ENOLCK, Trouble::NoLocks),
            (libc::EISDIR, Trouble::NotAStore),
            (libc::EIO, Trouble::Failed),
        ] {
            let error = io::Error::from_raw_os_error(errno);
            let error = StoreError::io(Path::new("/x/deaths.db"), Purpose::Write, &error);
            assert_eq!(error.trouble(), trouble);
            let text = error.to_string();
            assert!(
                text.contains("/x/deaths.db") && text.contains("\ndo: "),
                "{text}"
            );
        }
    }

    #[test]
    fn a_path_does_not_move_the_cursor() {
        let path = Path::new("/x/\x1b[2J");
        let error = StoreError::new(path, Purpose::Read, Trouble::Busy, "\n");
        assert!(!error.to_string().contains('\x1b'));
    }
}
