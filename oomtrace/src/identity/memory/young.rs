//! Cgroups that have no limit yet: whoever makes one sets its limit a moment later, or, by hand,
//! after minutes. They are looked at again, ever less often, and so many a second at the most.

use std::collections::VecDeque;

const S: u64 = 1_000_000_000;
/// A runtime sets a limit at once: so long each round looks.
const NEW_NS: u64 = 10 * S;
/// Then, up to these ages, one look in so long; what is older the walk finds.
const AGES: [(u64, u64); 2] = [(60 * S, S), (600 * S, 2 * S)];
/// So many are remembered; of more the oldest is left to the walk.
const MOST: usize = 512;
/// Looks a second at those that are not new any more, and how many can be saved up. One took
/// 8 us where it was measured: all of them together are 0.03 % of a processor.
const LOOKS: u64 = 32;

/// A cgroup that may get a limit yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Young {
    pub(super) path: String,
    /// If that was seen.
    pub(super) made_ns: Option<u64>,
    told_ns: u64,
    look_ns: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Nursery {
    /// The one that was told of first is the first.
    all: VecDeque<Young>,
    /// Parts of a look, [`S`] of which are one.
    looks: u64,
    last_ns: u64,
}

impl Nursery {
    /// One that was looked at just now.
    pub(super) fn tell(&mut self, path: String, made_ns: Option<u64>, now_ns: u64) {
        self.all.retain(|young| young.path != path);
        if self.all.len() >= MOST {
            self.all.pop_front();
        }
        self.all.push_back(Young {
            path,
            made_ns,
            told_ns: now_ns,
            look_ns: now_ns,
        });
    }

    /// Those whose turn it is. What [`Self::keep`] is not told of is forgotten.
    pub(super) fn due(&mut self, now_ns: u64) -> Vec<Young> {
        let elapsed_ns = now_ns.saturating_sub(self.last_ns).min(S);
        self.last_ns = now_ns;
        self.looks = (self.looks + elapsed_ns * LOOKS).min(S * LOOKS);
        self.all
            .retain(|young| distance(now_ns.saturating_sub(young.told_ns)).is_some());
        let mut due = Vec::new();
        // Those that wait longest come first: each that was looked at goes to the end of its line.
        let mut waiting: Vec<(u64, usize)> = (0..)
            .zip(&self.all)
            .filter(|(_, young)| young.look_ns <= now_ns)
            .map(|(at, young)| (young.look_ns, at))
            .collect();
        waiting.sort_unstable();
        let mut taken = Vec::new();
        for (_, at) in waiting {
            let is_new = self
                .all
                .get(at)
                .is_some_and(|young| now_ns.saturating_sub(young.told_ns) < NEW_NS);
            if !is_new {
                let Some(rest) = self.looks.checked_sub(S) else {
                    continue;
                };
                self.looks = rest;
            }
            taken.push(at);
        }
        taken.sort_unstable_by(|a, b| b.cmp(a));
        due.extend(taken.into_iter().filter_map(|at| self.all.remove(at)));
        due.reverse();
        due
    }

    /// It was looked at and has no limit yet.
    pub(super) fn keep(&mut self, mut young: Young, now_ns: u64) {
        let Some(distance_ns) = distance(now_ns.saturating_sub(young.told_ns)) else {
            return;
        };
        young.look_ns = now_ns.saturating_add(distance_ns);
        let at = self
            .all
            .partition_point(|other| other.told_ns <= young.told_ns);
        self.all.insert(at, young);
    }
}

/// From one look to the next at this age; `None`: there is none any more.
fn distance(age_ns: u64) -> Option<u64> {
    if age_ns < NEW_NS {
        return Some(0);
    }
    let of_age = AGES.iter().find(|(until_ns, _)| age_ns < *until_ns);
    of_age.map(|(_, distance_ns)| *distance_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The moments (in tenths of a second) at which one is looked at that gets no limit.
    #[test]
    fn looks_are_ever_further_apart_and_end() {
        let mut nursery = Nursery::default();
        nursery.tell("/a".to_owned(), None, 0);
        let mut looks = Vec::new();
        for tenth in 1..8_000_u64 {
            let now_ns = tenth * S / 10;
            for young in nursery.due(now_ns) {
                looks.push(tenth);
                nursery.keep(young, now_ns);
            }
        }
        let within = |from_s: u64, to_s: u64| {
            let is_within = |at: &&u64| (from_s * 10..to_s * 10).contains(*at);
            looks.iter().filter(is_within).count()
        };
        assert_eq!(within(0, 10), 99, "each round");
        assert!((48..=51).contains(&within(10, 60)), "{}", within(10, 60));
        assert!(
            (265..=271).contains(&within(60, 600)),
            "{}",
            within(60, 600)
        );
        assert_eq!(within(600, 800), 0);
        assert!(nursery.all.is_empty());
    }

    /// A node where a thousand come and get no limit.
    #[test]
    fn many_cost_no_more_than_they_may_and_all_have_their_turn() {
        let mut nursery = Nursery::default();
        for at in 0..1_000 {
            nursery.tell(format!("/{at}"), None, 0);
        }
        assert_eq!(nursery.all.len(), MOST);
        let mut looked_at = std::collections::HashMap::new();
        for second in 20..120_u64 {
            let due = nursery.due(second * S);
            assert!(due.len() as u64 <= LOOKS, "{}", due.len());
            for young in due {
                *looked_at.entry(young.path.clone()).or_insert(0) += 1;
                nursery.keep(young, second * S);
            }
        }
        assert_eq!(looked_at.len(), MOST);
        let (least, most) = (looked_at.values().min(), looked_at.values().max());
        assert!(most.unwrap() - least.unwrap() <= 1, "{least:?} {most:?}");
        // The same name again is another.
        nursery.tell("/999".to_owned(), Some(1), 120 * S);
        assert_eq!(
            nursery.all.iter().filter(|one| one.path == "/999").count(),
            1
        );
    }
}
