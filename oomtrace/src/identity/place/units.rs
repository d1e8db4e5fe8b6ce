//! systemd's units, as it lays out its cgroups: slices in slices, a unit in the last of them,
//! and below the unit whatever the unit makes there, which is none of systemd's. Only a
//! user's service manager has slices and units of its own below its unit.

use super::{UnitPlace, names};

/// What a name may be to systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Slice,
    Unit,
    Other,
}

/// Units that processes run in.
const SUFFIXES: &[&str] = &[".service", ".scope", ".socket", ".mount", ".swap"];

/// Slices that every service manager has at its root.
const TOPS: &[&str] = &["system.slice", "user.slice"];

/// By its form alone.
pub(super) fn kind(name: &str) -> Kind {
    let name = unescape(name);
    let named = |suffix: &&str| {
        name.strip_suffix(*suffix)
            .is_some_and(|prefix| !prefix.is_empty())
    };
    if name.len() > names::MAX_NAME || !name.bytes().all(is_unit_byte) {
        Kind::Other
    } else if named(&".slice") {
        Kind::Slice
    } else if SUFFIXES.iter().any(named) {
        Kind::Unit
    } else {
        Kind::Other
    }
}

fn is_unit_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.' | b'\\' | b'@')
}

/// systemd puts an underscore in front of a name that would be taken for a file of
/// cgroupfs's.
pub(super) fn unescape(name: &str) -> &str {
    name.strip_prefix('_').unwrap_or(name)
}

/// The user whose service manager this unit is: `user@1000.service` of `user-1000.slice`.
fn manager_of(name: &str, slice: Option<&str>) -> Option<u32> {
    let uid = name.strip_prefix("user@")?.strip_suffix(".service")?;
    let in_slice = slice?.strip_prefix("user-")?.strip_suffix(".slice")?;
    (uid == in_slice).then(|| uid.parse().ok())?
}

/// What is known of units on the way down a path.
#[derive(Default)]
pub(super) struct Units {
    slice: Option<String>,
    /// The user whose service manager made what follows.
    user: Option<u32>,
    unit: Option<UnitPlace>,
    /// What came so far is not systemd's: it may run in a part of the tree that somebody else
    /// gave it, without being a container that the path tells.
    foreign: bool,
    /// Nothing that follows is systemd's.
    closed: bool,
}

impl Units {
    pub(super) fn step(&mut self, name: &str, path: &str) {
        if self.closed {
            return;
        }
        let kind = kind(name);
        let name = unescape(name);
        if self.foreign {
            if !TOPS.contains(&name) {
                return;
            }
            self.foreign = false;
        }
        match kind {
            Kind::Slice => self.slice = Some(name.to_owned()),
            Kind::Unit => {
                let slice = self.slice.take();
                let manager = manager_of(name, slice.as_deref()).filter(|_| self.user.is_none());
                self.unit = Some(UnitPlace {
                    name: name.to_owned(),
                    slice,
                    user: self.user,
                    cgroup: path.to_owned(),
                });
                self.user = manager;
                self.closed = manager.is_none();
            }
            Kind::Other if self.unit.is_none() && self.slice.is_none() => self.foreign = true,
            Kind::Other => self.closed = true,
        }
    }

    pub(super) fn found(self) -> Option<UnitPlace> {
        self.unit
    }
}
