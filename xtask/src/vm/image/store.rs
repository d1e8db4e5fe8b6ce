//! The folder of images: `<cache>/images/<release>-<key>`, where the key stands for all that an
//! image is made of. An image is never changed: another recipe is another image.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, Result};

use super::build::{self, RECIPE};
use crate::{cli::Image, project::Project};

const SCRIPT: &str = "tests/vm/provision.sh";

/// An image that is there.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) release: Image,
    key: u64,
    dir: PathBuf,
}

impl Built {
    pub(crate) fn disk(&self) -> PathBuf {
        self.dir.join(build::DISK)
    }

    pub(crate) fn kernel(&self) -> PathBuf {
        self.dir.join(build::KERNEL)
    }

    /// What the kernel finds the root by: the disk's own number, and that of the partition.
    pub(crate) fn partition(&self) -> String {
        format!("{:08x}-01", disk_id(self.key))
    }

    fn is_whole(&self) -> bool {
        self.disk().is_file() && self.kernel().is_file()
    }
}

/// Why this machine cannot build an image, where nothing is wrong with the recipe.
#[derive(Debug)]
pub(crate) struct Trouble(pub(super) String);

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Trouble {}

/// The image of a release: the one that is kept, or one that is built now.
pub(crate) fn get(project: &Project, release: Image) -> Result<Built> {
    let script = project.root.join(SCRIPT);
    let text =
        fs::read_to_string(&script).with_context(|| format!("cannot read {}", script.display()))?;
    let key = hash(&[release.name(), RECIPE, &text]);
    let store = project.cache.join("images");
    let image = Built {
        release,
        key,
        dir: store.join(format!("{}-{key:016x}", release.name())),
    };
    if image.is_whole() {
        return Ok(image);
    }
    // Built beside its place and then moved: half an image is never booted.
    let work = store.join(format!("work.{}.{}", release.name(), process::id()));
    fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
    let log = project
        .logs("vm")
        .join(format!("image-{}.log", release.name()));
    let built = build::build(release, &script, disk_id(key), &work, &log).and_then(|()| {
        clear(&store, release);
        fs::rename(&work, &image.dir).context("cannot keep the image")
    });
    let _ = fs::remove_dir_all(&work); // a leftover folder does no harm
    built.with_context(|| format!("no image of {}", release.name()))?;
    Ok(image)
}

/// Removes what other recipes have made; a guest that runs from it keeps its open file.
fn clear(store: &Path, release: Image) {
    let prefix = format!("{}-", release.name());
    for entry in fs::read_dir(store).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = fs::remove_dir_all(entry.path()); // costs space, and nothing else
        }
    }
}

/// FNV-1a: the same number in each build of this program.
fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The number in the disk's boot record. Zero would mean that it has none.
fn disk_id(key: u64) -> u32 {
    (key as u32) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_in_the_key() {
        assert_eq!(hash(&["a", "b"]), hash(&["a", "b"]));
        assert_ne!(hash(&["a", "b"]), hash(&["ab"]));
        assert_ne!(hash(&["a", "b"]), hash(&["a", "c"]));
        // The published value for "a\0", so that the cache outlives a compiler.
        assert_eq!(hash(&[""]), 0xaf63_bd4c_8601_b7df);
    }

    #[test]
    fn a_partition_is_named_as_the_kernel_does() {
        let image = Built {
            release: Image::Trixie,
            key: 0x1234_5678_0000_00aa,
            dir: PathBuf::new(),
        };
        assert_eq!(image.partition(), "000000ab-01");
    }
}
