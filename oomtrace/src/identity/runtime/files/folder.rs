//! Reading files that others write: only regular ones, only so much, and never outside of
//! the folder that they should be in.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::{Component, Path, PathBuf},
};

use super::FilesError;

/// No file of a runtime's that is read here is larger: a `config.json` has some 10 KiB.
pub(super) const MAX_FILE_BYTES: u64 = 4 << 20;
/// More names in a folder are not looked at.
const MAX_NAMES: usize = 4096;

/// `struct open_how` of include/uapi/linux/openat2.h, 5.6 and later.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// How far a path may lead.
#[derive(Clone, Copy)]
enum Bound {
    /// Absolute links and `..` end at the folder, as in a chroot.
    AsRoot,
    /// What leads out of the folder is refused.
    Below,
}

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// A folder that the user or the kernel names: links are followed. `None`: not there.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let name = CString::new(path.as_os_str().as_bytes()).ok()?;
        // SAFETY: the name is a NUL-terminated string.
        let fd = unsafe { libc::open(name.as_ptr(), FOLDER) };
        Some(Self {
            fd: owned(fd).ok()?,
            path: path.to_owned(),
        })
    }

    /// A folder by its absolute path, with this one as the root. `None`: not there, or not
    /// to be had.
    pub(super) fn under(&self, path: &Path) -> Option<Self> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let fd = open(self.fd.as_raw_fd(), relative, FOLDER, Bound::AsRoot).ok()?;
        Some(Self {
            fd,
            path: self.path.join(relative),
        })
    }

    /// A folder within.
    pub(super) fn below(&self, path: impl AsRef<Path>) -> Option<Self> {
        let path = path.as_ref();
        let fd = open(self.fd.as_raw_fd(), path, FOLDER, Bound::Below).ok()?;
        Some(Self {
            fd,
            path: self.path.join(path),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A file within; `None`: not there.
    pub(super) fn read(&self, path: impl AsRef<Path>) -> Result<Option<Vec<u8>>, FilesError> {
        let path = path.as_ref();
        let io_error = |error| FilesError::Io {
            path: self.path.join(path),
            error,
        };
        let unusable = |why: String| FilesError::Unusable {
            path: self.path.join(path),
            why,
        };
        // Without O_NONBLOCK, a FIFO would wait for a writer.
        let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
        let fd = match open(self.fd.as_raw_fd(), path, flags, Bound::Below) {
            Ok(fd) => fd,
            Err(error) => {
                return match error.raw_os_error() {
                    Some(libc::ENOENT | libc::ENOTDIR) => Ok(None),
                    Some(libc::EXDEV | libc::ELOOP) => Err(unusable(
                        "a symbolic link leads out of its folder".to_owned(),
                    )),
                    Some(libc::ENXIO) => Err(unusable("not a regular file".to_owned())),
                    _ => Err(io_error(error)),
                };
            }
        };
        let file = File::from(fd);
        let metadata = file.metadata().map_err(io_error)?;
        if !metadata.is_file() {
            return Err(unusable("not a regular file".to_owned()));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(io_error)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(unusable(format!(
                "larger than {} MiB",
                MAX_FILE_BYTES >> 20
            )));
        }
        Ok(Some(bytes))
    }

    /// When a regular file within was written last, on the wall clock; `None`: not there.
    pub(super) fn written_ns(&self, path: impl AsRef<Path>) -> Option<i64> {
        let flags = libc::O_PATH | libc::O_CLOEXEC | libc::O_NOFOLLOW;
        let fd = open(self.fd.as_raw_fd(), path.as_ref(), flags, Bound::Below).ok()?;
        let metadata = File::from(fd).metadata().ok()?;
        metadata.is_file().then(|| {
            metadata
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(metadata.mtime_nsec())
        })
    }

    /// Where a symbolic link within points to, unfollowed.
    pub(super) fn link(&self, name: &str) -> Option<PathBuf> {
        std::fs::read_link(self.by_fd().join(name)).ok()
    }

    /// The names within, in no order. Those that are no text are left out.
    pub(super) fn names(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.by_fd()) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .take(MAX_NAMES)
            .collect()
    }

    fn by_fd(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }
}

const FOLDER: libc::c_int = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;

fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens what is named relative to a folder.
fn open(folder: RawFd, path: &Path, flags: libc::c_int, bound: Bound) -> io::Result<OwnedFd> {
    // From include/uapi/linux/openat2.h.
    const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
    const RESOLVE_BENEATH: u64 = 0x08;
    const RESOLVE_IN_ROOT: u64 = 0x10;
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let name = CString::new(path.as_os_str().as_bytes())?;
    let how = OpenHow {
        flags: flags.unsigned_abs().into(),
        mode: 0,
        resolve: RESOLVE_NO_MAGICLINKS
            | match bound {
                Bound::AsRoot => RESOLVE_IN_ROOT,
                Bound::Below => RESOLVE_BENEATH,
            },
    };
    // SAFETY: the name is a NUL-terminated string, and `how` is as long as said.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            folder,
            name.as_ptr(),
            &raw const how,
            size_of::<OpenHow>(),
        )
    };
    match owned(fd as RawFd) {
        // Filters of system calls know it late.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            step_by_step(folder, path, flags)
        }
        result => result,
    }
}

