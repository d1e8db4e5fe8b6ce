//! The connection that reads: what `list`, `show` and `why` ask. It changes nothing, needs no
//! lock, and keeps no snapshot open from one answer to the next, so that a slow reader never
//! keeps the writer's journal from being written back.

use std::{fs, io, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, ToSql, types::Value};

use super::{
    error::{Purpose, StoreError, Trouble},
    place::beside,
    row::weight,
    schema::{self, State},
};
use crate::{
    identity::target::Target,
    provenance::record::{Cause, Death, Gap, Record},
};

/// The writer's short moments of exclusion are waited for.
const BUSY: Duration = Duration::from_secs(2);
/// So many deaths are read at a time where all are wanted.
const AT_A_TIME: usize = 256;
/// The start of a container's id that is long enough to be meant as one.
const ID_DIGITS: usize = 4;

/// Whose deaths are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Roles {
    /// Those with which a container or a unit ended.
    Main,
    /// Those in their own right: not what went along with another, nor runtimes' helpers.
    #[default]
    Own,
    /// All but runtimes' helpers.
    Workloads,
    All,
}

impl Roles {
    const fn least_weight(self) -> i64 {
        match self {
            Self::Main => weight::MAIN,
            Self::Own => weight::OWN,
            Self::Workloads => weight::ALONG,
            Self::All => weight::HELPER,
        }
    }
}

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// From this moment on, in nanoseconds since 1970.
    pub since_ns: Option<i64>,
    /// Before this moment.
    pub until_ns: Option<i64>,
    pub cause: Option<Cause>,
    pub namespace: Option<String>,
    /// Each of them must fit.
    pub targets: Vec<Target>,
    pub pid: Option<u32>,
    /// Its name, as the kernel has it.
    pub command: Option<String>,
    /// The death that led to it.
    pub caused_by: Option<String>,
    pub roles: Roles,
}

/// Where the next part of an answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    time_ns: i64,
    weight: i64,
    key: i64,
}

/// A death as it is stored. Words are as the version that wrote it had them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub id: String,
    pub revision: u32,
    pub is_final: bool,
    pub time_ns: i64,
    pub cause: String,
    pub mechanism: String,
    pub role: Option<String>,
    pub pid: u32,
    pub comm: Option<String>,
    pub container: Option<String>,
    pub container_id: Option<String>,
    pub pod: Option<String>,
    pub namespace: Option<String>,
    pub unit: Option<String>,
    pub cgroup: Option<String>,
    pub caused_by: Option<String>,
    /// The whole record, on one line.
    pub json: String,
    cursor: Cursor,
}

impl Stored {
    /// The record. It cannot be read where a newer version has used a word that this one does
    /// not know: what is stored can be shown all the same.
    pub fn death(&self) -> Result<Death, serde_json::Error> {
        match serde_json::from_str(&self.json)? {
            Record::Death(death) => Ok(*death),
            _ => Err(serde::de::Error::custom("it is no death")),
        }
    }

    /// Where an answer goes on behind this one.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        self.cursor
    }
}

/// What is in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub deaths: u64,
    /// The first and the last of them.
    pub first_ns: Option<i64>,
    pub last_ns: Option<i64>,
}

/// How many deaths an answer leaves out, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// They went along with others.
    pub along: u64,
    /// Runtimes' own helpers.
    pub helpers: u64,
}

/// From when to when a tracer watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    pub boot_id: String,
    pub started_ns: i64,
    /// It was there then for the last time that was noted, which is done once a minute.
    pub seen_ns: i64,
    /// It ended of its own, with everything written. It may also be watching still.
    pub is_ended: bool,
}

/// Whether a tracer watched at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watched {
    /// Who did.
    pub by: Option<Watch>,
    /// Who did before, and who did next, where nobody did.
    pub before: Option<Watch>,
    pub after: Option<Watch>,
    /// What was missed in a stretch that holds the moment.
    pub gaps: Vec<Gap>,
    /// Of what is older nothing is kept: not even that nothing died.
    pub deleted_until_ns: Option<i64>,
}

/// See the module.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: std::path::PathBuf,
}

