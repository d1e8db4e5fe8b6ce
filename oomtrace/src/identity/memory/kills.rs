//! How often the OOM killer has taken a process of each cgroup: the kernel counts it, watched or
//! not.

use std::{collections::BTreeMap, fs, path::Path};

use super::Hierarchy;
use crate::{event::entry::InferredKill, identity::cgroupfs::folders};

/// No tree is followed deeper, and no more cgroups are looked at.
const DEEPEST: usize = 32;
const MOST: usize = 10_000;

/// v2's of a cgroup without those below it (since 5.3), and v1's (since 4.13).
const UNIFIED: &str = "memory.events.local";
const V1: &str = "memory.oom_control";

/// Of each cgroup that is there, by its path; those with none are left out.
#[must_use]
pub fn oom_kills(hierarchy: &Hierarchy) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let mut left = MOST;
    let file = file(hierarchy);
    folders(
        hierarchy.top(),
        DEEPEST,
        &mut left,
        &mut |folder: &Path, _| {
            let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
            if let (Some(count), Some(path)) = (parse(&text), hierarchy.path(folder)) {
                counts.insert(path, count);
            }
        },
    );
    counts
}

fn file(hierarchy: &Hierarchy) -> &'static str {
    if hierarchy.is_unified() { UNIFIED } else { V1 }
}

/// The line `oom_kill N`, the same in both; `None`: there is none, or N is 0.
fn parse(text: &str) -> Option<u64> {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count?.trim().parse().ok().filter(|count| *count > 0)
}

/// What was added from one look to the next, less what was seen: `seen` by cgroup. `named`: kills
/// that others name already. A cgroup that has gone takes its count along.
#[must_use]
pub fn unseen(
    hierarchy: &Hierarchy,
    before: &BTreeMap<String, u64>,
    now: &BTreeMap<String, u64>,
    seen: &BTreeMap<String, u64>,
    named: &[InferredKill],
) -> Vec<InferredKill> {
    let of = |counts: &BTreeMap<String, u64>, path: &String| counts.get(path).copied().unwrap_or(0);
    let more = now.iter().filter_map(|(path, count)| {
        let is_here = |kill: &&InferredKill| kill.cgroup.as_ref() == Some(path);
        let named = named.iter().filter(is_here).count() as u64;
        let known = of(before, path) + of(seen, path) + named;
        let kills = count.checked_sub(known).filter(|kills| *kills > 0)?;
        Some(InferredKill {
            source: file(hierarchy).to_owned(),
            cgroup: Some(path.clone()),
            kills,
            pid: None,
            comm: None,
            limit_cgroup: None,
        })
    });
    more.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_have_the_same_line() {
        let v2 = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(parse(v2), Some(2));
        assert_eq!(
            parse("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"),
            Some(7)
        );
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn only_what_nobody_saw_is_concluded() {
        let hierarchy = Hierarchy::of_test();
        let counts = |of: &[(&str, u64)]| {
            of.iter()
                .map(|(path, count)| ((*path).to_owned(), *count))
                .collect()
        };
        let named = InferredKill {
            source: "kernel_log".to_owned(),
            cgroup: Some("/c".to_owned()),
            kills: 1,
            pid: Some(7),
            comm: None,
            limit_cgroup: None,
        };
        let found = unseen(
            &hierarchy,
            &counts(&[("/a", 2), ("/b", 1), ("/gone", 9)]),
            &counts(&[("/a", 5), ("/b", 2), ("/c", 1), ("/d", 1), ("/same", 0)]),
            &counts(&[("/a", 1), ("/b", 1)]),
            &[named],
        );
        let found: Vec<_> = found
            .iter()
            .map(|kill| (kill.cgroup.as_deref().unwrap(), kill.kills))
            .collect();
        assert_eq!(found, [("/a", 2), ("/d", 1)]);
    }
}
