//! Where things are: the source tree, the target folder, the user's cache.
//!
//! Reads the environment; creates nothing.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::pins::Pins;

#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) cache: PathBuf,
    pub(crate) pins: Pins,
}

impl Project {
    pub(crate) fn find() -> Result<Self> {
        // Cargo says at run time where the crate is; the compiled-in answer serves a binary
        // that is started by hand.
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest_dir
            .parent()
            .context("xtask's folder has no parent")?
            .to_path_buf();
        let pins = Pins::read(&root.join("pins.toml"))?;
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => env::current_dir()
                .context("cannot tell the current folder")?
                .join(dir),
            None => root.join("target"),
        };
        let cache = cache_home()
            .context("neither XDG_CACHE_HOME nor HOME is set: set one, tools and kernels are cached below it")?
            .join("oomtrace");
        Ok(Self {
            root,
            target,
            cache,
            pins,
        })
    }

    /// Where one part of the work keeps its logs.
    pub(crate) fn logs(&self, part: &str) -> PathBuf {
        self.target.join(part)
    }

    /// A path as the user would type it from the top of the tree.
    pub(crate) fn short<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

fn cache_home() -> Option<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
}
