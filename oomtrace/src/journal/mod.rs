//! What was taken from the ring buffer and is not settled yet, on disk: each record is written
//! down before its place in the ring is free, and all that was looked up for it as it is used. So
//! a tracer that is killed loses nothing: the next one puts the journal through the same state
//! machine, and goes on. When every death is written and stored, the journal is cut.
//!
//! The file is made of the frames of a recording. Two threads write it. The one that empties the
//! ring appends the kernel's records as they come; the one that judges appends the rest, each with
//! the number of records that it had taken by then ([`WITH_PLACE`]): so the order in which it took
//! them can be told.
//!
//! It is not flushed to the disk: it outlives the tracer, and not the kernel, with which all
//! half-known deaths end anyway. What is known whole is in the store.
//!
//! | module | what it owns |
//! |---|---|
//! | [`recovered`] | reading it |
//! | [`shrink`] | what of it is still needed, where it cannot be cut for long |

mod recovered;
mod shrink;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use oomtrace_common::wire;
use thiserror::Error;

pub use self::recovered::Recovered;
use crate::{
    event::{
        entry::{Entry, Tick},
        frame,
    },
    identity::host,
    store,
};

const MAGIC: &[u8; 8] = b"OOMTJRNL";
/// Of the file and of what is in it: it goes up with the layout of the kernel's records.
const VERSION: u32 = wire::VERSION as u32;
/// Added to a frame's kind: its payload begins with the number of the kernel's records before it.
const WITH_PLACE: u8 = 0x80;
/// A tick after which nothing was to be done: the next such one may take its place.
const IDLE: u8 = WITH_PLACE | 64;
/// How often OOM kills had been counted in each cgroup: no entry of the stream.
const COUNTS: u8 = 65;
/// Since when nothing could be kept: no entry either.
const BROKEN: u8 = 66;

/// Behind the name of the store.
const SUFFIX: &str = ".events";
/// How large it may grow.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Beyond this, what is not needed any more is left out.
    pub large_bytes: u64,
    /// Beyond this, nothing more is written until it can be cut.
    pub most_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            large_bytes: 8 << 20,
            most_bytes: 64 << 20,
        }
    }
}

/// Why there is no journal.
#[derive(Debug, Error)]
pub enum JournalError {
    #[error("another oomtrace has it")]
    Taken,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// See the module.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    file: File,
    /// The kernel's records in the file.
    records: u64,
    bytes: u64,
    /// Where the last frame begins, if it is an idle tick.
    idle_at: Option<u64>,
    /// It could not be written: nothing is, until it can be cut.
    is_broken: bool,
    bounds: Bounds,
    /// It is not looked at again before it has grown to this.
    shrink_at: u64,
    buffer: Vec<u8>,
}

impl Journal {
    /// The one that belongs to a store.
    #[must_use]
    pub fn of_store(store: &Path) -> PathBuf {
        store::beside(store, SUFFIX)
    }

    /// Opens a journal, and reads what is in it.
    pub fn open(path: &Path) -> Result<(Arc<Self>, Recovered), JournalError> {
        Self::open_within(path, Bounds::default())
    }

    /// The same, with bounds of one's own.
    pub fn open_within(
        path: &Path,
        bounds: Bounds,
    ) -> Result<(Arc<Self>, Recovered), JournalError> {
        store::make_folder(path)?;
        let file = store::open_private(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Taken),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // One that was made smaller in this moment has another file behind its name.
        if !is_same(&file, path)? {
            return Err(JournalError::Taken);
        }
        let (mut recovered, whole_bytes) = recovered::read(&file)?;
        if let Some(foreign) = &mut recovered.foreign {
            // It stays until all of it is saved.
            let aside = store::beside(path, &format!(".v{}", foreign.version));
            fs::rename(path, &aside)?;
            foreign.path = aside;
            let (journal, _) = Self::open_within(path, bounds)?;
            return Ok((journal, recovered));
        }
        // A frame that was cut off by the end of its writer: its record is in the ring still.
        file.set_len(whole_bytes)?;
        let mut inside = Inside::of(file, bounds);
        inside.records = recovered.records();
        inside.bytes = whole_bytes;
        inside.end()?;
        if whole_bytes == 0 {
            inside.begin()?;
        }
        let journal = Self {
            path: path.to_path_buf(),
            inside: Mutex::new(inside),
        };
        Ok((Arc::new(journal), recovered))
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // What it guards is whole between any two statements.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down a record of the kernel's.
    pub fn record(&self, record: &[u8]) {
        let mut inside = self.lock();
        inside.records += 1;
        let done = inside.frame(frame::KERNEL, None, record);
        self.done(&mut inside, done);
    }

    /// Writes down another entry, taken after so many of the kernel's records.
    pub fn entry(&self, taken: u64, entry: &Entry) {
        let mut inside = self.lock();
        let done = frame::encode(entry)
            .and_then(|(kind, payload)| inside.frame(kind | WITH_PLACE, Some(taken), &payload));
        self.done(&mut inside, done);
    }

    /// Writes down that time has passed, and nothing was to be done.
    pub fn idle(&self, taken: u64, tick: &Tick) {
        let mut inside = self.lock();
        let mut write = || {
            if let Some(at) = inside.idle_at {
                inside.file.set_len(at)?;
                inside.bytes = at;
                inside.end()?;
            }
            let at = inside.bytes;
            inside.frame(IDLE, Some(taken), &serde_json::to_vec(tick)?)?;
            inside.idle_at = Some(at);
            Ok(())
        };
        let done = write();
        self.done(&mut inside, done);
    }

    /// Begins anew with these entries, if no more of the kernel's records have been written than
    /// were taken. False: some have.
    pub fn cut(&self, taken: u64, begin: &[Entry], counts: Option<&OomCounts>) -> bool {
        let mut inside = self.lock();
        if inside.records != taken {
            return false;
        }
        let was_broken = inside.is_broken;
        inside.is_broken = false;
        inside.records = 0;
        inside.shrink_at = inside.bounds.large_bytes;
        let mut write = || {
            inside.begin()?;
            if let Some(counts) = counts {
                inside.frame(COUNTS, None, &serde_json::to_vec(counts)?)?;
            }
            begin.iter().try_for_each(|entry| {
                let (kind, payload) = frame::encode(entry)?;
                inside.frame(kind | WITH_PLACE, Some(0), &payload)
            })
        };
        let done = write();
        let is_done = done.is_ok();
        self.done(&mut inside, done);
        if was_broken && is_done {
            log::warn!("events are kept in {} again", self.shown());
        }
        true
    }

    /// It could not be written, and nothing is until it can be cut.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.lock().is_broken
    }