/// The same without openat2(2): no link is followed at all.
fn step_by_step(folder: RawFd, path: &Path, flags: libc::c_int) -> io::Result<OwnedFd> {
    let mut names = path
        .components()
        .filter(|component| !matches!(component, Component::CurDir))
        .peekable();
    let step = |from: RawFd, name: &[u8], flags| {
        let name = CString::new(name)?;
        // SAFETY: the name is a NUL-terminated string.
        owned(unsafe { libc::openat(from, name.as_ptr(), flags | libc::O_NOFOLLOW) })
    };
    let mut at: Option<OwnedFd> = None;
    while let Some(component) = names.next() {
        let Component::Normal(name) = component else {
            return Err(io::Error::from_raw_os_error(libc::EXDEV));
        };
        let flags = if names.peek().is_some() {
            FOLDER
        } else {
            flags
        };
        let from = at.as_ref().map_or(folder, std::os::fd::AsRawFd::as_raw_fd);
        at = Some(step(from, name.as_bytes(), flags)?);
    }
    at.map_or_else(|| step(folder, b".", flags), Ok)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::identity::runtime::files::tests::Scratch;

    fn why(result: Result<Option<Vec<u8>>, FilesError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn links_do_not_lead_out() {
        let scratch = Scratch::new();
        scratch.write("in/a/file", "inside");
        scratch.write("out/secret", "outside");
        let at = |path: &str| scratch.path(path);
        symlink(at("out/secret"), at("in/absolute")).unwrap();
        symlink("../out/secret", at("in/relative")).unwrap();
        symlink("../out", at("in/folder")).unwrap();
        symlink("a/file", at("in/fine")).unwrap();
        symlink("loop", at("in/loop")).unwrap();
        symlink("/proc/self/environ", at("in/magic")).unwrap();
        let folder = Folder::open(&at("in")).unwrap();
        for path in [
            "absolute",
            "relative",
            "folder/secret",
            "../out/secret",
            "loop",
            "magic",
        ] {
            let why = why(folder.read(path));
            assert!(why.contains("leads out"), "{path}: {why}");
        }
        assert!(folder.below("folder").is_none());
        assert_eq!(folder.read("a/file").unwrap().unwrap(), b"inside");
        assert_eq!(folder.read("fine").unwrap().unwrap(), b"inside");
        assert!(folder.read("nothing").unwrap().is_none());
        // As a root, `..` and absolute links end in it.
        assert!(folder.under(Path::new("/../a")).is_some());
        assert!(folder.under(Path::new("/folder")).is_none());
    }

    #[test]
    fn without_openat2_no_link_is_followed() {
        let scratch = Scratch::new();
        scratch.write("in/a/file", "inside");
        symlink("a", scratch.path("in/link")).unwrap();
        let folder = Folder::open(&scratch.path("in")).unwrap();
        let open = |path: &str| {
            step_by_step(folder.fd.as_raw_fd(), Path::new(path), libc::O_RDONLY).map(drop)
        };
        open("a/file").unwrap();
        open("./a/./file").unwrap();
        open(".").unwrap();
        for path in ["link/file", "link", "../in/a/file", "/etc/passwd"] {
            assert!(open(path).is_err(), "{path}");
        }
    }

    #[test]
    fn only_regular_files_of_a_sane_size_are_read() {
        let scratch = Scratch::new();
        let fifo = CString::new(scratch.path("fifo").as_os_str().as_bytes()).unwrap();
        // SAFETY: the path is a NUL-terminated string.
        assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
        fs::create_dir(scratch.path("folder")).unwrap();
        std::os::unix::net::UnixListener::bind(scratch.path("socket")).unwrap();
        let folder = Folder::open(&scratch.path("")).unwrap();
        for path in ["fifo", "folder", "socket"] {
            assert!(
                why(folder.read(path)).contains("not a regular file"),
                "{path}"
            );
        }
        // A sparse file: nothing is written.
        let huge = File::create(scratch.path("huge")).unwrap();
        huge.set_len(MAX_FILE_BYTES + 1).unwrap();
        assert!(why(folder.read("huge")).contains("larger than 4 MiB"));
        huge.set_len(MAX_FILE_BYTES).unwrap();
        assert_eq!(
            folder.read("huge").unwrap().unwrap().len() as u64,
            MAX_FILE_BYTES
        );
    }
}
