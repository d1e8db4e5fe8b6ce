//! The connection that reads: what `list`, `show` and `why` ask. It changes nothing, needs no
//! lock, and keeps no snapshot open from one answer to the next, so that a slow reader never
//! keeps the writer's journal from being written back.

mod around;
mod bound;
mod glance;
mod open;
mod plan;
mod span;
#[cfg(test)]
mod tests;
mod watch;
mod way;

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension as _, Row, ToSql};

pub use self::{
    around::workload,
    glance::Glance,
    span::{Hidden, Span},
    watch::{Loss, Watch},
};
use self::{
    bound::Bound,
    glance::workload_of,
    plan::Plan,
    way::{Lead, Way},
};
use super::{
    error::{Purpose, StoreError},
    row::weight,
};
use crate::{
    identity::target::Target,
    provenance::record::{Cause, Death, Record},
};

/// So many deaths are read at a time where all are wanted: few at first, for that may do.
const FIRST: usize = 32;
const AT_A_TIME: usize = 256;
/// So long the newest of a large range are looked for along the time, before all of it is put in
/// order.
const ALONG_TIME: Duration = Duration::from_millis(20);

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
    /// Just this one, and none below it.
    pub cgroup: Option<String>,
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

    /// What tells which workload it is one of.
    #[must_use]
    pub fn glance(&self) -> Glance {
        Glance {
            key: self.cursor.key,
            time_ns: self.time_ns,
            is_main: self.cursor.weight == weight::MAIN,
            workload: workload_of(&[
                &self.container_id,
                &self.container,
                &self.namespace,
                &self.pod,
                &self.unit,
                &self.cgroup,
                &self.comm,
            ]),
        }
    }

    /// Where an answer goes on behind this one.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        self.cursor
    }
}

/// See the module.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    bound: Bound,
    path: std::path::PathBuf,
}

impl Reader {
    /// The deaths that fit, the newest first, so many at the most; behind `after`, where that is
    /// given.
    pub fn list(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        self.list_by(&self.plan(filter)?, after, limit)
    }

    fn list_by(
        &self,
        plan: &Plan,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let mut found = Vec::new();
        for way in &plan.ways {
            found.extend(self.look(plan, way, after, limit)?);
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

    /// Which revision of a death is there, and whether that is the last.
    pub fn revision(&self, id: &str) -> Result<Option<(u32, bool)>, StoreError> {
        self.one(
            "SELECT revision, final FROM deaths WHERE id = ?1",
            &[&id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
    }

    /// All deaths that fit, the newest first, one after the other until `take` says false. Takes
    /// little memory, and as long as `take` takes.
    pub fn each<E: From<StoreError>>(
        &self,
        filter: &Filter,
        limit: usize,
        mut take: impl FnMut(&Stored) -> Result<bool, E>,
    ) -> Result<usize, E> {
        let plan = self.plan(filter)?;
        let (mut after, mut taken) = (None, 0);
        let mut at_a_time = FIRST;
        while taken < limit {
            let part = self.list_by(&plan, after, at_a_time.min(limit - taken))?;
            at_a_time = (2 * at_a_time).min(AT_A_TIME);
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

    fn look(
        &self,
        plan: &Plan,
        way: &Way,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let mut values = plan.values(way);
        let limit = limit_of(limit);
        if let Some(Cursor {
            time_ns,
            weight,
            key,
        }) = &after
        {
            values.extend([time_ns as &dyn ToSql, weight, key]);
        }
        values.push(&limit);
        let is_behind = after.is_some();
        let look = || self.read(&plan.statement(way, is_behind), &values);
        let found = match way.lead {
            Lead::Wide(_) => match self.bound.until(Instant::now() + ALONG_TIME, look) {
                Ok(None) => self.read(&plan.sorted(way, is_behind), &values),
                Ok(Some(found)) => Ok(found),
                Err(error) => Err(error),
            },
            _ => look(),
        };
        found.map_err(|error| self.failed(&error))
    }

    fn read(&self, sql: &str, values: &[&dyn ToSql]) -> rusqlite::Result<Vec<Stored>> {
        self.connection
            .prepare_cached(sql)?
            .query_map(values, stored)?
            .collect()
    }

    /// Whether an answer since this was asked last is not whole, for lack of time.
    #[must_use]
    pub fn was_cut(&self) -> bool {
        self.bound.was_cut()
    }

    fn rows(&self, sql: &str, values: &[&dyn ToSql]) -> Result<Vec<Stored>, StoreError> {
        self.read(sql, values).map_err(|error| self.failed(&error))
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

    fn failed(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::sqlite(&self.path, Purpose::Read, error)
    }
}

const SELECT: &str = "SELECT d.id, d.revision, d.final, d.time_ns, d.cause, d.mechanism, d.role, \
     d.pid, d.comm, d.container, d.container_id, d.pod, d.namespace, d.unit, d.cgroup, \
     d.caused_by, r.json, d.weight, d.key FROM deaths AS d JOIN records AS r ON r.key = d.key";

const NEWEST_FIRST: &str = "ORDER BY d.time_ns DESC, d.weight DESC, d.key DESC";

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

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
