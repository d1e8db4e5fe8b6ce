//! When a tracer watched, and what it missed.

use rusqlite::ToSql;

use super::{Reader, limit_of};
use crate::{
    provenance::record::{Gap, Record},
    store::error::StoreError,
};

/// From when to when a tracer watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    pub boot_id: String,
    pub started_ns: i64,
    /// It was there then for the last time that was noted, which is done once a minute.
    pub seen_ns: i64,
    /// It ended of its own, with everything written. It may also be watching still.
    pub is_ended: bool,
    /// It has left its programs attached: the next one tells what they have seen.
    pub is_pinned: bool,
}

/// Events of one kind that were lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub kind: String,
    pub lost: u64,
    /// False: not so many need have been lost.
    pub is_certain: bool,
    /// In so many stretches, and from when to when those were.
    pub stretches: u64,
    pub from_ns: i64,
    pub to_ns: i64,
}

/// So many of the latest stretches with losses are looked at: a hundred thousand take longer than
/// anybody should wait.
const MOST_LOSSES: i64 = 10_000;

impl Reader {
    /// The latest stretches that ended after a moment and in which nobody traced, or of which not all
    /// was kept, the latest first.
    pub fn unwatched(&self, since_ns: i64, limit: usize) -> Result<Vec<Gap>, StoreError> {
        let limit = limit_of(limit);
        self.gaps(
            "WHERE lost = 0 AND to_ns > ?1 ORDER BY to_ns DESC LIMIT ?2",
            &[&since_ns, &limit],
        )
    }

    /// What was lost in stretches that ended after a moment, each kind by itself.
    pub fn losses(&self, since_ns: i64) -> Result<Vec<Loss>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Loss>> {
            self.connection
                .prepare_cached(
                    "SELECT json ->> 'kind' AS kind, certain, total(lost), count(*), min(from_ns), max(to_ns)
                         FROM (SELECT * FROM gaps WHERE lost > 0 AND to_ns > ?1 ORDER BY to_ns DESC LIMIT ?2)
                         GROUP BY kind, certain ORDER BY certain DESC, max(to_ns) DESC, kind",
                )?
                .query_map((since_ns, MOST_LOSSES), |row| {
                    Ok(Loss {
                        kind: row.get::<_, Option<String>>(0)?.unwrap_or_default(),
                        is_certain: row.get(1)?,
                        lost: row.get::<_, f64>(2)? as u64,
                        stretches: row.get::<_, i64>(3)?.unsigned_abs(),
                        from_ns: row.get(4)?,
                        to_ns: row.get(5)?,
                    })
                })?
                .collect()
        };
        read().map_err(|error| self.failed(&error))
    }

    /// The latest watches, the latest first.
    pub fn watches(&self, limit: usize) -> Result<Vec<Watch>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Watch>> {
            self.connection
                .prepare_cached(
                    "SELECT boot_id, started_ns, seen_ns, stopped FROM watches ORDER BY seen_ns DESC LIMIT ?1",
                )?
                .query_map([limit_of(limit)], |row| {
                    let stopped: Option<String> = row.get(3)?;
                    let end = stopped.as_deref().map(serde_json::from_str::<Record>);
                    Ok(Watch {
                        boot_id: row.get(0)?,
                        started_ns: row.get(1)?,
                        seen_ns: row.get(2)?,
                        is_ended: end.is_some(),
                        is_pinned: matches!(end, Some(Ok(Record::Stopped(end))) if end.pinned),
                    })
                })?
                .collect()
        };
        read().map_err(|error| self.failed(&error))
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
}