impl Reader {
    /// Opens a store to read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let refused = |trouble, found: &str| StoreError::new(path, Purpose::Read, trouble, found);
        // SQLite words all of these alike.
        match fs::metadata(path) {
            Ok(file) if !file.is_file() => {
                return Err(refused(Trouble::NotAStore, "it is no regular file"));
            }
            Ok(file) if file.len() == 0 && !beside(path, "-wal").exists() => {
                return Err(refused(
                    Trouble::Missing,
                    "it is empty: nothing was stored yet",
                ));
            }
            Ok(_) => {}
            Err(error) => return Err(StoreError::io(path, Purpose::Read, &error)),
        }
        fs::File::open(path).map_err(|error| StoreError::io(path, Purpose::Read, &error))?;
        let (connection, state) = match opened(path, false) {
            // On a read-only disk a clean store lacks the index of a journal, and needs none.
            Err(error) if cannot_open(&error) && !has_journal(path) => opened(path, true),
            opened => opened,
        }
        .map_err(|error| StoreError::sqlite(path, Purpose::Read, &error))?;
        let version = |version| {
            format!(
                "its layout is {version}, this one knows {}",
                schema::VERSION
            )
        };
        match state {
            State::Current => Ok(Self {
                connection,
                path: path.to_path_buf(),
            }),
            State::Empty => Err(refused(Trouble::Missing, "nothing was stored yet")),
            State::Newer(newer) => Err(refused(Trouble::Newer, &version(newer))),
            State::Older(older) => Err(refused(Trouble::Older, &version(older))),
            State::Foreign => Err(refused(
                Trouble::NotAStore,
                "it is another program's database",
            )),
        }
    }

    /// The deaths that fit, the newest first, so many at the most; behind `after`, where that is
    /// given.
    pub fn list(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let plan = self.plan(filter)?;
        let mut found = Vec::new();
        for way in &plan.ways {
            found.extend(self.look(&plan, way, after, limit)?);
        }
        if plan.ways.len() > 1 {
            found.sort_by_key(|stored| {
                let at = stored.cursor;
                std::cmp::Reverse((at.time_ns, at.weight, at.key))
            });
            found.dedup_by(|left, right| left.cursor == right.cursor);
            found.truncate(limit);
        }
        Ok(found)
    }

    /// All deaths that fit, the newest first, one after the other until `take` says false. Takes
    /// little memory, and as long as `take` takes.
    pub fn each<E: From<StoreError>>(
        &self,
        filter: &Filter,
        limit: usize,
        mut take: impl FnMut(&Stored) -> Result<bool, E>,
    ) -> Result<usize, E> {
        let (mut after, mut taken) = (None, 0);
        while taken < limit {
            let part = self.list(filter, after, AT_A_TIME.min(limit - taken))?;
            let Some(last) = part.last() else {
                break;
            };
            after = Some(last.cursor);
            for stored in &part {
                taken += 1;
                if !take(stored)? {
                    return Ok(taken);
                }
            }
        }
        Ok(taken)
    }

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
    /// same unit, else of the same command in the same cgroup; and in the same role.
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
        const DAY_NS: i64 = 24 * 60 * 60 * 1_000_000_000;
        let Some((filter, time_ns)) = of_workload(death) else {
            return Ok(None);
        };
        let after = Filter {
            since_ns: Some(time_ns.saturating_add(1)),
            until_ns: Some(time_ns.saturating_add(DAY_NS)),
            ..filter
        };
        Ok(self.like(death, &after, usize::MAX)?.pop())
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
        let is_main = matches!(role, Some("container_init" | "unit_main"));
        let pod = death.container.as_ref();
        let pod = pod.and_then(|container| container.pod.as_deref());
        let mut same = Vec::new();
        self.each(filter, usize::MAX, |stored| {
            let fits = stored.role.as_deref() == role
                && (is_main || stored.comm == death.victim.comm)
                && stored.pod.as_deref().map(workload) == pod.map(workload)
                && stored.id != death.id;
            if fits {
                same.push(stored.clone());
            }
            Ok::<_, StoreError>(same.len() < limit)
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

    /// What is in the store.
    pub fn span(&self) -> Result<Span, StoreError> {
        self.one(
            "SELECT (SELECT count(*) FROM deaths), (SELECT min(time_ns) FROM deaths), (SELECT max(time_ns) FROM deaths)",
            &[],
            |row| {
                Ok(Span {
                    deaths: row.get::<_, i64>(0)?.unsigned_abs(),
                    first_ns: row.get(1)?,
                    last_ns: row.get(2)?,
                })
            },
        )
        .map(Option::unwrap_or_default)
    }

    /// How many deaths that fit are left out by the filter's roles. From `since_ns` on, and the
    /// filter's own if that is later.
    pub fn hidden(&self, filter: &Filter, since_ns: i64) -> Result<Hidden, StoreError> {
        if filter.roles == Roles::All {
            return Ok(Hidden::default());
        }
        let least = filter.roles.least_weight();
        let filter = Filter {
            since_ns: Some(
                filter
                    .since_ns
                    .map_or(since_ns, |since| since.max(since_ns)),
            ),
            roles: Roles::All,
            ..filter.clone()
        };
        let plan = self.plan(&filter)?;
        let mut hidden = Hidden::default();
        for way in &plan.ways {
            let sql = format!(
                "SELECT total(weight = {along}), total(weight = {helper}) FROM deaths AS d WHERE {} AND weight < {least}",
                plan.condition(way),
                along = weight::ALONG,
                helper = weight::HELPER,
                least = least.min(weight::OWN),
            );
            let counts = self.one(&sql, &plan.values(way), |row| {
                Ok((row.get::<_, f64>(0)? as u64, row.get::<_, f64>(1)? as u64))
            })?;
            let (along, helpers) = counts.unwrap_or_default();
            hidden.along = hidden.along.max(along);
            hidden.helpers = hidden.helpers.max(helpers);
        }
        Ok(hidden)
    }

    /// Whether a tracer watched at a moment.
    pub fn watched(&self, time_ns: i64) -> Result<Watched, StoreError> {
        const COLUMNS: &str =
            "SELECT boot_id, started_ns, seen_ns, stopped IS NOT NULL FROM watches";
        let watch = |rest: &str| {
            self.one(&format!("{COLUMNS} {rest}"), &[&time_ns], |row| {
                Ok(Watch {
                    boot_id: row.get(0)?,
                    started_ns: row.get(1)?,
                    seen_ns: row.get(2)?,
                    is_ended: row.get(3)?,
                })
            })
        };
        let by =
            watch("WHERE started_ns <= ?1 AND seen_ns >= ?1 ORDER BY started_ns DESC LIMIT 1")?;
        let (mut before, mut after) = (None, None);
        if by.is_none() {
            before = watch("WHERE seen_ns < ?1 ORDER BY seen_ns DESC LIMIT 1")?;
            after = watch("WHERE started_ns > ?1 ORDER BY started_ns LIMIT 1")?;
        }
        let lines: Vec<String> = self
            .connection
            .prepare_cached(
                "SELECT json FROM gaps WHERE to_ns >= ?1 AND from_ns <= ?1 ORDER BY to_ns LIMIT 100",
            )
            .and_then(|mut statement| {
                statement
                    .query_map([time_ns], |row| row.get(0))?
                    .collect::<rusqlite::Result<_>>()
            })
            .map_err(|error| self.failed(&error))?;
        let gaps = lines
            .iter()
            .filter_map(|line| match serde_json::from_str(line) {
                Ok(Record::Gap(gap)) => Some(gap),
                _ => None,
            })
            .collect();
        let deleted_until_ns = self.one(
            "SELECT value FROM meta WHERE name = 'deleted_until_ns'",
            &[],
            |row| row.get(0),
        )?;
        Ok(Watched {
            by,
            before,
            after,
            gaps,
            deleted_until_ns,
        })
    }

    fn look(
        &self,
        plan: &Plan,
        way: &Way,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let mut sql = format!("{SELECT} WHERE {}", plan.condition(way));
        let mut values = plan.values(way);
        let limit = limit_of(limit);
        if let Some(Cursor {
            time_ns,
            weight,
            key,
        }) = &after
        {
            let at = values.len();
            sql.push_str(&format!(
                " AND (d.time_ns, d.weight, d.key) < (?{}, ?{}, ?{})",
                at + 1,
                at + 2,
                at + 3
            ));
            values.extend([time_ns as &dyn ToSql, weight, key]);
        }
        sql.push_str(&format!(
            " ORDER BY d.time_ns DESC, d.weight DESC, d.key DESC LIMIT ?{}",
            values.len() + 1
        ));
        values.push(&limit);
        self.rows(&sql, &values)
    }

    fn rows(&self, sql: &str, values: &[&dyn ToSql]) -> Result<Vec<Stored>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Stored>> {
            self.connection
                .prepare_cached(sql)?
                .query_map(values, stored)?
                .collect()
        };
        read().map_err(|error| self.failed(&error))
    }

    fn one<T>(
        &self,
        sql: &str,
        values: &[&dyn ToSql],
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(values, read).optional())
            .map_err(|error| self.failed(&error))
    }

    fn exists(&self, column: &str, value: &str) -> Result<bool, StoreError> {
        let sql = format!("SELECT 1 FROM deaths WHERE {column} = ?1 LIMIT 1");
        let found = self.one(&sql, &[&value], |_| Ok(()))?;
        Ok(found.is_some())
    }

    fn failed(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::sqlite(&self.path, Purpose::Read, error)
    }

    /// How a filter is answered: each way has an index that gives its part in order.
    fn plan(&self, filter: &Filter) -> Result<Plan, StoreError> {
        let mut plan = Plan::new(filter);
        for target in &filter.targets {
            let ways = self.ways(target)?;
            plan.narrow(&ways);
        }
        Ok(plan)
    }

    /// The columns in which a target is found. A name goes before the start of an id.
    fn ways(&self, target: &Target) -> Result<Vec<Way>, StoreError> {
        let of_container = |name: &str| -> Result<Option<Way>, StoreError> {
            if self.exists("container", name)? {
                return Ok(Some(Way::is("container", name)));
            }
            Ok((name.len() >= ID_DIGITS).then(|| Way::begins("container_id", name)))
        };
        let of_pod = |namespace: Option<&str>, name: &str| -> Result<Way, StoreError> {
            if namespace.is_none() && self.exists("pod_uid", name)? {
                return Ok(Way::is("pod_uid", name));
            }
            let pod = Way::is("pod", name);
            Ok(match namespace {
                Some(namespace) => pod.and(Way::is("namespace", namespace)),
                None => pod,
            })
        };
        let of_unit = |name: &str| {
            if has_suffix(name, ".slice") {
                vec![Way::is("unit", name), Way::is("slice", name)]
            } else {
                vec![Way::is("unit", name)]
            }
        };
        Ok(match target {
            Target::Container(name) => match of_container(name)? {
                Some(way) => vec![way],
                None => vec![Way::is("container", name)],
            },
            Target::Pod { namespace, name } => vec![of_pod(namespace.as_deref(), name)?],
            Target::Unit(name) => of_unit(name),
            Target::Cgroup(path) => vec![
                Way::within("cgroup", path),
                Way::within("unified_cgroup", path),
            ],
            Target::Any(name) => {
                let (namespace, pod) = match name.split_once('/') {
                    Some((namespace, pod)) => (Some(namespace), pod),
                    None => (None, name.as_str()),
                };
                let mut ways = vec![of_pod(namespace, pod)?];
                ways.extend(of_container(name)?);
                if let Ok(Target::Unit(unit)) = Target::parse(&format!("unit:{name}")) {
                    ways.extend(of_unit(&unit));
                }
                ways
            }
        })
    }
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

