//! Programs and maps that outlive the tracer: their names in the BPF file system.
//!
//! Each set of programs has a folder of its own, a generation, named by all that the next tracer
//! must know before it touches it: the layout of its records, which programs they are, and since
//! when they watch. It gets that name only when it is whole; before, it is called [`NEW`], and
//! whoever finds that removes it. One tracer at a time has the folder locked.

#[cfg(test)]
mod tests;

use std::{
    ffi::CString,
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, symlink},
    },
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Where pins are unless it is said otherwise.
pub const DEFAULT_FOLDER: &str = "/sys/fs/bpf/oomtrace";

/// A generation that is not whole.
const NEW: &str = "new";
const MODE: u32 = 0o700;

/// Why nothing can be pinned.
#[derive(Debug, Error)]
pub enum PinsError {
    #[error(
        "{folder} is not in a BPF file system\n\
         do: mount one (mount -t bpf bpf /sys/fs/bpf); in a container, mount the node's /sys/fs/bpf into it"
    )]
    NoFileSystem { folder: String },
    #[error(
        "another oomtrace has the pins in {folder}\n\
         do: stop that one first; or choose another folder"
    )]
    Taken { folder: String },
    #[error("the pins in {folder} cannot be used: {error}")]
    Io { folder: String, error: io::Error },
}

/// The folder of all generations, locked for as long as this lives.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    _lock: File,
    /// A generation that was not whole was removed from it.
    had_unfinished: bool,
}

/// What has become of the folder of all generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Removed,
    /// Nothing of oomtrace's was in it.
    NotOurs,
    NotEmpty,
    MountPoint,
}

impl Pins {
    /// Makes the folder where it lacks, and locks it.
    pub fn open(folder: &Path) -> Result<Self, PinsError> {
        let failed = |error| PinsError::Io {
            folder: shown(folder),
            error,
        };
        if !is_bpf(folder) {
            return Err(PinsError::NoFileSystem {
                folder: shown(folder),
            });
        }
        match DirBuilder::new().mode(MODE).create(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(failed)?,
        }
        let lock = File::open(folder).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(PinsError::Taken {
                    folder: shown(folder),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        Self::locked(folder, lock).map_err(failed)
    }

    fn locked(folder: &Path, lock: File) -> io::Result<Self> {
        let unfinished = folder.join(NEW);
        let mut had_unfinished = false;
        if unfinished.is_dir() {
            let pins = pins(&unfinished)?;
            // Others may call something so, too.
            if pins.iter().all(|path| is_named_as_ours(path)) {
                remove(&unfinished)?;
                had_unfinished = !pins.is_empty();
            }
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            _lock: lock,
            had_unfinished,
        })
    }

    /// The generations that are there, the oldest first.
    pub fn generations(&self) -> Result<Vec<Generation>, PinsError> {
        let list = || -> io::Result<Vec<Generation>> {
            let mut found = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                found.extend(Generation::at(&entry?.path()));
            }
            found.sort_by_key(|generation| (generation.since_ns, generation.folder.clone()));
            Ok(found)
        };
        list().map_err(|error| self.failed(error))
    }

    /// Begins a generation: a folder that does not count yet.
    pub(super) fn begin(&self) -> Result<PathBuf, PinsError> {
        let folder = self.folder.join(NEW);
        DirBuilder::new()
            .mode(MODE)
            .create(&folder)
            .map_err(|error| self.failed(error))?;
        Ok(folder)
    }

    /// The generation that was begun does not come about.
    pub(super) fn give_up(&self) {
        if let Err(error) = remove(&self.folder.join(NEW)) {
            log::error!(
                "programs that are not whole stay in {}: {error}",
                shown(&self.folder.join(NEW))
            );
        }
    }

    /// The generation that was begun is whole.
    pub(super) fn finish(
        &self,
        programs: Programs,
        since_ns: u64,
    ) -> Result<Generation, PinsError> {
        let generation = Generation {
            folder: self.folder.join(name(programs, since_ns)),
            programs,
            since_ns,
        };
        fs::rename(self.folder.join(NEW), &generation.folder)
            .map_err(|error| self.failed(error))?;
        Ok(generation)
    }

    /// Removes the folder itself, if it is oomtrace's and nothing is in it. `had_pins`: generations
    /// were.
    pub fn remove_folder(self, had_pins: bool) -> Result<Fate, PinsError> {
        let is_ours = had_pins || self.had_unfinished || self.folder == Path::new(DEFAULT_FOLDER);
        if !is_ours {
            return Ok(Fate::NotOurs);
        }
        match fs::remove_dir(&self.folder) {
            Ok(()) => Ok(Fate::Removed),
            Err(error) => stays(&error).ok_or_else(|| self.failed(error)),
        }
    }

    fn failed(&self, error: io::Error) -> PinsError {
        PinsError::Io {
            folder: shown(&self.folder),
            error,
        }
    }
}

/// What a folder is that cannot be removed, and need not be.
fn stays(error: &io::Error) -> Option<Fate> {
    match error.kind() {
        io::ErrorKind::DirectoryNotEmpty => Some(Fate::NotEmpty),
        io::ErrorKind::ResourceBusy => Some(Fate::MountPoint),
        _ => None,
    }
}

/// Whether some are left in [`DEFAULT_FOLDER`] by a tracer that is gone.
#[must_use]
pub fn are_left() -> bool {
    let folder = Path::new(DEFAULT_FOLDER);
    folder.exists()
        && Pins::open(folder)
            .and_then(|pins| pins.generations())
            .is_ok_and(|generations| !generations.is_empty())
}

