//! The containers that are there now, as the folders of cgroupfs show.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    event::container::{Ask, What},
    identity::{cgroupfs, place::Place},
};

/// More folders are not looked at, nor deeper ones: a pod in a pod's node has some ten names.
const MAX_FOLDERS: usize = 65_536;
const MAX_DEPTH: usize = 24;

/// Once for each container, whatever the number of hierarchies.
pub(super) fn running(mounts: &[PathBuf]) -> Vec<Ask> {
    let mut found: BTreeMap<String, Ask> = BTreeMap::new();
    for mount in mounts.iter().filter(|mount| is_hierarchy(mount)) {
        walk(mount, &mut found);
    }
    found.into_values().collect()
}

/// With cgroup v1, the folder above the hierarchies is none.
fn is_hierarchy(mount: &Path) -> bool {
    mount.join("cgroup.procs").exists()
}

fn walk(mount: &Path, found: &mut BTreeMap<String, Ask>) {
    let mut left = MAX_FOLDERS;
    cgroupfs::folders(mount, MAX_DEPTH, &mut left, &mut |_, names| {
        let Some(names) = names.to_str() else {
            return;
        };
        let path = format!("/{names}");
        let place = Place::of(&path);
        if let Some(container) = place.containers.into_iter().next()
            && container.cgroup == path
        {
            found.entry(path).or_insert(Ask {
                id: container.id,
                cgroup: container.cgroup,
                what: What::Facts,
            });
        }
    });
}
