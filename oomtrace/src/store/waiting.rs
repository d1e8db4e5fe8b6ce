//! What is not stored yet, in the order in which it came: bounded, so that a disk that stays
//! away for long costs deaths, counted, and not the node's memory.

use std::collections::{BTreeMap, HashMap};

use super::row::Item;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) count: usize,
    pub(super) bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Waiting {
    bounds: Bounds,
    items: BTreeMap<u64, Item>,
    /// Which of them is which death.
    deaths: HashMap<String, u64>,
    next: u64,
    bytes: usize,
}

impl Waiting {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            items: BTreeMap::new(),
            deaths: HashMap::new(),
            next: 0,
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The place of the latest that came.
    pub(super) fn last(&self) -> u64 {
        self.next
    }

    /// The place of the oldest that waits.
    pub(super) fn first(&self) -> Option<u64> {
        self.items.first_key_value().map(|(place, _)| *place)
    }

    /// Takes another one on, and returns how many of the oldest had to go for it.
    pub(super) fn push(&mut self, item: Item) -> u64 {
        let place = match &item {
            Item::Death(row) => self.deaths.get(&row.id).copied(),
            _ => None,
        };
        let place = place.unwrap_or_else(|| {
            self.next += 1;
            self.next
        });
        self.put(place, item);
        self.shrink()
    }

    /// The oldest, so many of them at the most.
    pub(super) fn take(&mut self, count: usize) -> Vec<(u64, Item)> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(first) = self.pop()
        {
            taken.push(first);
        }
        taken
    }

    /// Gives back what could not be stored, and returns how many of the oldest had to go.
    pub(super) fn give_back(&mut self, taken: Vec<(u64, Item)>) -> u64 {
        for (place, item) in taken {
            // Its next revision has come meanwhile, and has all that this one has.
            if let Item::Death(row) = &item
                && self.deaths.contains_key(&row.id)
            {
                continue;
            }
            self.put(place, item);
        }
        self.shrink()
    }

    fn put(&mut self, place: u64, item: Item) {
        self.bytes += item.bytes();
        if let Item::Death(row) = &item {
            self.deaths.insert(row.id.clone(), place);
        }
        if let Some(before) = self.items.insert(place, item) {
            self.bytes -= before.bytes();
        }
    }

    fn pop(&mut self) -> Option<(u64, Item)> {
        let (place, item) = self.items.pop_first()?;
        self.bytes -= item.bytes();
        if let Item::Death(row) = &item {
            self.deaths.remove(&row.id);
        }
        Some((place, item))
    }

    fn shrink(&mut self) -> u64 {
        let mut dropped = 0;
        while self.items.len() > self.bounds.count || self.bytes > self.bounds.bytes {
            if self.pop().is_none() {
                break;
            }
            dropped += 1;
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::row::{Lost, Row};

    const BOUNDS: Bounds = Bounds {
        count: 3,
        bytes: 1 << 20,
    };

    fn death(id: &str, revision: u32) -> Item {
        Item::Death(Box::new(Row {
            id: id.to_owned(),
            revision,
            is_final: false,
            time_ns: 1,
            weight: 2,
            boot_id: String::new(),
            cause: String::new(),
            mechanism: String::new(),
            role: None,
            pid: 1,
            comm: None,
            container: None,
            container_id: None,
            pod: None,
            pod_uid: None,
            namespace: None,
            unit: None,
            slice: None,
            cgroup: None,
            unified_cgroup: None,
            caused_by: None,
            json: "x".repeat(100),
        }))
    }

    fn gap() -> Item {
        Item::Gap(Lost {
            from_ns: 0,
            to_ns: 1,
            certain: true,
            count: 1,
            json: String::new(),
        })
    }

    fn names(taken: &[(u64, Item)]) -> Vec<String> {
        taken
            .iter()
            .map(|(_, item)| match item {
                Item::Death(row) => format!("{}.{}", row.id, row.revision),
                _ => "gap".to_owned(),
            })
            .collect()
    }

    #[test]
    fn a_newer_revision_takes_the_place_of_the_older() {
        let mut waiting = Waiting::new(BOUNDS);
        for item in [death("a", 1), gap(), death("b", 1), death("a", 2)] {
            assert_eq!(waiting.push(item), 0);
        }
        assert_eq!(names(&waiting.take(9)), ["a.2", "gap", "b.1"]);
        assert_eq!((waiting.len(), waiting.bytes()), (0, 0));
    }

    #[test]
    fn what_is_given_back_keeps_its_place_unless_it_is_outdated() {
        let mut waiting = Waiting::new(BOUNDS);
        waiting.push(death("a", 1));
        waiting.push(death("b", 1));
        let taken = waiting.take(2);
        waiting.push(death("a", 2));
        assert_eq!(waiting.give_back(taken), 0);
        assert_eq!(names(&waiting.take(9)), ["b.1", "a.2"]);
    }

    #[test]
    fn the_oldest_go_and_are_counted() {
        let mut waiting = Waiting::new(BOUNDS);
        let dropped: u64 = ["a", "b", "c", "d", "e"]
            .iter()
            .map(|id| waiting.push(death(id, 1)))
            .sum();
        assert_eq!(dropped, 2);
        assert_eq!(names(&waiting.take(9)), ["c.1", "d.1", "e.1"]);

        let mut waiting = Waiting::new(Bounds {
            count: 1000,
            bytes: 3 * death("a", 1).bytes(),
        });
        let dropped: u64 = (0..10)
            .map(|id| waiting.push(death(&id.to_string(), 1)))
            .sum();
        assert_eq!((dropped, waiting.len()), (7, 3));
    }
}