fn has_suffix(name: &str, suffix: &str) -> bool {
    name.ends_with(suffix)
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

const SELECT: &str = "SELECT d.id, d.revision, d.final, d.time_ns, d.cause, d.mechanism, d.role, \
     d.pid, d.comm, d.container, d.container_id, d.pod, d.namespace, d.unit, d.cgroup, \
     d.caused_by, r.json, d.weight, d.key FROM deaths AS d JOIN records AS r ON r.key = d.key";

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let time_ns = row.get(3)?;
    Ok(Stored {
        id: row.get(0)?,
        revision: row.get(1)?,
        is_final: row.get(2)?,
        time_ns,
        cause: row.get(4)?,
        mechanism: row.get(5)?,
        role: row.get(6)?,
        pid: row.get(7)?,
        comm: row.get(8)?,
        container: row.get(9)?,
        container_id: row.get(10)?,
        pod: row.get(11)?,
        namespace: row.get(12)?,
        unit: row.get(13)?,
        cgroup: row.get(14)?,
        caused_by: row.get(15)?,
        json: row.get(16)?,
        cursor: Cursor {
            time_ns,
            weight: row.get(17)?,
            key: row.get(18)?,
        },
    })
}

/// Conditions that all must hold, each with its value: `?` stands for that.
#[derive(Clone, Debug, Default)]
struct Way(Vec<(String, Value)>);

