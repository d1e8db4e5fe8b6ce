//! The cgroups that are there, from the file systems they show in.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

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
    let mut seen = 0;
    let mut any = false;
    // On a node with v2 alone the mount point is the hierarchy, and has a file of its own.
    let is_v2 = mount.join("cgroup.controllers").exists();
    let tops = if is_v2 {
        vec![(mount.to_path_buf(), true)]
    } else {
        let is_there = |(top, _): &(PathBuf, bool)| top.is_dir();
        hierarchies.into_iter().filter(is_there).collect()
    };
    for (top, unified) in tops {
        any = true;
        below(&top, "", 0, &mut seen, &mut |path, id| {
            visit(Found { path, id, unified });
        });
    }
    if any {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("no cgroups are mounted at {}", mount.display()),
        ))
    }
}

/// A cgroup that goes meanwhile is passed over.
fn below(
    folder: &Path,
    path: &str,
    depth: usize,
    seen: &mut usize,
    visit: &mut dyn FnMut(&str, u64),
) {
    *seen += 1;
    if depth > DEEPEST || *seen > MOST {
        return;
    }
    if let Ok(metadata) = fs::metadata(folder) {
        visit(if path.is_empty() { "/" } else { path }, metadata.ino());
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let name = crate::event::text::utf8(entry.file_name().as_encoded_bytes());
            below(
                &entry.path(),
                &format!("{path}/{name}"),
                depth + 1,
                seen,
                visit,
            );
        }
    }
}
