//! What was found out about containers, by id: most of it is gone when they are.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::event::container::ContainerFacts;

/// So many are kept; those that came first go first.
const MOST: usize = 4096;
/// That nobody knows a container holds for so long.
const UNKNOWN_FOR: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    all: HashMap<String, One>,
    order: VecDeque<String>,
}

#[derive(Clone, Debug)]
enum One {
    Known(Box<ContainerFacts>),
    Unknown { why: String, since: Instant },
}

impl Cache {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn facts(&self, id: &str) -> Option<ContainerFacts> {
        match self.kept().all.get(id)? {
            One::Known(facts) => Some((**facts).clone()),
            One::Unknown { .. } => None,
        }
    }

    /// Why nobody knew it, a moment ago.
    pub(super) fn why_unknown(&self, id: &str) -> Option<String> {
        match self.kept().all.get(id)? {
            One::Unknown { why, since } if since.elapsed() < UNKNOWN_FOR => Some(why.clone()),
            _ => None,
        }
    }

    pub(super) fn keep(&self, facts: &ContainerFacts) {
        let one = One::Known(Box::new(facts.clone()));
        self.kept().put(&facts.id, one);
    }

    pub(super) fn keep_unknown(&self, id: &str, why: String) {
        let since = Instant::now();
        self.kept().put(id, One::Unknown { why, since });
    }
}

impl Kept {
    fn put(&mut self, id: &str, one: One) {
        if self.all.insert(id.to_owned(), one).is_some() {
            return;
        }
        self.order.push_back(id.to_owned());
        while self.order.len() > MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.all.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_go_first() {
        let cache = Cache::default();
        for id in 0..=MOST {
            cache.keep(&ContainerFacts {
                id: id.to_string(),
                ..ContainerFacts::default()
            });
        }
        assert_eq!(cache.facts("0"), None);
        assert!(cache.facts("1").is_some());
        assert_eq!(cache.kept().all.len(), MOST);
    }

    #[test]
    fn known_takes_the_place_of_unknown() {
        let cache = Cache::default();
        cache.keep_unknown("a", "nobody".to_owned());
        assert_eq!(cache.why_unknown("a").as_deref(), Some("nobody"));
        assert_eq!(cache.facts("a"), None);
        cache.keep(&ContainerFacts {
            id: "a".to_owned(),
            ..ContainerFacts::default()
        });
        assert_eq!(cache.why_unknown("a"), None);
        assert!(cache.facts("a").is_some());
    }
}