impl Way {
    fn one(condition: String, value: impl Into<Value>) -> Self {
        Self(vec![(condition, value.into())])
    }

    fn is(column: &str, value: &str) -> Self {
        Self::one(format!("d.{column} = ?"), value.to_owned())
    }

    fn begins(column: &str, start: &str) -> Self {
        Self::one(format!("d.{column} >= ?"), start.to_owned()).and(Self::one(
            format!("d.{column} < ?"),
            format!("{start}\u{10ffff}"),
        ))
    }

    /// A cgroup and all below it.
    fn within(column: &str, path: &str) -> Self {
        if path == "/" {
            return Self::one(format!("d.{column} >= ?"), path.to_owned());
        }
        // `0` comes next after the slash.
        Self::one(format!("d.{column} >= ?"), path.to_owned())
            .and(Self::one(format!("d.{column} < ?"), format!("{path}0")))
            .and(Self::one(
                format!("(substr(d.{column}, length(?) + 1, 1) IN ('', '/'))"),
                path.to_owned(),
            ))
    }

    fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

/// What all ways have in common, and the ways.
struct Plan {
    common: Way,
    ways: Vec<Way>,
}

impl Plan {
    fn new(filter: &Filter) -> Self {
        let least = filter.roles.least_weight();
        let mut common = match filter.roles {
            // As the partial index has it.
            Roles::Main => Way::one("d.weight = 3 AND d.weight = ?".to_owned(), least),
            _ => Way::one("d.weight >= ?".to_owned(), least),
        };
        let texts = [
            ("namespace", filter.namespace.as_deref()),
            ("cause", filter.cause.map(Cause::name)),
            ("caused_by", filter.caused_by.as_deref()),
            ("comm", filter.command.as_deref()),
        ];
        for (column, value) in texts {
            if let Some(value) = value {
                common = common.and(Way::is(column, value));
            }
        }
        for (comparison, value) in [
            ("pid =", filter.pid.map(i64::from)),
            ("time_ns >=", filter.since_ns),
            ("time_ns <", filter.until_ns),
        ] {
            if let Some(value) = value {
                common = common.and(Way::one(format!("d.{comparison} ?"), value));
            }
        }
        Self {
            common,
            ways: vec![Way::default()],
        }
    }

