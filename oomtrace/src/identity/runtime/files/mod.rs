//! What runtimes keep of their containers in files: no socket is needed, and no runtime is
//! asked. Every read is bounded and stays below the folder that it is meant for.

mod roots;

use std::path::PathBuf;

use thiserror::Error;

pub use self::roots::Roots;
use crate::event::container::{Ask, ContainerFacts, ContainerState};

/// Why a file of a runtime's could not be used.
#[derive(Debug, Error)]
pub enum FilesError {
    #[error("{}: {error}", path.display())]
    Io {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{}: {why}", path.display())]
    Unusable { path: PathBuf, why: String },
}

/// The files of all runtimes of a node.
#[derive(Debug)]
pub struct Files {
    #[expect(dead_code, reason = "the readers come next")]
    roots: Roots,
}

impl Files {
    #[must_use]
    pub fn new(roots: Roots) -> Self {
        Self { roots }
    }

    /// What the files tell about a container; `None` where none knows it. Where one tells and
    /// another is damaged, what the first tells counts.
    pub fn facts(&self, ask: &Ask, now_ns: u64) -> Result<Option<ContainerFacts>, FilesError> {
        let _ = (ask, now_ns);
        Ok(None)
    }

    /// How its run ended that was still going on at `since_ns`; `None` as long as no file says
    /// that it did. All on `CLOCK_BOOTTIME`; `now_ns` is now.
    pub fn end(
        &self,
        ask: &Ask,
        since_ns: u64,
        now_ns: u64,
    ) -> Result<Option<ContainerState>, FilesError> {
        let _ = (ask, since_ns, now_ns);
        Ok(None)
    }

    /// The containers that are there now, as cgroupfs shows.
    #[must_use]
    pub fn running(&self) -> Vec<Ask> {
        Vec::new()
    }
}
