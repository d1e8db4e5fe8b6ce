//! Counts each death once. A death is written as soon as its victim is gone, and again when
//! more is known; its labels are those of the last revision, or of what is known after
//! [`PATIENCE`]: a scrape should not wait minutes for a runtime that says nothing. A revision
//! after that changes nothing that was counted.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    families::{CauseLabel, DeathLabels, Families, is_oom},
    places::{Place, Places},
};
use crate::provenance::record::{Cause, Death, Role};

/// Names of containers are waited for so long. They come within a second, on a busy machine
/// within ten.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many deaths of which more may come are remembered. Of further ones nothing is waited for.
const MOST: usize = 16 * 1024;

/// What is counted of a death.
#[derive(Clone, Debug)]
struct Facts {
    cause: Cause,
    place: Place,
    is_helper: bool,
    /// The OOM killer chose it.
    is_chosen: bool,
    grace_ms: Option<u64>,
}

impl Facts {
    fn of(death: &Death) -> Self {
        let chosen = death.oom.as_ref().is_some_and(|oom| oom.role == "chosen");
        Self {
            cause: death.cause,
            place: Place::of(death.container.as_ref()),
            is_helper: death.victim.role == Some(Role::RuntimeHelper),
            is_chosen: chosen && is_oom(death.cause),
            grace_ms: death.stop.as_ref().map(|stop| stop.grace_ms),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Revision {
    number: u32,
    is_final: bool,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    /// `None`: it was counted.
    facts: Option<Facts>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Deaths {
    families: Arc<Families>,
    places: Places,
    /// Those of which another revision may come.
    open: HashMap<String, Open>,
}

impl Deaths {
    pub(super) fn new(families: Arc<Families>) -> Self {
        Self {
            families,
            places: Places::default(),
            open: HashMap::new(),
        }
    }

    /// Takes a revision.
    pub(super) fn take(&mut self, death: &Death, now: Instant) {
        let revision = Revision {
            number: death.revision,
            is_final: death.is_final,
        };
        self.revision(&death.id, revision, Facts::of(death), now);
    }

    fn revision(&mut self, id: &str, revision: Revision, facts: Facts, now: Instant) {
        let is_known = self.open.contains_key(id);
        if !is_known && revision.number > 1 {
            return; // counted, and forgotten
        }
        if revision.is_final || !is_known && self.open.len() >= MOST {
            let before = self.open.remove(id);
            if before.is_none_or(|open| open.facts.is_some()) {
                self.count(facts, now);
            }
            return;
        }
        match self.open.get_mut(id) {
            Some(Open {
                facts: Some(before),
                ..
            }) => *before = facts,
            Some(_) => {}
            None => {
                let open = Open {
                    since: now,
                    facts: Some(facts),
                };
                self.open.insert(id.to_owned(), open);
            }
        }
    }

    /// Counts what was waited for long enough; at the end, all.
    pub(super) fn settle(&mut self, now: Instant, is_end: bool) {
        let is_due = |open: &Open| is_end || now.saturating_duration_since(open.since) >= PATIENCE;
        let due: Vec<Facts> = self
            .open
            .values_mut()
            .filter(|open| is_due(open))
            .filter_map(|open| open.facts.take())
            .collect();
        for facts in due {
            self.count(facts, now);
        }
    }

    fn count(&mut self, facts: Facts, now: Instant) {
        let families = &self.families;
        if facts.is_helper {
            families.helpers.inc();
            return;
        }
        let room = self.places.room(facts.place, now);
        if let Some(gone) = room.instead_of {
            families.forget(&gone.namespace, &gone.container);
        }
        if room.is_other {
            families.overflow.inc();
        }
        let cause = facts.cause.name();
        let labels = DeathLabels {
            cause,
            namespace: room.place.namespace,
            container: room.place.container,
        };
        families.deaths.get_or_create(&labels).inc();
        if facts.is_chosen {
            families.ooms.get_or_create(&labels).inc();
        }
        if let Some(grace_ms) = facts.grace_ms {
            let grace = families.grace.get_or_create(&CauseLabel { cause });
            grace.observe(grace_ms as f64 / 1e3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::places, *};

    const FIRST: Revision = Revision {
        number: 1,
        is_final: false,
    };
    const NEXT: Revision = Revision {
        number: 2,
        is_final: false,
    };
    const LAST: Revision = Revision {
        number: 3,
        is_final: true,
    };
    const AT_ONCE: Revision = Revision {
        number: 1,
        is_final: true,
    };

    fn facts(container: &str) -> Facts {
        Facts {
            cause: Cause::CgroupOom,
            place: Place {
                namespace: String::new(),
                container: container.to_owned(),
            },
            is_helper: false,
            is_chosen: true,
            grace_ms: None,
        }
    }

    fn deaths() -> Deaths {
        Deaths::new(Arc::default())
    }

    /// Deaths by the OOM killer so far.
    fn counted(deaths: &Deaths, container: &str) -> u64 {
        let labels = DeathLabels {
            cause: Cause::CgroupOom.name(),
            namespace: String::new(),
            container: container.to_owned(),
        };
        let count = deaths.families.deaths.get(&labels);
        count.map_or(0, |count| count.get())
    }

    #[test]
    fn the_last_revision_is_the_one_that_counts() {
        let (mut deaths, now) = (deaths(), Instant::now());
        deaths.revision("a", FIRST, facts("(unnamed)"), now);
        deaths.settle(now, false);
        assert_eq!(counted(&deaths, "(unnamed)"), 0);
        deaths.revision("a", NEXT, facts("web"), now);
        deaths.revision("a", LAST, facts("shop-web"), now);
        assert_eq!(counted(&deaths, "shop-web"), 1);
        assert_eq!(counted(&deaths, "web") + counted(&deaths, "(unnamed)"), 0);
        // What comes after the last is not known, and what was counted stays so.
        deaths.revision("a", NEXT, facts("web"), now);
        deaths.settle(now, true);
        assert_eq!(counted(&deaths, "web"), 0);
        assert!(deaths.open.is_empty());
    }

    #[test]
    fn a_name_that_comes_too_late_does_not_count_twice() {
        let (mut deaths, now) = (deaths(), Instant::now());
        deaths.revision("a", FIRST, facts("(unnamed)"), now);
        deaths.settle(now + PATIENCE, false);
        assert_eq!(counted(&deaths, "(unnamed)"), 1);
        deaths.revision("a", NEXT, facts("web"), now + PATIENCE);
        deaths.settle(now + 2 * PATIENCE, false);
        deaths.revision("a", LAST, facts("web"), now + 3 * PATIENCE);
        deaths.settle(now + 3 * PATIENCE, true);
        assert_eq!(counted(&deaths, "(unnamed)"), 1);
        assert_eq!(counted(&deaths, "web"), 0);
    }

    #[test]
    fn what_is_open_at_the_end_counts() {
        let (mut deaths, now) = (deaths(), Instant::now());
        deaths.revision("a", FIRST, facts("web"), now);
        deaths.settle(now, true);
        deaths.settle(now, true);
        assert_eq!(counted(&deaths, "web"), 1);
    }

    #[test]
    fn those_that_are_open_are_bounded() {
        let (mut deaths, now) = (deaths(), Instant::now());
        for number in 0..MOST + 10 {
            deaths.revision(&number.to_string(), FIRST, facts("web"), now);
        }
        assert_eq!(deaths.open.len(), MOST);
        assert_eq!(counted(&deaths, "web"), 10);
        // The last revision of one that was counted at once.
        deaths.revision(&MOST.to_string(), LAST, facts("web"), now);
        assert_eq!(counted(&deaths, "web"), 10);
        deaths.settle(now, true);
        assert_eq!(counted(&deaths, "web"), MOST as u64 + 10);
    }

    #[test]
    fn one_without_room_is_counted_with_others_and_an_idle_one_is_forgotten() {
        let (mut deaths, now) = (deaths(), Instant::now());
        let one = |deaths: &mut Deaths, name: &str, now| {
            deaths.revision(name, AT_ONCE, facts(name), now);
        };
        for number in 0..5000 {
            one(&mut deaths, &format!("job-{number}"), now);
        }
        let overflow = deaths.families.overflow.get();
        assert_eq!(overflow, 5000 - places::MOST as u64);
        let later = now + places::IDLE;
        one(&mut deaths, "new", later);
        assert_eq!(counted(&deaths, "new"), 1);
        assert_eq!(deaths.families.overflow.get(), overflow);
    }

    #[test]
    fn helpers_of_runtimes_are_no_workload() {
        let (mut deaths, now) = (deaths(), Instant::now());
        let helper = Facts {
            is_helper: true,
            ..facts("web")
        };
        deaths.revision("a", AT_ONCE, helper, now);
        assert_eq!(deaths.families.helpers.get(), 1);
        assert_eq!(counted(&deaths, "web"), 0);
    }
}
