//! Runs of containers and units, as their cgroups tell: one begins when its cgroup is made, and is
//! over when the last process has gone from it and it is made again. Which death ended one, and which
//! is the next one: in the same cgroup, or, of a container, in another one by its name. What tells
//! that may come in any order.

use std::collections::{HashMap, VecDeque};

use crate::event::container::{EndedRun, RunName};

/// The last process of what a death ended has gone so long after it: who is left is given systemd's
/// 90 seconds to stop, as a rule.
const ENDED_NS: u64 = 100 * 1_000_000_000;
/// A run that begins so long after the end of another is the next one of the same still.
const AGAIN_NS: u64 = 24 * 60 * 60 * 1_000_000_000;
/// So many cgroups are remembered; then the half that was quiet for longest is forgotten.
const MOST: usize = 4096;
/// So many deaths are remembered whose next run was told.
const MOST_TOLD: usize = 1024;
/// So many runs are left to the next tracer.
const MOST_LEFT: usize = 128;

/// A death that may have ended a run.
#[derive(Clone, Debug)]
pub(super) struct Ender {
    pub(super) id: String,
    pub(super) died_ns: u64,
    /// Of the main process. Whatever else dies in the same run, this is what ended it.
    pub(super) is_main: bool,
    /// Of its container.
    pub(super) name: Option<RunName>,
}

/// What runs again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// The id of the death that ended the run before.
    pub(super) of: String,
    pub(super) ended_ns: u64,
    pub(super) began_ns: u64,
    /// Its cgroup, and that of the run before.
    pub(super) path: String,
    pub(super) before: String,
}

#[derive(Debug, Default)]
struct Run {
    made_ns: Option<u64>,
    death: Option<Ender>,
    /// When its last process had gone. More may come as long as its cgroup is there.
    emptied_ns: Option<u64>,
}

impl Run {
    /// The death that ended it, and when it had ended.
    fn end(&self) -> Option<(&Ender, u64)> {
        let (death, emptied_ns) = (self.death.as_ref()?, self.emptied_ns?);
        let since_ns = emptied_ns.checked_sub(death.died_ns)?;
        (since_ns <= ENDED_NS).then_some((death, emptied_ns))
    }

    fn note(&mut self, ender: Ender) {
        let rank = |ender: &Ender| (ender.is_main, ender.died_ns);
        let stays = |before: &Ender| before.id != ender.id && rank(before) > rank(&ender);
        if !self.death.as_ref().is_some_and(stays) {
            self.death = Some(ender);
        }
    }

    fn latest_ns(&self) -> u64 {
        let died_ns = self.death.as_ref().map(|death| death.died_ns);
        [self.made_ns, self.emptied_ns, died_ns]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or_default()
    }
}

/// The latest runs in a cgroup.
#[derive(Debug, Default)]
struct Place {
    /// It is over.
    before: Option<Run>,
    now: Run,
}

/// By when, and in which cgroup.
type At = (u64, String);

/// Containers by one name.
#[derive(Debug, Default)]
struct Named {
    /// Where the latest death was, and when.
    died: Option<At>,
    /// Which began last, and when.
    began: Option<At>,
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::provenance) struct Runs {
    places: HashMap<String, Place>,
    names: HashMap<RunName, Named>,
    told: VecDeque<String>,
}

impl Runs {
    /// A cgroup of a container or a unit was made.
    pub(super) fn made(&mut self, path: &str, made_ns: u64) -> Option<Next> {
        let place = self.place(path);
        if place.now.emptied_ns.is_some() {
            place.before = Some(std::mem::take(&mut place.now));
        }
        // There may be one in each hierarchy.
        place.now.made_ns.get_or_insert(made_ns);
        self.follow(path)
    }

    /// The last process has gone from one.
    pub(super) fn emptied(&mut self, path: &str, emptied_ns: u64) -> Option<Next> {
        self.place(path).now.emptied_ns = Some(emptied_ns);
        self.follow(path)
    }

    /// Somebody died in a container or unit.
    pub(super) fn died(&mut self, path: &str, ender: Ender) -> Option<Next> {
        if let Some(name) = &ender.name {
            let named = self.names.entry(name.clone()).or_default();
            named.died = named
                .died
                .take()
                .max(Some((ender.died_ns, path.to_owned())));
        }
        let place = self.place(path);
        let is_in = |run: &&mut Run| run.made_ns.is_none_or(|made_ns| made_ns <= ender.died_ns);
        let is_before = |run: &&mut Run| run.emptied_ns >= Some(ender.died_ns);
        let before = place.before.as_mut().filter(is_before);
        if let Some(run) = Some(before.unwrap_or(&mut place.now)).filter(is_in) {
            run.note(ender);
        }
        self.follow(path)
    }

