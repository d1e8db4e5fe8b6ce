//! What is in the store as a whole, and when a tracer watched.

use rusqlite::ToSql;

use super::{Filter, Reader, Roles, limit_of};
use crate::{
    provenance::record::{Gap, Record},
    store::{error::StoreError, row::weight},
};

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
    /// There may be more: no more were counted.
    pub is_least: bool,
}

/// No more are counted: a thousand take a millisecond or two.
const MOST_HIDDEN: u64 = 20_000;

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

impl Reader {
    /// What is in the store.
    pub fn span(&self) -> Result<Span, StoreError> {
        self.one(
            "SELECT coalesce((SELECT value FROM meta WHERE name = 'deaths'), 0), (SELECT min(time_ns) FROM deaths), (SELECT max(time_ns) FROM deaths)",
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
        for (at, way) in plan.ways.iter().enumerate() {
            let mut condition = plan.condition(way);
            let mut values = plan.values(way);
            let left = MOST_HIDDEN.saturating_sub(hidden.along + hidden.helpers);
            // What is found in a later way as well counts there.
            for later in plan.ways.iter().skip(at + 1) {
                let other = later.condition(values.len());
                condition.push_str(&format!(" AND ({other}) IS NOT TRUE"));
                values.extend(later.values());
            }
            let sql = format!(
                "SELECT total(weight = {along}), total(weight = {helper}) FROM
                     (SELECT d.weight FROM deaths AS d WHERE {condition} AND d.weight < {least} LIMIT {left})",
                along = weight::ALONG,
                helper = weight::HELPER,
                least = least.min(weight::OWN),
            );
            let counts = self.one(&sql, &values, |row| {
                Ok((row.get::<_, f64>(0)? as u64, row.get::<_, f64>(1)? as u64))
            })?;
            let (along, helpers) = counts.unwrap_or_default();
            hidden.along += along;
            hidden.helpers += helpers;
        }
        hidden.is_least = hidden.along + hidden.helpers >= MOST_HIDDEN;
        Ok(hidden)
    }

    /// The latest stretches that ended after a moment and in which nobody traced, the latest first.
    pub fn unwatched(&self, since_ns: i64, limit: usize) -> Result<Vec<Gap>, StoreError> {
        let limit = limit_of(limit);
        self.gaps(
            "WHERE lost = 0 AND to_ns > ?1 ORDER BY to_ns DESC LIMIT ?2",
            &[&since_ns, &limit],
        )
    }

    fn gaps(&self, which: &str, values: &[&dyn ToSql]) -> Result<Vec<Gap>, StoreError> {
        let read = || -> rusqlite::Result<Vec<String>> {
            self.connection
                .prepare_cached(&format!("SELECT json FROM gaps {which}"))?
                .query_map(values, |row| row.get(0))?
                .collect()
        };
        let lines = read().map_err(|error| self.failed(&error))?;
        let gap = |line: &String| match serde_json::from_str(line) {
            Ok(Record::Gap(gap)) => Some(gap),
            _ => None,
        };
        Ok(lines.iter().filter_map(gap).collect())
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
        let gaps = self.gaps(
            "WHERE to_ns >= ?1 AND from_ns <= ?1 ORDER BY to_ns LIMIT 100",
            &[&time_ns],
        )?;
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
}