/// Which programs they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Programs {
    /// Layout of their records: `wire::VERSION`.
    pub wire: u16,
    /// A mark of the programs and of what was set in them.
    pub mark: u64,
}

/// One set of programs with their maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    folder: PathBuf,
    pub(super) programs: Programs,
    /// Since when it, or those that handed over to it, have watched without a pause:
    /// `CLOCK_BOOTTIME`.
    pub(super) since_ns: u64,
}

impl Generation {
    fn at(folder: &Path) -> Option<Self> {
        let (programs, since_ns) = parse(folder.file_name()?.to_str()?)?;
        Some(Self {
            folder: folder.to_path_buf(),
            programs,
            since_ns,
        })
    }

    /// Layout of its records: `wire::VERSION`.
    #[must_use]
    pub fn wire(&self) -> u16 {
        self.programs.wire
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        map(&self.folder, name)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        program(&self.folder, name)
    }

    pub(super) fn link(&self, name: &str) -> PathBuf {
        link(&self.folder, name)
    }

    /// Whether it has this program: another version may have others.
    pub(super) fn has(&self, program: &str) -> bool {
        self.program(program).exists()
    }

    /// Whether its programs are all hooked still; of some the hook need not be pinned.
    pub(super) fn is_hooked(&self, but: &[&str]) -> io::Result<bool> {
        let pins = pins(&self.folder)?;
        let mut names: Vec<&str> = pins
            .iter()
            .filter_map(|path| path.file_name()?.to_str()?.strip_prefix(PROGRAM))
            .filter(|name| !but.contains(name))
            .collect();
        let had_some = !names.is_empty();
        names.retain(|name| !self.link(name).exists());
        Ok(had_some && names.is_empty())
    }

    /// Whether any hook of it is left.
    pub(super) fn has_hooks(&self) -> io::Result<bool> {
        Ok(pins(&self.folder)?.iter().any(|path| is_link(path)))
    }

    /// Takes all hooks away.
    pub(super) fn detach_all(&self) -> io::Result<()> {
        pins(&self.folder)?
            .into_iter()
            .filter(|path| is_link(path))
            .try_for_each(fs::remove_file)
    }

    /// Who has read it last: see [`READER`].
    pub(super) fn reader(&self) -> Option<PathBuf> {
        fs::read_link(self.folder.join(READER)).ok()
    }

    /// Notes who reads it from now on.
    pub(super) fn set_reader(&self, reader: &Path) -> io::Result<()> {
        let note = self.folder.join(READER);
        match fs::remove_file(&note) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        symlink(reader, note)
    }

    /// Removes all of it: with the last pin, what nobody has open is gone.
    pub fn remove(&self) -> io::Result<()> {
        remove(&self.folder)
    }
}

const MAP: &str = "map_";
const PROGRAM: &str = "program_";
const LINK: &str = "link_";
/// A symbolic link that leads to the journal of whoever has read the programs' records last: what
/// another has told is not told here.
const READER: &str = "reader";

pub(super) fn map(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{MAP}{name}"))
}

pub(super) fn program(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{PROGRAM}{name}"))
}

pub(super) fn link(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{LINK}{name}"))
}

/// A name of the BPF file system may hold no dot.
fn name(programs: Programs, since_ns: u64) -> String {
    format!("v{}-{:016x}-{since_ns:x}", programs.wire, programs.mark)
}

fn parse(name: &str) -> Option<(Programs, u64)> {
    let mut parts = name.strip_prefix('v')?.split('-');
    let programs = Programs {
        wire: parts.next()?.parse().ok()?,
        mark: u64::from_str_radix(parts.next()?, 16).ok()?,
    };
    let since_ns = u64::from_str_radix(parts.next()?, 16).ok()?;
    parts.next().is_none().then_some((programs, since_ns))
}

/// Removes a folder of pins: the hooks first, so that none of them meets a map that is gone.
fn remove(folder: &Path) -> io::Result<()> {
    let mut pins = pins(folder)?;
    pins.sort_by_key(|path| !is_link(path));
    pins.into_iter().try_for_each(fs::remove_file)?;
    fs::remove_dir(folder)
}

fn pins(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect()
}

fn is_named_as_ours(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.as_bytes();
        name == READER.as_bytes()
            || [MAP, PROGRAM, LINK]
                .iter()
                .any(|prefix| name.starts_with(prefix.as_bytes()))
    })
}

fn is_link(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_bytes().starts_with(LINK.as_bytes()))
}

fn shown(folder: &Path) -> String {
    crate::event::text::printable(&folder.display().to_string())
}

/// Whether a folder is in a BPF file system, or would be.
#[must_use]
pub fn is_bpf(folder: &Path) -> bool {
    /// `BPF_FS_MAGIC` of include/uapi/linux/magic.h.
    const BPF_FS_MAGIC: u32 = 0xcafe_4a11;
    let there = if folder.exists() {
        Some(folder)
    } else {
        folder.parent()
    };
    let Some(path) = there.and_then(|path| CString::new(path.as_os_str().as_bytes()).ok()) else {
        return false;
    };
    let mut system = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path ends with its NUL, and all zeros is a valid `statfs`.
    let system = unsafe {
        if libc::statfs(path.as_ptr(), system.as_mut_ptr()) != 0 {
            return false;
        }
        system.assume_init()
    };
    system.f_type as u32 == BPF_FS_MAGIC
}