    /// It is known what the container in this cgroup is called.
    pub(super) fn named(&mut self, path: &str, name: RunName) -> Option<Next> {
        let began_ns = self.places.get(path)?.now.made_ns?;
        let named = self.names.entry(name).or_default();
        named.began = named.began.take().max(Some((began_ns, path.to_owned())));
        let (_, died_in) = named.died.clone()?;
        self.follow(&died_in)
    }

    /// Runs in which somebody died, and on which none has followed yet: the latest of them.
    pub(in crate::provenance) fn open(&self) -> impl Iterator<Item = EndedRun> {
        let is_open = |run: &Run| {
            let is_told = |death: &Ender| self.told.contains(&death.id);
            run.death.as_ref().is_some_and(|death| !is_told(death))
        };
        let places = self.places.iter();
        let mut open: Vec<(&String, &Run)> = places
            .map(|(path, place)| (path, &place.now))
            .filter(|(_, run)| is_open(run))
            .collect();
        open.sort_unstable_by_key(|(path, run)| (std::cmp::Reverse(run.latest_ns()), *path));
        open.truncate(MOST_LEFT);
        open.into_iter().filter_map(|(path, run)| {
            let death = run.death.clone()?;
            Some(EndedRun {
                path: path.clone(),
                made_ns: run.made_ns,
                death_id: death.id,
                died_ns: death.died_ns,
                is_main: death.is_main,
                name: death.name,
                emptied_ns: run.emptied_ns,
            })
        })
    }

    /// Takes on what another tracer has left.
    pub(in crate::provenance) fn restore(&mut self, run: EndedRun) {
        let place = self.place(&run.path);
        if place.now.latest_ns() > 0 {
            return;
        }
        (place.now.made_ns, place.now.emptied_ns) = (run.made_ns, run.emptied_ns);
        // What follows on it is told by the events that come.
        self.died(
            &run.path,
            Ender {
                id: run.death_id,
                died_ns: run.died_ns,
                is_main: run.is_main,
                name: run.name,
            },
        );
    }

    /// What follows on a run in this cgroup, if that was not told.
    fn follow(&mut self, path: &str) -> Option<Next> {
        let place = self.places.get(path)?;
        let again = place.before.as_ref().and_then(|run| {
            let next = (place.now.made_ns?, path.to_owned());
            self.next(path, run, next)
        });
        let next = again.or_else(|| {
            let (death, _) = place.now.end()?;
            let named = self.names.get(death.name.as_ref()?)?;
            let elsewhere = named.began.clone().filter(|(_, other)| other != path)?;
            self.next(path, &place.now, elsewhere)
        })?;
        self.told.push_back(next.of.clone());
        if self.told.len() > MOST_TOLD {
            self.told.pop_front();
        }
        Some(next)
    }

    fn next(&self, before: &str, run: &Run, (began_ns, path): At) -> Option<Next> {
        let (death, ended_ns) = run.end()?;
        let after_ns = began_ns.checked_sub(ended_ns)?;
        let is_new = after_ns <= AGAIN_NS && !self.told.contains(&death.id);
        is_new.then(|| Next {
            of: death.id.clone(),
            ended_ns,
            began_ns,
            path,
            before: before.to_owned(),
        })
    }

    fn place(&mut self, path: &str) -> &mut Place {
        if self.places.len() >= MOST && !self.places.contains_key(path) {
            self.forget();
        }
        self.places.entry(path.to_owned()).or_default()
    }

    fn forget(&mut self) {
        let mut latest: Vec<u64> = self.places.values().map(Place::latest_ns).collect();
        latest.sort_unstable();
        let middle = latest.get(latest.len() / 2).copied().unwrap_or_default();
        self.places.retain(|_, place| place.latest_ns() > middle);
        let is_known = |at: &Option<At>| {
            at.as_ref()
                .is_some_and(|(_, path)| self.places.contains_key(path))
        };
        self.names
            .retain(|_, named| is_known(&named.died) || is_known(&named.began));
    }
}

impl Place {
    fn latest_ns(&self) -> u64 {
        self.now.latest_ns()
    }
}
