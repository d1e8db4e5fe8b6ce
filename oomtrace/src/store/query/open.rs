//! A store is opened to read.

use std::{fs, io, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

use super::{Reader, bound::Bound};
use crate::store::{
    error::{Purpose, StoreError, Trouble},
    place::{beside, opening},
    schema::{self, State},
};

/// The writer's short moments of exclusion are waited for.
const BUSY: Duration = Duration::from_secs(2);

impl Reader {
    /// Opens a store to read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_layout(path, false)
    }

    /// Opens a store of an older layout, too: it may be asked for no more than
    /// [`revision`](Self::revision)s, which stand in the same place in all of them.
    pub fn open_for_revisions(path: &Path) -> Result<Self, StoreError> {
        Self::open_layout(path, true)
    }

    fn open_layout(path: &Path, older_too: bool) -> Result<Self, StoreError> {
        let refused = |trouble, found: &str| StoreError::new(path, Purpose::Read, trouble, found);
        // SQLite words all of these alike.
        match fs::metadata(path) {
            Ok(file) if !file.is_file() => {
                return Err(refused(Trouble::NotAStore, "it is no regular file"));
            }
            Ok(file) if file.len() == 0 && !beside(path, "-wal").exists() => {
                return Err(refused(Trouble::Empty, "nothing was stored yet"));
            }
            Ok(_) => {}
            Err(error) => return Err(StoreError::io(path, Purpose::Read, &error)),
        }
        fs::File::open(path).map_err(|error| StoreError::io(path, Purpose::Read, &error))?;
        let (mut connection, state) = match opened(path, false) {
            // On a read-only disk a clean store lacks the index of a journal, and needs none.
            Err(error) if cannot_open(&error) && !has_journal(path) => opened(path, true),
            opened => opened,
        }
        .map_err(|error| opening(path, Purpose::Read, &error))?;
        let version = |version| {
            format!(
                "its layout is {version}, this one knows {}",
                schema::VERSION
            )
        };
        match state {
            State::Current => {}
            State::Older(_) if older_too => {}
            State::Empty => return Err(refused(Trouble::Empty, "nothing was stored yet")),
            State::Newer(newer) => return Err(refused(Trouble::Newer, &version(newer))),
            State::Older(older) => return Err(refused(Trouble::Older, &version(older))),
            State::Foreign => {
                return Err(refused(
                    Trouble::NotAStore,
                    "it is another program's database",
                ));
            }
        }
        Ok(Self {
            bound: Bound::on(&mut connection)
                .map_err(|error| StoreError::sqlite(path, Purpose::Read, &error))?,
            connection,
            path: path.to_path_buf(),
        })
    }
}

/// Opens without a change to anything; `is_still`: nobody else may change it either.
fn opened(path: &Path, is_still: bool) -> rusqlite::Result<(Connection, State)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if is_still {
        let uri = format!("file:{}?immutable=1", escaped(path));
        Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?
    } else {
        Connection::open_with_flags(path, flags)?
    };
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    let state = schema::state(&connection)?;
    Ok((connection, state))
}

/// A path as it stands in a URI.
fn escaped(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => text.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(*byte)),
            byte => text.push_str(&format!("%{byte:02x}")),
        }
    }
    text
}

fn cannot_open(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly)
    )
}

fn has_journal(path: &Path) -> bool {
    match fs::metadata(beside(path, "-wal")) {
        Ok(journal) => journal.len() > 0,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}
