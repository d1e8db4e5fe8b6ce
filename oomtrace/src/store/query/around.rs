//! One death, and what is stored around it.

use serde::Deserialize;

use super::{Filter, Reader, Roles, SELECT, Stored, is_main, limit_of};
use crate::{
    identity::target::Target,
    provenance::record::{Death, Role},
    store::{error::StoreError, row::parse_time},
};

impl Reader {
    /// The latest death with which a container or a unit ended.
    pub fn latest_main(&self) -> Result<Option<Stored>, StoreError> {
        let filter = Filter {
            roles: Roles::Main,
            ..Filter::default()
        };
        Ok(self.list(&filter, None, 1)?.pop())
    }

    /// The latest deaths of whom a person points at.
    pub fn of_target(
        &self,
        target: &Target,
        roles: Roles,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let filter = Filter {
            targets: vec![target.clone()],
            roles,
            ..Filter::default()
        };
        self.list(&filter, None, limit)
    }

    /// The deaths of a process id, the latest first: ids are used again.
    pub fn of_pid(&self, pid: u32, limit: usize) -> Result<Vec<Stored>, StoreError> {
        let filter = Filter {
            pid: Some(pid),
            roles: Roles::All,
            ..Filter::default()
        };
        self.list(&filter, None, limit)
    }

