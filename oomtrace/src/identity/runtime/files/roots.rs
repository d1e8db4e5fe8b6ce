//! Where runtimes keep what they know.

use std::path::{Path, PathBuf};

/// The folders that are looked into. Those of runtimes that were started with others are
/// found from the arguments of their processes.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Symbolic links in the paths below are followed as if this were the root.
    pub system: PathBuf,
    pub proc: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self::under(Path::new("/"))
    }
}

impl Roots {
    /// The usual places, of the system whose root folder this is.
    #[must_use]
    pub fn under(system: &Path) -> Self {
        Self {
            system: system.to_owned(),
            proc: system.join("proc"),
        }
    }
}
