//! Which cgroups are watched: those that have a limit, and of too many the ones that are
//! nearest to theirs.

use std::{
    fs,
    path::Path,
    sync::{PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    MOST,
    gauge::{Gauge, is_gone},
    ring::Series,
    sampler::{Rounds, Watch},
    walk::Walk,
};
use crate::identity::host;

/// From the end of a walk to the next one; a large tree is walked less often.
const WALK: Duration = Duration::from_secs(60);
const WALK_EACH: Duration = Duration::from_millis(40);
/// So many folders are looked at in one round.
const FOLDERS: usize = 64;
/// Of those that are not watched so many are remembered.
const MOST_PASSED_OVER: usize = 4096;
/// One that is watched gives way to another that is nearer to its limit by so many parts in a
/// thousand.
const NEARER: u64 = 100;

/// What a cgroup is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Limited,
    Unlimited,
    Gone,
}

impl Rounds<'_> {
    pub(super) fn made(&mut self, path: String, made_ns: Option<u64>, unified: bool) {
        if unified != self.hierarchy.is_unified() {
            return;
        }
        let now_ns = host::now().boottime_ns;
        if let (Some(watch), Some(seen_ns)) = (self.watches.get(&path), made_ns) {
            if watch.began_ns >= seen_ns {
                self.set_made(&path, made_ns);
                return;
            }
            // Another one by the same name.
            self.forget(&path);
        }
        let Some(folder) = self.hierarchy.folder(&path) else {
            return;
        };
        match self.consider(&path, &folder, now_ns) {
            Found::Limited => self.set_made(&path, made_ns),
            Found::Unlimited => self.young.tell(path, made_ns, now_ns),
            Found::Gone => {}
        }
    }

    fn set_made(&self, path: &str, made_ns: Option<u64>) {
        self.shared.with_series(|all| {
            if let Some(series) = all.get_mut(path) {
                series.made_ns = made_ns.or(series.made_ns);
            }
        });
    }

    /// Those that were made lately may have their limit by now.
    pub(super) fn grow_up(&mut self, now_ns: u64) {
        for young in self.young.due(now_ns) {
            let Some(folder) = self.hierarchy.folder(&young.path) else {
                continue;
            };
            match self.consider(&young.path, &folder, now_ns) {
                Found::Limited => self.set_made(&young.path, young.made_ns),
                Found::Unlimited => self.young.keep(young, now_ns),
                Found::Gone => {}
            }
        }
    }

    /// Watches a cgroup if it has a limit.
    fn consider(&mut self, path: &str, folder: &Path, now_ns: u64) -> Found {
        let text = fs::read_to_string(folder.join(self.hierarchy.files().limit));
        let is_gone = text.as_ref().is_err_and(is_gone);
        let limit = text.ok().and_then(|limit| self.hierarchy.limit(&limit));
        let Some(limit_bytes) = limit else {
            if self
                .watches
                .get(path)
                .is_some_and(|watch| watch.gone_ns.is_none())
            {
                self.forget(path);
            }
            return if is_gone {
                Found::Gone
            } else {
                Found::Unlimited
            };
        };
        if self
            .watches
            .get(path)
            .is_some_and(|watch| watch.gone_ns.is_some())
        {
            // Another one by the same name, of which nobody told.
            self.forget(path);
        }
        if self.watches.contains_key(path) {
            self.shared.with_series(|all| {
                if let Some(series) = all.get_mut(path) {
                    series.limit_bytes = limit_bytes;
                }
            });
            return Found::Limited;
        }
        let mut gauge = Gauge::new(folder, self.hierarchy.files(), &self.descriptors);
        if self.watches.len() >= MOST && !self.make_room(path, &mut gauge, limit_bytes) {
            return Found::Limited;
        }
        let mut series = Series::new(
            now_ns,
            limit_bytes,
            self.hierarchy.page_bytes(),
            self.interval,
        );
        if let Ok(usage) = gauge.usage() {
            if let Ok(split) = gauge.split(&mut self.buffer) {
                series.set_split(now_ns, usage, split);
            }
            series.push(now_ns, usage);
        }
        self.shared
            .with_series(|all| all.insert(path.to_owned(), series));
        let watch = Watch {
            gauge,
            began_ns: now_ns,
            gone_ns: None,
        };
        self.watches.insert(path.to_owned(), watch);
        Found::Limited
    }

    /// Gives up the one that is furthest from its limit, if this one is nearer.
    fn make_room(&mut self, path: &str, gauge: &mut Gauge, limit_bytes: u64) -> bool {
        let usage = gauge.usage().unwrap_or_default();
        let fullness = usage.saturating_mul(1000) / limit_bytes.max(1);
        let furthest = self.shared.with_series(|all| {
            all.iter()
                .map(|(path, series)| (series.fullness(), path))
                .min()
                .map(|(fullness, path)| (fullness, path.clone()))
        });
        let (passed_over, is_room) = match furthest {
            Some((least, furthest)) if fullness >= least.saturating_add(NEARER) => {
                self.forget(&furthest);
                (furthest, true)
            }
            _ => (path.to_owned(), false),
        };
        if self.passed_over.len() < MOST_PASSED_OVER {
            self.passed_over.push(passed_over);
        }
        is_room
    }

    /// The whole tree at once: at the start nothing is known yet.
    pub(super) fn walk_all(&mut self) {
        let now_ns = host::now().boottime_ns;
        self.begin_walk();
        while !self.walk.is_over() {
            self.walk_some(now_ns);
        }
        self.end_walk();
        log::info!(
            "memory: {} cgroups have a limit and are watched",
            self.watches.len()
        );
    }

    pub(super) fn walk_on(&mut self, now_ns: u64) {
        if !self.walk.is_over() {
            self.walk_some(now_ns);
            if self.walk.is_over() {
                self.end_walk();
            }
        } else if Instant::now() >= self.walk_at
            || self.shared.walk_now.swap(false, Ordering::AcqRel)
        {
            self.begin_walk();
        }
    }

    fn begin_walk(&mut self) {
        self.walk = Walk::from(self.hierarchy.top());
        self.walked = 0;
        self.passed_over.clear();
    }

    fn walk_some(&mut self, now_ns: u64) {
        for _ in 0..FOLDERS {
            let Some(folder) = self.walk.next_folder() else {
                return;
            };
            self.walked += 1;
            if let Some(path) = self.hierarchy.path(&folder) {
                self.consider(&path, &folder, now_ns);
            }
        }
    }

    fn end_walk(&mut self) {
        let each = u32::try_from(self.walked).unwrap_or(u32::MAX);
        self.walk_at = Instant::now() + WALK.max(WALK_EACH.saturating_mul(each));
        let passed_over = std::mem::take(&mut self.passed_over);
        if passed_over.len() > self.most_passed_over {
            log::warn!(
                "memory: {} cgroups have a limit; the {MOST} nearest to theirs are watched, {} are not: should their limit be hit, what came before is not known",
                MOST + passed_over.len(),
                passed_over.len()
            );
            self.most_passed_over = passed_over.len().saturating_mul(2);
        }
        let mut seen = self
            .shared
            .passed_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *seen = passed_over;
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{
        identity::memory::{Hierarchy, Options, Shared},
        privileges::Keep,
    };

    const S: u64 = 1_000_000_000;

    /// A folder that has the files of a cgroup; gone when it is dropped.
    struct Tree(TempDir);

    impl Tree {
        fn put(&self, cgroup: &str, limit: &str) {
            let folder = self.0.path().join(cgroup);
            fs::create_dir_all(&folder).unwrap();
            for (file, text) in [
                ("memory.max", limit),
                ("memory.current", "4096\n"),
                ("memory.stat", "anon 4096\nfile 0\n"),
            ] {
                fs::write(folder.join(file), text).unwrap();
            }
        }
    }

    #[test]
    fn a_limit_that_is_set_by_hand_is_found_soon() {
        let tree = Tree(tempfile::tempdir().unwrap());
        let shared = Shared::default();
        let options = Options {
            interval: Duration::from_secs(1),
            keep: Keep::all(),
        };
        let hierarchy = Hierarchy::at_folder(tree.0.path());
        let mut rounds = Rounds::new(hierarchy, options, &shared);
        let told_ns = host::now().boottime_ns;
        for cgroup in ["soon", "late", "never", "gone"] {
            tree.put(cgroup, "max\n");
            rounds.made(format!("/{cgroup}"), Some(told_ns), true);
        }
        fs::remove_dir_all(tree.0.path().join("gone")).unwrap();
        let mut found = Vec::new();
        for second in 1..=600 {
            match second {
                15 => tree.put("soon", "62914560\n"),
                300 => tree.put("late", "62914560\n"),
                _ => {}
            }
            rounds.grow_up(told_ns + second * S);
            for (path, watch) in &rounds.watches {
                if watch.began_ns == told_ns + second * S {
                    found.push((path.clone(), second));
                }
            }
        }
        let seconds = |path: &str| found.iter().find(|(found, _)| found == path).unwrap().1;
        assert!((15..=16).contains(&seconds("/soon")), "{found:?}");
        assert!((300..=302).contains(&seconds("/late")), "{found:?}");
        assert_eq!(found.len(), 2, "{found:?}");
        let made_ns = shared.with_series(|all| all["/late"].made_ns);
        assert_eq!(made_ns, Some(told_ns));
    }
}