    /// The deaths that an id, or the start of one, may mean: the one with just this id; else
    /// those of which it is a whole part (`BOOT-PID`); else those that begin with it.
    pub fn by_id(&self, id: &str, limit: usize) -> Result<Vec<Stored>, StoreError> {
        let (end, part) = (format!("{id}\u{10ffff}"), format!("{id}-"));
        for (from, to) in [
            (id, id),
            (part.as_str(), &format!("{part}\u{10ffff}")),
            (id, &end),
        ] {
            let sql = format!(
                "{SELECT} WHERE d.id >= ?1 AND d.id <= ?2 ORDER BY d.time_ns DESC, d.weight DESC, d.key DESC LIMIT ?3"
            );
            let found = self.rows(&sql, &[&from, &to, &limit_of(limit)])?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// Deaths of the same workload before this one, the latest first: of containers of the same
    /// name (of the same pod or its like, see [`workload`], in the same namespace), else of the
    /// same unit, else in the same cgroup; and in the same role. What is not the main process has
    /// to be the same program with the same arguments besides.
    pub fn earlier(&self, death: &Death, limit: usize) -> Result<Vec<Stored>, StoreError> {
        let Some((filter, time_ns)) = of_workload(death) else {
            return Ok(Vec::new());
        };
        let before = Filter {
            until_ns: Some(time_ns),
            ..filter
        };
        self.like(death, &before, limit)
    }

    /// The next death of the same workload, if it came within a day.
    pub fn next(&self, death: &Death) -> Result<Option<Stored>, StoreError> {
        const MINUTE_NS: i64 = 60 * 1_000_000_000;
        /// Looked at one after the other: of what dies every few seconds, a day has very many.
        const UNTIL_NS: [i64; 4] = [
            5 * MINUTE_NS,
            60 * MINUTE_NS,
            6 * 60 * MINUTE_NS,
            24 * 60 * MINUTE_NS,
        ];
        let Some((filter, time_ns)) = of_workload(death) else {
            return Ok(None);
        };
        let mut since_ns = time_ns.saturating_add(1);
        for until_ns in UNTIL_NS {
            let until_ns = time_ns.saturating_add(until_ns);
            let after = Filter {
                since_ns: Some(since_ns),
                until_ns: Some(until_ns),
                ..filter.clone()
            };
            if let Some(next) = self.like(death, &after, usize::MAX)?.pop() {
                return Ok(Some(next));
            }
            since_ns = until_ns;
        }
        Ok(None)
    }

    /// Those that fit, and are what this death is one of.
    fn like(
        &self,
        death: &Death,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let role = serde_json::to_value(death.victim.role).ok();
        let role = role.as_ref().and_then(serde_json::Value::as_str);
        let is_main = is_main(role);
        let pod = death.container.as_ref();
        let pod = pod.and_then(|container| container.pod.as_deref());
        let mut same = Vec::new();
        let mut looked_at = 0;
        self.each(filter, usize::MAX, |stored| {
            let fits = stored.role.as_deref() == role
                && (is_main || stored.comm == death.victim.comm)
                && stored.pod.as_deref().map(workload) == pod.map(workload)
                && stored.id != death.id;
            if fits {
                looked_at += 1;
                if is_main || is_same_program(death, &stored.json) {
                    same.push(stored.clone());
                }
            }
            Ok::<_, StoreError>(same.len() < limit && (is_main || looked_at < MOST_LOOKED_AT))
        })?;
        Ok(same)
    }

    /// The deaths that one has led to, the latest first.
    pub fn caused_by(&self, id: &str, limit: usize) -> Result<Vec<Stored>, StoreError> {
        let filter = Filter {
            caused_by: Some(id.to_owned()),
            roles: Roles::All,
            ..Filter::default()
        };
        self.list(&filter, None, limit)
    }
}

/// So many records are looked into for those of the same program: a thousand take some ten
/// milliseconds.
const MOST_LOOKED_AT: usize = 1000;

/// What a stored record says of the program that died. The rest of it is passed over.
#[derive(Deserialize)]
struct Said {
    victim: Program,
}

#[derive(Deserialize)]
struct Program {
    cgroup: Option<String>,
    exe: Option<String>,
    argv: Option<Vec<String>>,
}

/// Whether the victim of a stored record ran the same program with the same arguments, in the same
/// cgroup where nothing else says what it belongs to. The comm is the same; that alone tells
/// nothing: `python3` is many programs.
fn is_same_program(death: &Death, json: &str) -> bool {
    let Ok(Said { victim: other }) = serde_json::from_str(json) else {
        return false;
    };
    let victim = &death.victim;
    let differ = |one: &Option<String>, other: &Option<String>| matches!((one, other), (Some(one), Some(other)) if one != other);
    if death.container.is_none() && death.unit.is_none() && differ(&victim.cgroup, &other.cgroup) {
        return false;
    }
    match (&victim.argv, &other.argv) {
        (Some(one), Some(other)) => one == other,
        _ => !differ(&victim.exe, &other.exe),
    }
}

/// Deaths of the workload that this death is one of, and when it died. `None`: nothing tells which
/// that is.
fn of_workload(death: &Death) -> Option<(Filter, i64)> {
    let time_ns = parse_time(&death.time)?;
    let is_main = matches!(
        death.victim.role,
        Some(Role::ContainerInit | Role::UnitMain)
    );
    let mut filter = Filter {
        roles: if is_main { Roles::Main } else { Roles::Own },
        ..Filter::default()
    };
    let target = match (&death.container, &death.unit) {
        (Some(container), _) => {
            filter.namespace.clone_from(&container.namespace);
            Target::Container(container.name.as_ref().unwrap_or(&container.id).clone())
        }
        (None, Some(unit)) => Target::Unit(unit.name.clone()),
        (None, None) => Target::Cgroup(death.victim.cgroup.clone()?),
    };
    filter.targets.push(target);
    Some((filter, time_ns))
}

/// What a pod's name begins with, before what Kubernetes makes up for each one: the name of the
/// Deployment, DaemonSet, Job or StatefulSet behind it.
#[must_use]
pub fn workload(pod: &str) -> &str {
    /// The characters of made-up names: none that would spell a word.
    const MADE_UP: &str = "bcdfghjklmnpqrstvwxz2456789";
    let is_made_up = |part: &str| part.chars().all(|c| MADE_UP.contains(c));
    let Some((rest, last)) = pod.rsplit_once('-') else {
        return pod;
    };
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        return rest;
    }
    if last.len() != 5 || !is_made_up(last) {
        return pod;
    }
    match rest.rsplit_once('-') {
        Some((name, hash)) if (8..=10).contains(&hash.len()) && is_made_up(hash) => name,
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::workload;

    #[test]
    fn pods_of_one_workload_are_told_by_their_names() {
        for (pod, name) in [
            ("web-6f7d8b9c4-tq2nn", "web"),
            ("web-api-6f7d8b9c4-tq2nn", "web-api"),
            ("agent-x7k2p", "agent"),
            ("db-0", "db"),
            ("db-12", "db"),
            ("web", "web"),
            ("web-front", "web-front"),
            ("static-pod-worker", "static-pod-worker"),
        ] {
            assert_eq!(workload(pod), name, "{pod}");
        }
    }
}
