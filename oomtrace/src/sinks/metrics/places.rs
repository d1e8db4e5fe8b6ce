//! Namespaces and containers as labels. Each one that is new makes new series, here and in
//! whatever scrapes them, and containers with made-up names come by the thousand: there is
//! room for [`MOST`], and what comes beyond is counted together.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::{event::text::printable, provenance::record::Container};

/// So many pairs of namespace and container have series of their own.
pub(super) const MOST: usize = 1000;
/// One without a death for so long gives its room to another when there is no more. Rules look
/// back hours, so nobody misses it.
pub(super) const IDLE: Duration = Duration::from_hours(24);
/// Both labels of what finds no room. Names of containers and namespaces have no parentheses.
pub(super) const OTHER: &str = "(other)";
/// A container whose name is not known: ids are endless.
const UNNAMED: &str = "(unnamed)";
/// A label is cut after so many characters. Kubernetes' own names have 253 at most.
const LONGEST: usize = 253;

/// Namespace and container, as labels; both empty outside of containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) container: String,
}

impl Place {
    pub(super) fn of(container: Option<&Container>) -> Self {
        let Some(container) = container else {
            return Self::default();
        };
        let name = container.name.as_deref().filter(|name| !name.is_empty());
        Self {
            namespace: label(container.namespace.as_deref().unwrap_or_default()),
            container: label(name.unwrap_or(UNNAMED)),
        }
    }

    fn other() -> Self {
        Self {
            namespace: OTHER.to_owned(),
            container: OTHER.to_owned(),
        }
    }

    fn is_none(&self) -> bool {
        self.namespace.is_empty() && self.container.is_empty()
    }
}

/// What others have named, bounded, and harmless on a terminal.
fn label(text: &str) -> String {
    let text = printable(text);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Where a death is counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) place: Place,
    /// It found none of its own.
    pub(super) is_other: bool,
    /// Who lost theirs to it.
    pub(super) instead_of: Option<Place>,
}

/// Those with series of their own, and when the last death in each was.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<Place, Instant>);

impl Places {
    pub(super) fn room(&mut self, place: Place, now: Instant) -> Room {
        let found = |place: Place| Room {
            place,
            is_other: false,
            instead_of: None,
        };
        if place.is_none() {
            return found(place);
        }
        if let Some(latest) = self.0.get_mut(&place) {
            *latest = now;
            return found(place);
        }
        let instead_of = if self.0.len() < MOST {
            None
        } else {
            let oldest = self.0.iter().min_by_key(|(_, latest)| **latest);
            match oldest {
                Some((oldest, latest)) if now.saturating_duration_since(*latest) >= IDLE => {
                    Some(oldest.clone())
                }
                _ => {
                    return Room {
                        place: Place::other(),
                        is_other: true,
                        instead_of: None,
                    };
                }
            }
        };
        if let Some(oldest) = &instead_of {
            self.0.remove(oldest);
        }
        self.0.insert(place.clone(), now);
        Room {
            place,
            is_other: false,
            instead_of,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(number: usize) -> Place {
        Place {
            namespace: "shop".to_owned(),
            container: format!("web-{number}"),
        }
    }

    #[test]
    fn those_beyond_the_bound_are_counted_together() {
        let mut places = Places::default();
        let now = Instant::now();
        for number in 0..MOST {
            assert_eq!(places.room(place(number), now).place, place(number));
        }
        let room = places.room(place(MOST), now);
        assert!(room.is_other);
        assert_eq!(room.place, Place::other());
        // Those that are there stay, and the host needs no room.
        assert!(!places.room(place(0), now).is_other);
        assert_eq!(places.room(Place::default(), now).place, Place::default());
    }

    #[test]
    fn one_that_is_idle_for_long_gives_its_room_up() {
        let mut places = Places::default();
        let start = Instant::now();
        for number in 0..MOST {
            places.room(place(number), start);
        }
        let later = start + IDLE;
        places.room(place(0), later);
        let room = places.room(place(MOST), later);
        assert!(!room.is_other);
        assert!(room.instead_of.is_some_and(|gone| gone != place(0)));
        assert_eq!(places.0.len(), MOST);
    }

    #[test]
    fn labels_are_bounded_and_harmless() {
        assert_eq!(label("web"), "web");
        assert_eq!(label("a\x1b[2J\nb"), "a\\u{1b}[2J\\nb");
        let long = label(&"ü".repeat(10_000));
        assert_eq!(long.chars().count(), LONGEST + 1);
    }
}
