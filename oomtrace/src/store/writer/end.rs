//! What is said of what was not stored when the end came.

use std::{path::Path, time::Duration};

use crate::store::waiting::Count;

/// What has become of all that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Stored,
    /// Stored, and the journal is not written back into the file.
    Open,
    /// So many found no disk that takes them: why was said when it was tried.
    Refused(Count),
    /// So many wait for a disk that has taken none for a while.
    Silent(Count),
    /// So many were left when so long was over, though it got on.
    TooSlow(Count, Duration),
}

impl End {
    pub(super) fn words(self, path: &Path) -> Option<String> {
        let path = crate::event::text::printable(&path.display().to_string());
        let lost = |left: Count, why: &str| {
            format!("{left} could not be stored in {path} before the end{why}")
        };
        Some(match self {
            Self::Stored => return None,
            Self::Open => format!(
                "all records are stored in {path}, but it could not be closed in time: who opens it next does what is left to do"
            ),
            Self::Refused(left) => lost(left, ""),
            Self::Silent(left) => lost(left, ": the disk does not answer"),
            Self::TooSlow(left, most) => lost(
                left,
                &format!(
                    ": the disk takes them, but not all of them within {} s",
                    most.as_secs_f64()
                ),
            ),
        })
    }
}
