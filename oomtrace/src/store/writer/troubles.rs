//! What the user is told of a disk that does not take what is to be stored.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    event::text::printable,
    store::{
        error::{StoreError, Trouble},
        place,
        waiting::Count,
    },
};

/// The same trouble is told once in this time.
const TOLD: Duration = Duration::from_hours(1);

/// Moves a damaged file out of the way, and says where.
pub(super) fn set_aside(path: &Path, error: &StoreError) -> Result<(), StoreError> {
    let aside = place::set_aside(path)?;
    let shown = |path: &Path| printable(&path.display().to_string());
    log::error!(
        "the store {} was damaged ({}): it was moved to {}, and a new one is begun in its place\n\
         do: nothing for what dies from now on, which is stored; look for errors of the disk in the kernel's log; \
         what is left of the old one can perhaps be read (sqlite3 FILE .recover)",
        shown(path),
        printable(error.found()),
        shown(&aside),
    );
    Ok(())
}

/// What the user was told: each trouble once, and its end.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    now: Option<Trouble>,
    told: Option<(Trouble, Instant)>,
    dropped_before: Count,
}

impl Troubles {
    pub(super) fn tell(&mut self, error: &StoreError) {
        let trouble = error.trouble();
        self.now = Some(trouble);
        let was_told = self
            .told
            .is_some_and(|(told, when)| told == trouble && when.elapsed() < TOLD);
        if !was_told {
            self.told = Some((trouble, Instant::now()));
            log::error!(
                "{error}\nmeanwhile: tracing goes on, and deaths are kept in memory until they can be stored"
            );
        }
    }

    /// All that waited is stored. What comes after this is told again, whatever it is.
    pub(super) fn over(&mut self, path: &Path, dropped: Count) {
        if self.now.take().is_none() {
            return;
        }
        self.told = None;
        let path = printable(&path.display().to_string());
        let new = Count {
            deaths: dropped.deaths - self.dropped_before.deaths,
            others: dropped.others - self.dropped_before.others,
        };
        self.dropped_before = dropped;
        if new == Count::NOTHING {
            log::warn!("deaths are stored in {path} again, and those that waited with them");
        } else {
            log::error!(
                "deaths are stored in {path} again, but not those that found no room in memory meanwhile: {new}"
            );
        }
    }
}
