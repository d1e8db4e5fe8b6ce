//! The cgroups that are there, from the file systems they show in.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

/// No tree is followed deeper, and no more cgroups are looked at.
const DEEPEST: usize = 32;
const MOST: usize = 100_000;

/// Calls `visit` with the path of each cgroup, from the root of its hierarchy, and the
/// kernel's number of it: those of v2, and of the memory controller of v1.
pub fn walk(mount: &Path, visit: &mut dyn FnMut(&str, u64)) -> io::Result<()> {
    let hierarchies = [mount.join("memory"), mount.join("unified")];
    let mut seen = 0;
    let mut any = false;
    // On a node with v2 alone the mount point is the hierarchy, and has a file of its own.
    let is_v2 = mount.join("cgroup.controllers").exists();
    let tops = if is_v2 {
        vec![mount.to_path_buf()]
    } else {
        hierarchies.into_iter().filter(|top| top.is_dir()).collect()
    };
    for top in tops {
        any = true;
        below(&top, "", 0, &mut seen, visit);
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
