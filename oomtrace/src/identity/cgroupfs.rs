//! The cgroups that are there, from the file systems they show in.

use std::{
    collections::VecDeque,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::event::text;

/// No tree is followed deeper, and no more cgroups are looked at.
const DEEPEST: usize = 32;
const MOST: usize = 100_000;

/// A cgroup that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// From the root of what is mounted.
    pub path: &'a str,
    /// The kernel's number of it.
    pub id: u64,
    /// In v2's hierarchy, not in the memory controller's of v1.
    pub unified: bool,
}

/// Calls `visit` with each cgroup: those of v2, and of the memory controller of v1. The first of
/// a hierarchy is what is mounted as its root.
pub fn walk(mount: &Path, visit: &mut dyn FnMut(Found<'_>)) -> io::Result<()> {
    let hierarchies = [(mount.join("memory"), false), (mount.join("unified"), true)];
    // On a node with v2 alone the mount point is the hierarchy, and has a file of its own.
    let is_v2 = mount.join("cgroup.controllers").exists();
    let tops = if is_v2 {
        vec![(mount.to_path_buf(), true)]
    } else {
        let is_there = |(top, _): &(PathBuf, bool)| top.is_dir();
        hierarchies.into_iter().filter(is_there).collect()
    };
    if tops.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("no cgroups are mounted at {}", mount.display()),
        ));
    }
    let mut left = MOST;
    for (top, unified) in tops {
        folders(&top, DEEPEST, &mut left, &mut |folder, names| {
            // One that goes meanwhile is passed over.
            let Ok(metadata) = fs::metadata(folder) else {
                return;
            };
            let names = text::utf8(names.as_os_str().as_encoded_bytes());
            visit(Found {
                path: &format!("/{names}"),
                id: metadata.ino(),
                unified,
            });
        });
    }
    Ok(())
}

/// Calls `visit` with a folder and with each below it, the nearest first: the folder, and its
/// names from the top on. No deeper than `deepest` names, and no more than `left`.
pub(super) fn folders(
    top: &Path,
    deepest: usize,
    left: &mut usize,
    visit: &mut dyn FnMut(&Path, &Path),
) {
    let mut todo = VecDeque::from([(PathBuf::new(), 0)]);
    while let Some((names, depth)) = todo.pop_front() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let folder = top.join(&names);
        visit(&folder, &names);
        if depth == deepest {
            continue;
        }
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // Not through a link: cgroupfs has some to the outside.
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && todo.len() < *left {
                todo.push_back((names.join(entry.file_name()), depth + 1));
            }
        }
    }
}
