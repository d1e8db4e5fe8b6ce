//! The files of one cgroup that are read again and again. They stay open where there are
//! descriptors enough: to open one costs more than to read it.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::hierarchy::Files;
use crate::event::memory::MemorySplit;

/// For what [`Gauge::split`] reads: `memory.stat` has less than half of it, on every kernel.
pub(super) const STAT_BYTES: usize = 16 * 1024;

/// Descriptors that may be kept open, for all cgroups together.
#[derive(Clone, Debug)]
pub(super) struct Descriptors {
    open: Arc<AtomicUsize>,
    most: usize,
}

impl Descriptors {
    /// Half of what this process may open.
    pub(super) fn of_process() -> Self {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the pointer is to a `rlimit`, which is written.
        let rc = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
        let soft = if rc == 0 { limit.rlim_cur } else { 0 };
        Self::new(usize::try_from(soft / 2).unwrap_or(usize::MAX))
    }

    pub(super) fn new(most: usize) -> Self {
        Self {
            open: Arc::new(AtomicUsize::new(0)),
            most,
        }
    }

    fn take(&self, most: usize) -> Option<Taken> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let taken = Taken(Arc::clone(&self.open));
        (before < most).then_some(taken)
    }

    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// Counts as open until it is dropped.
#[derive(Debug)]
struct Taken(Arc<AtomicUsize>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Open files of one cgroup.
#[derive(Debug)]
pub(super) struct Gauge {
    folder: PathBuf,
    files: Files,
    usage: Option<(File, Taken)>,
    stat: Option<(File, Taken)>,
    descriptors: Descriptors,
}

impl Gauge {
    pub(super) fn new(folder: &Path, files: Files, descriptors: &Descriptors) -> Self {
        Self {
            folder: folder.to_path_buf(),
            files,
            usage: None,
            stat: None,
            descriptors: descriptors.clone(),
        }
    }

    /// Bytes in use now.
    pub(super) fn usage(&mut self) -> io::Result<u64> {
        let mut buffer = [0; 32];
        // What is read most is kept open first.
        let most = self.descriptors.most;
        let path = self.folder.join(self.files.usage);
        let text = read(&mut self.usage, &path, &self.descriptors, most, &mut buffer)?;
        number(text).ok_or(io::ErrorKind::InvalidData.into())
    }

    /// What the memory is used for now.
    pub(super) fn split(&mut self, buffer: &mut [u8]) -> io::Result<MemorySplit> {
        let most = self.descriptors.most / 2;
        let path = self.folder.join(self.files.stat);
        let text = read(&mut self.stat, &path, &self.descriptors, most, buffer)?;
        let mut split = std::str::from_utf8(text)
            .ok()
            .and_then(MemorySplit::parse)
            .ok_or(io::ErrorKind::InvalidData)?;
        if let Some(swap) = self.files.swap {
            let text = std::fs::read(self.folder.join(swap)).ok();
            split.swap_bytes = text.as_deref().and_then(number);
        }
        Ok(split)
    }
}

/// Whether an error says that the cgroup is there no more: its files are gone, or those that
/// are open have nothing behind them.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

pub(super) fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// Reads a file that is kept open, or may be from now on.
fn read<'a>(
    kept: &mut Option<(File, Taken)>,
    path: &Path,
    descriptors: &Descriptors,
    most: usize,
    buffer: &'a mut [u8],
) -> io::Result<&'a [u8]> {
    if kept.is_none() {
        let file = File::open(path)?;
        match descriptors.take(most) {
            Some(taken) => *kept = Some((file, taken)),
            None => return whole(&file, buffer),
        }
    }
    match kept {
        Some((file, _)) => whole(file, buffer),
        None => Ok(&[]),
    }
}

/// As much of a file as there is room for.
fn whole<'a>(file: &File, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let mut len = 0;
    while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, len as u64)? {
            0 => break,
            more => len += more,
        }
        // These files come whole, and another read would have the kernel look once more.
        if buffer.get(len - 1) == Some(&b'\n') {
            break;
        }
    }
    Ok(buffer.get(..len).unwrap_or_default())
}
