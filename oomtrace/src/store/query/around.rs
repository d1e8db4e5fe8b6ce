//! One death, and what is stored around it.

use std::time::{Duration, Instant};

use rusqlite::{OptionalExtension as _, ToSql};
use serde::Deserialize;

use super::{Filter, Lead, Reader, Roles, SELECT, Stored};
use crate::{
    identity::target::Target,
    provenance::record::{Death, Record, Restart},
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
            let found = self.list_by(&self.plan_of_ids(from, to)?, None, limit)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// Deaths of the same workload before this one, the latest first: of containers of the same
    /// name (of the same pod or its like, see [`workload`], in the same namespace), else of the
    /// same unit, else in the same cgroup; and in the same role. What is not the main process has
    /// to be the same program with the same arguments besides. As far as there is time: see
    /// [`Reader::was_cut`].
    pub fn earlier(&self, death: &Death, limit: usize) -> Result<Vec<Stored>, StoreError> {
        let Some((filter, time_ns)) = of_workload(death) else {
            return Ok(Vec::new());
        };
        let before = Filter {
            until_ns: Some(time_ns),
            ..filter
        };
        self.like(death, &before, First::Newest, limit)
    }

    /// The next death of the same workload, if it came within a day. As far as there is time: see
    /// [`Reader::was_cut`].
    pub fn next(&self, death: &Death) -> Result<Option<Stored>, StoreError> {
        const DAY_NS: i64 = 24 * 60 * 60 * 1_000_000_000;
        let Some((filter, time_ns)) = of_workload(death) else {
            return Ok(None);
        };
        let after = Filter {
            since_ns: Some(time_ns.saturating_add(1)),
            until_ns: Some(time_ns.saturating_add(DAY_NS)),
            ..filter
        };
        Ok(self.like(death, &after, First::Oldest, 1)?.pop())
    }

    /// Those that fit, and are what this death is one of.
    fn like(
        &self,
        death: &Death,
        filter: &Filter,
        first: First,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let is_main = filter.roles == Roles::Main;
        let most = if is_main {
            limit
        } else {
            MOST_LOOKED_AT.max(limit)
        };
        let (keys, mut is_all) = self.keys_like(death, filter, first, most)?;
        let until = Instant::now() + LOOKING;
        let mut same = Vec::new();
        for (looked_at, key) in keys.iter().enumerate() {
            if !is_main && looked_at >= LEAST_LOOKED_AT && Instant::now() >= until {
                is_all = false;
                break;
            }
            // It may have gone meanwhile.
            let sql = format!("{SELECT} WHERE d.key = ?1");
            let stored = self.rows(&sql, &[key])?.pop();
            same.extend(stored.filter(|stored| is_main || is_same_program(death, &stored.json)));
            if same.len() >= limit {
                return Ok(same);
            }
        }
        if !is_all || !is_main && keys.len() >= most {
            self.bound.cut();
        }
        Ok(same)
    }

    /// The keys of those that may be alike, so many at the most, and whether those are all that
    /// there was time for.
    fn keys_like(
        &self,
        death: &Death,
        filter: &Filter,
        first: First,
        most: usize,
    ) -> Result<(Vec<i64>, bool), StoreError> {
        let role = serde_json::to_value(death.victim.role).ok();
        let role = role.as_ref().and_then(serde_json::Value::as_str);
        let pod = death.container.as_ref();
        let pod = pod.and_then(|container| container.pod.as_deref());
        let until = Instant::now() + LOOKING;
        let plan = self.plan(filter)?;
        let (mut found, mut is_all) = (Vec::new(), true);
        for way in &plan.ways {
            let mut values = plan.values(way);
            let at = values.len();
            values.extend([&role as &dyn ToSql, &death.id, &death.victim.comm]);
            let order = first.order();
            let sql = format!(
                "SELECT d.time_ns, d.weight, d.key, d.pod FROM deaths AS d
                     WHERE {} AND d.role IS ?{} AND +d.id <> ?{} AND ({} OR +d.comm IS ?{})
                     ORDER BY d.time_ns {order}, d.weight {order}, d.key {order}",
                match way.lead {
                    Lead::Wide(_) => plan.along_time(way),
                    _ => plan.condition(way),
                },
                at + 1,
                at + 2,
                filter.roles == Roles::Main,
                at + 3,
            );
            let before = found.len();
            let look = || -> rusqlite::Result<()> {
                let mut statement = self.connection.prepare_cached(&sql)?;
                let mut rows = statement.query(&*values)?;
                while found.len() - before < most
                    && let Some(row) = rows.next()?
                {
                    let other: Option<String> = row.get(3)?;
                    if other.as_deref().map(workload) == pod.map(workload) {
                        let at: (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                        found.push(at);
                    }
                }
                Ok(())
            };
            let looked = self.bound.until(until, look);
            is_all &= looked.map_err(|error| self.failed(&error))?.is_some();
        }
        found.sort_unstable();
        found.dedup();
        if first == First::Newest {
            found.reverse();
        }
        found.truncate(most);
        Ok((found.into_iter().map(|(.., key)| key).collect(), is_all))
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

    /// When what the first of these deaths ended ran again; of the first one of which that is known.
    pub fn restart<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<Restart>, StoreError> {
        let of = |id: &str| -> rusqlite::Result<Option<String>> {
            self.connection
                .prepare_cached("SELECT json FROM restarts WHERE of = ?1")?
                .query_row([id], |row| row.get(0))
                .optional()
        };
        for id in ids {
            let json = of(id).map_err(|error| self.failed(&error))?;
            let record = json.and_then(|json| serde_json::from_str(&json).ok());
            if let Some(Record::Restart(restart)) = record {
                return Ok(Some(restart));
            }
        }
        Ok(None)
    }
}

/// Which deaths come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Newest,
    Oldest,
}

impl First {
    const fn order(self) -> &'static str {
        match self {
            Self::Newest => "DESC",
            Self::Oldest => "ASC",
        }
    }
}

/// So long deaths of the same workload are looked for, and so long their records are looked into.
const LOOKING: Duration = Duration::from_millis(12);
/// So many records are looked into however long that takes.
const LEAST_LOOKED_AT: usize = 200;
/// No more records are looked into for those of the same program.
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
    let is_main = death.victim.is_main();
    let mut filter = Filter {
        roles: if is_main { Roles::Main } else { Roles::Own },
        command: death.victim.comm.clone().filter(|_| !is_main),
        ..Filter::default()
    };
    let target = match (&death.container, &death.unit) {
        (Some(container), _) => {
            filter.namespace.clone_from(&container.namespace);
            Target::Container(container.name.as_ref().unwrap_or(&container.id).clone())
        }
        (None, Some(unit)) => Target::Unit(unit.name.clone()),
        (None, None) => {
            filter.cgroup = Some(death.victim.cgroup.clone()?);
            return Some((filter, time_ns));
        }
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