    /// Its size without the idle tick at its end.
    #[must_use]
    pub fn settled_bytes(&self) -> u64 {
        let inside = self.lock();
        inside.idle_at.unwrap_or(inside.bytes)
    }

    fn done(&self, inside: &mut Inside, done: io::Result<()>) {
        let error = match done {
            Ok(()) if inside.bytes <= inside.bounds.most_bytes => return,
            Ok(()) => io::Error::other(format!("it has grown to {} bytes", inside.bytes)),
            Err(error) => error,
        };
        if std::mem::replace(&mut inside.is_broken, true) {
            return;
        }
        // Half of it is of no use, and the disk may be full. That it is missing is left.
        let broken = Broken {
            boot_id: host::session().boot_id,
            since: host::now(),
        };
        let left = inside
            .begin()
            .and_then(|()| Ok(serde_json::to_vec(&broken)?))
            .and_then(|broken| inside.write(BROKEN, None, &broken));
        if left.is_err() {
            let _ = inside.file.set_len(0);
            inside.bytes = 0;
        }
        log::error!(
            "{} cannot be written: {error}\n\
             meanwhile: tracing goes on; deaths that are not stored yet would be lost if oomtrace were killed now",
            self.shown()
        );
    }

    fn shown(&self) -> String {
        crate::event::text::printable(&self.path.display().to_string())
    }
}

impl Inside {
    fn of(file: File, bounds: Bounds) -> Self {
        Self {
            file,
            records: 0,
            bytes: 0,
            idle_at: None,
            is_broken: false,
            bounds,
            shrink_at: bounds.large_bytes,
            buffer: Vec::new(),
        }
    }

    /// An empty file but for its head.
    fn begin(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.bytes = 0;
        self.idle_at = None;
        self.end()?;
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&VERSION.to_le_bytes());
        self.file.write_all(&head)?;
        self.bytes = head.len() as u64;
        Ok(())
    }

    /// Goes on writing at its end.
    fn end(&mut self) -> io::Result<()> {
        use std::io::Seek as _;
        self.file.seek(io::SeekFrom::Start(self.bytes)).map(drop)
    }

    /// In one write: whoever is killed leaves no more than one half frame.
    fn frame(&mut self, kind: u8, place: Option<u64>, payload: &[u8]) -> io::Result<()> {
        if self.is_broken {
            return Ok(());
        }
        self.write(kind, place, payload)
    }

    fn write(&mut self, kind: u8, place: Option<u64>, payload: &[u8]) -> io::Result<()> {
        let place = place.map(u64::to_le_bytes);
        let place = place.as_ref().map_or(&[][..], |place| place);
        let head = match frame::head(kind, place.len() + payload.len()) {
            Ok(head) => head,
            Err(error) => {
                // It alone, and not all that comes after it.
                log::error!("the journal does without an entry: {error}");
                return Ok(());
            }
        };
        self.buffer.clear();
        self.buffer.extend_from_slice(&head);
        self.buffer.extend_from_slice(place);
        self.buffer.extend_from_slice(payload);
        self.file.write_all(&self.buffer)?;
        self.bytes += self.buffer.len() as u64;
        self.idle_at = None;
        Ok(())
    }
}

fn is_same(file: &File, path: &Path) -> io::Result<bool> {
    let (file, named) = (file.metadata()?, fs::metadata(path)?);
    Ok((file.dev(), file.ino()) == (named.dev(), named.ino()))
}

/// Since when nothing of what was taken could be kept.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Broken {
    pub boot_id: String,
    pub since: Tick,
}

/// How often OOM kills had been counted in each cgroup at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OomCounts {
    /// `CLOCK_BOOTTIME`.
    pub boottime_ns: u64,
    /// By the cgroup's path; those with none are left out.
    pub kills: std::collections::BTreeMap<String, u64>,
}