    /// Each way so far, by each of these.
    fn narrow(&mut self, by: &[Way]) {
        self.ways = self
            .ways
            .iter()
            .flat_map(|way| by.iter().map(|by| way.clone().and(by.clone())))
            .collect();
    }

    /// All conditions of a way, their values numbered in order.
    fn condition(&self, way: &Way) -> String {
        let conditions = self.common.0.iter().chain(&way.0);
        let numbered: Vec<String> = conditions
            .enumerate()
            .map(|(at, (condition, _))| condition.replace('?', &format!("?{}", at + 1)))
            .collect();
        numbered.join(" AND ")
    }

    fn values<'a>(&'a self, way: &'a Way) -> Vec<&'a dyn ToSql> {
        let conditions = self.common.0.iter().chain(&way.0);
        conditions.map(|(_, value)| value as &dyn ToSql).collect()
    }
}

/// Opens without a change to anything; `is_still`: nobody else may change it either.
fn opened(path: &Path, is_still: bool) -> rusqlite::Result<(Connection, State)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if is_still {
        let uri = format!("file:{}?immutable=1", escaped(path));
        Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?
    } else {
        Connection::open_with_flags(path, flags)?
    };
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    let state = schema::state(&connection)?;
    Ok((connection, state))
}

/// A path as it stands in a URI.
fn escaped(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => text.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(*byte)),
            byte => text.push_str(&format!("%{byte:02x}")),
        }
    }
    text
}

fn cannot_open(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly)
    )
}

fn has_journal(path: &Path) -> bool {
    match fs::metadata(beside(path, "-wal")) {
        Ok(journal) => journal.len() > 0,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Deaths of the workload that this death is one of, and when it died. `None`: nothing tells which
/// that is.
fn of_workload(death: &Death) -> Option<(Filter, i64)> {
    let time_ns = super::row::parse_time(&death.time)?;
    let mut filter = Filter {
        roles: Roles::Own,
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
