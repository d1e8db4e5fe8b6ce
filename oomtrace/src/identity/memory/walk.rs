//! The slow search for cgroups that have a limit: a limit is set after the cgroup is made, and
//! can be changed at any time. A few folders at a time, so that a node with thousands of
//! cgroups is no burden.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// No tree is followed deeper, and of a folder with more below no more are looked at.
const DEEPEST: usize = 32;
const MOST_WAITING: usize = 100_000;

/// A walk under way; ends when nothing waits.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Folders with their depth.
    waiting: Vec<(PathBuf, usize)>,
}

impl Walk {
    pub(super) fn from(top: &Path) -> Self {
        Self {
            waiting: vec![(top.to_path_buf(), 0)],
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Those that are not looked at yet.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Path> {
        self.waiting.iter().map(|(folder, _)| folder.as_path())
    }

    /// The next folder. One that goes meanwhile is passed over.
    pub(super) fn next_folder(&mut self) -> Option<PathBuf> {
        let (folder, depth) = self.waiting.pop()?;
        if depth < DEEPEST && has_folders(&folder) {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if self.waiting.len() >= MOST_WAITING {
                    break;
                }
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    self.waiting.push((entry.path(), depth + 1));
                }
            }
        }
        Some(folder)
    }
}

/// A cgroup without others below need not be listed, with all its files: a folder of cgroupfs
/// has a link for each folder in it (`set_inode_attr` of fs/kernfs/inode.c), and two of its own.
/// Where that is not so the number says nothing.
fn has_folders(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|folder| folder.nlink() != 2)
}
