//! What is not stored yet, in the order in which it came: bounded, so that a disk that stays
//! away for long costs deaths, counted, and not the node's memory.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use super::{row::Item, unkept::Unkept};
use crate::provenance::record::Record;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) count: usize,
    pub(super) bytes: usize,
}

/// So much of what there is to store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Each once, however many revisions of it there are.
    pub(super) deaths: usize,
    /// Restarts; the tracer's own starts, ends and gaps.
    pub(super) others: usize,
}

impl Count {
    pub(super) const NOTHING: Self = Self {
        deaths: 0,
        others: 0,
    };

    fn add(&mut self, item: &Item) {
        match item {
            Item::Death(_) => self.deaths += 1,
            _ => self.others += 1,
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deaths = match self.deaths {
            1 => "1 death".to_owned(),
            deaths => format!("{deaths} deaths"),
        };
        let others = match self.others {
            1 => "1 other record".to_owned(),
            others => format!("{others} other records"),
        };
        match (self.deaths, self.others) {
            (_, 0) => write!(to, "{deaths}"),
            (0, _) => write!(to, "{others} (no death)"),
            _ => write!(to, "{deaths} (and {others})"),
        }
    }
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
    /// What is taken, and neither stored nor given back yet.
    under_way: UnderWay,
    /// What had to go so far.
    dropped: Count,
    /// The deaths among it of which the store does not know yet that they lack.
    unkept: Option<Unkept>,
}

#[derive(Debug, Default)]
struct UnderWay {
    deaths: HashSet<String>,
    others: usize,
    /// The place of the oldest.
    first: Option<u64>,
    /// The last of it says that these lack.
    unkept: Option<Unkept>,
}

/// The place of what is in no place, for it is made up anew each time.
const NO_PLACE: u64 = u64::MAX;

impl Waiting {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            items: BTreeMap::new(),
            deaths: HashMap::new(),
            next: 0,
            bytes: 0,
            under_way: UnderWay::default(),
            dropped: Count::NOTHING,
            unkept: None,
        }
    }

    /// All that is not stored: what waits and what is under way.
    pub(super) fn left(&self) -> Count {
        let waits_too = |id: &&String| self.deaths.contains_key(*id);
        let both = self.under_way.deaths.iter().filter(waits_too).count();
        Count {
            deaths: self.deaths.len() + self.under_way.deaths.len() - both,
            others: self.items.len() - self.deaths.len() + self.under_way.others,
        }
    }

    /// What found no room so far.
    pub(super) fn dropped(&self) -> Count {
        self.dropped
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

    /// Nothing of a place up to this one is left.
    pub(super) fn stored_to(&self) -> u64 {
        let waits = self.items.first_key_value().map(|(place, _)| *place);
        let first = [waits, self.under_way.first].into_iter().flatten().min();
        first.map_or(self.next, |first| first - 1)
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

    /// The oldest, so many of them at the most, and behind the last what is missing. They are under
    /// way until they are stored or given back.
    pub(super) fn take(&mut self, count: usize) -> Vec<(u64, Item)> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(first) = self.pop()
        {
            self.under_way.first.get_or_insert(first.0);
            match &first.1 {
                Item::Death(row) => {
                    self.under_way.deaths.insert(row.id.clone());
                }
                _ => self.under_way.others += 1,
            }
            taken.push(first);
        }
        if taken.len() < count
            && let Some(unkept) = self.unkept.take()
        {
            match Item::of(&Record::Gap(unkept.gap())) {
                Ok(item) => taken.push((NO_PLACE, item)),
                // It was said, and is counted.
                Err(error) => log::error!("a gap cannot be stored: {error}"),
            }
            self.under_way.unkept = Some(unkept);
        }
        taken
    }

    /// What was under way is stored.
    pub(super) fn stored(&mut self) {
        self.under_way = UnderWay::default();
    }

    /// Gives back what could not be stored, and returns how many of the oldest had to go.
    pub(super) fn give_back(&mut self, taken: Vec<(u64, Item)>) -> u64 {
        let under_way = std::mem::take(&mut self.under_way);
        self.lack(under_way.unkept);
        for (place, item) in taken {
            if place == NO_PLACE {
                continue;
            }
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

    fn lack(&mut self, more: Option<Unkept>) {
        self.unkept = match (self.unkept, more) {
            (Some(one), Some(other)) => Some(one.and(other)),
            (one, other) => one.or(other),
        };
    }

    fn shrink(&mut self) -> u64 {
        let mut dropped = 0;
        while self.items.len() > self.bounds.count || self.bytes > self.bounds.bytes {
            let Some((_, item)) = self.pop() else {
                break;
            };
            self.dropped.add(&item);
            if let Item::Death(row) = &item {
                self.lack(Some(Unkept::of(row)));
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
            time_ns: i64::from(revision),
            boottime_ns: 7,
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
        let (deaths, others) = (2, 1);
        assert_eq!(waiting.left(), Count { deaths, others });
        waiting.stored();
        assert_eq!(waiting.left(), Count::NOTHING);
    }

    #[test]
    fn deaths_are_called_so_and_others_what_they_are() {
        for (deaths, others, said) in [
            (1, 0, "1 death"),
            (2, 0, "2 deaths"),
            (1, 2, "1 death (and 2 other records)"),
            (0, 1, "1 other record (no death)"),
        ] {
            assert_eq!(Count { deaths, others }.to_string(), said);
        }
    }

    #[test]
    fn how_far_all_is_stored_is_told_by_the_oldest_that_is_not() {
        let mut waiting = Waiting::new(BOUNDS);
        assert_eq!((waiting.last(), waiting.stored_to()), (0, 0));
        waiting.push(death("a", 1));
        waiting.push(death("b", 1));
        assert_eq!((waiting.last(), waiting.stored_to()), (2, 0));
        let taken = waiting.take(1);
        // Its next revision gets a place of its own: this one may be stored already.
        waiting.push(death("a", 2));
        assert_eq!((waiting.last(), waiting.stored_to()), (3, 0));
        waiting.give_back(taken);
        assert_eq!(waiting.stored_to(), 1);
        waiting.take(9);
        assert_eq!(waiting.stored_to(), 1);
        waiting.stored();
        assert_eq!((waiting.last(), waiting.stored_to()), (3, 3));
    }

    #[test]
    fn what_is_given_back_keeps_its_place_unless_it_is_outdated() {
        let mut waiting = Waiting::new(BOUNDS);
        waiting.push(death("a", 1));
        waiting.push(death("b", 1));
        let taken = waiting.take(2);
        waiting.push(death("a", 2));
        let (deaths, others) = (2, 0);
        assert_eq!(waiting.left(), Count { deaths, others }, "each once");
        assert_eq!(waiting.give_back(taken), 0);
        assert_eq!(waiting.left(), Count { deaths, others });
        assert_eq!(names(&waiting.take(9)), ["b.1", "a.2"]);
    }

    #[test]
    fn what_had_to_go_is_stored_as_a_gap_once() {
        let told = |taken: &[(u64, Item)]| match &taken.last().unwrap().1 {
            Item::Gap(gap) => (gap.from_ns, gap.to_ns, gap.json.contains("2 deaths")),
            other => panic!("{other:?}"),
        };
        let mut waiting = Waiting::new(BOUNDS);
        for (revision, id) in (1000..).step_by(1000).zip(["a", "b", "c", "d"]) {
            waiting.push(death(id, revision));
        }
        // Behind all that waits, and again if the disk does not take it.
        assert_eq!(names(&waiting.take(3)), ["b.2000", "c.3000", "d.4000"]);
        waiting.stored();
        let taken = waiting.take(3);
        assert_eq!(told(&taken), (1000, 1000, false));
        assert_eq!(waiting.give_back(taken), 0);
        assert_eq!((waiting.len(), waiting.stored_to()), (0, 4));
        for (revision, id) in (5000..).step_by(1000).zip(["e", "f", "g", "h"]) {
            waiting.push(death(id, revision));
        }
        let taken = waiting.take(9);
        assert_eq!(names(&taken), ["f.6000", "g.7000", "h.8000", "gap"]);
        assert_eq!(told(&taken), (1000, 5000, true));
        waiting.stored();
        assert!(waiting.take(9).is_empty());
    }

    #[test]
    fn the_oldest_go_and_are_counted() {
        let mut waiting = Waiting::new(BOUNDS);
        let dropped: u64 = ["a", "b", "c", "d", "e"]
            .iter()
            .map(|id| waiting.push(death(id, 1)))
            .sum();
        assert_eq!(dropped, 2);
        assert_eq!(names(&waiting.take(9)), ["c.1", "d.1", "e.1", "gap"]);

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
