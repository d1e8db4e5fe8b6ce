//! What goes, so that the store stays within its age and its size: the oldest first, in steps
//! so small that what comes in between is not kept waiting.

use std::{path::Path, time::Duration};

use rusqlite::Connection;

use super::{place::beside, schema};

/// How long deaths are kept.
pub const DEFAULT_DAYS: u32 = 30;
/// How much they may take.
pub const DEFAULT_SIZE_BYTES: u64 = 256 * MIB;
/// With less than this there is hardly room for the journal.
pub const LEAST_SIZE_BYTES: u64 = 16 * MIB;

const MIB: u64 = 1024 * 1024;
/// So many deaths go at a time: some milliseconds. Not fewer than come at a time.
const AT_A_TIME: i64 = 128;
/// So many free pages are given back at a time.
const PAGES_AT_A_TIME: i64 = 256;
/// A death and its place in the indexes change so much of the file, at the most.
const BYTES_A_DEATH: u64 = 48 * 1024;

/// How long deaths are kept, and how much they may take: file and journal together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub age: Duration,
    pub size_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            age: Duration::from_hours(u64::from(DEFAULT_DAYS) * 24),
            size_bytes: DEFAULT_SIZE_BYTES,
        }
    }
}

impl Limits {
    /// The journal is written back into the file when it has grown so far.
    pub(super) fn journal_bytes(self) -> u64 {
        (self.size_bytes / 32).clamp(MIB, 4 * MIB)
    }

    /// So far the journal may grow all the same: by what is committed at once on top of it.
    pub(super) fn most_journal_bytes(self) -> u64 {
        2 * self.journal_bytes()
    }

    /// So many records are committed at once.
    pub(super) fn batch(self) -> usize {
        usize::try_from(self.journal_bytes() / BYTES_A_DEATH).unwrap_or(1)
    }

    /// What is left for the file itself.
    fn file_bytes(self) -> u64 {
        // The index of the journal is small change: 32 KiB for each 16 MiB. What is committed at
        // once comes before what goes for it.
        let beside = self.most_journal_bytes() + self.journal_bytes() + 64 * 1024;
        self.size_bytes.saturating_sub(beside)
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) deleted: u64,
    /// Another one is due.
    pub(super) more: bool,
}

/// Takes one step; what is from before `oldest_ns` is too old.
pub(super) fn step(
    connection: &mut Connection,
    limits: Limits,
    oldest_ns: i64,
) -> rusqlite::Result<Step> {
    if let Some(step) = delete(connection, oldest_ns)? {
        return Ok(step);
    }
    let pages = Pages::of(connection)?;
    let most = pages.within(limits.file_bytes());
    if pages.used > most {
        return Ok(delete(connection, i64::MAX)?.unwrap_or_default());
    }
    // Free pages are used again; only where the file is too large do they leave it.
    if pages.all > most && pages.used < pages.all {
        give_back(connection)?;
        return Ok(Step {
            deleted: 0,
            more: true,
        });
    }
    Ok(Step::default())
}

struct Pages {
    all: i64,
    used: i64,
    bytes: i64,
}

impl Pages {
    fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |name: &str| -> rusqlite::Result<i64> {
            connection.pragma_query_value(None, name, |row| row.get(0))
        };
        let all = number("page_count")?;
        Ok(Self {
            all,
            used: all - number("freelist_count")?,
            bytes: number("page_size")?,
        })
    }

    fn within(&self, bytes: u64) -> i64 {
        i64::try_from(bytes).unwrap_or(i64::MAX) / self.bytes.max(1)
    }
}

/// Deletes a few of the oldest of what is from before a moment; `None`: there is nothing.
fn delete(connection: &mut Connection, before_ns: i64) -> rusqlite::Result<Option<Step>> {
    let keys: Vec<(i64, i64)> = connection
        .prepare_cached(
            "SELECT key, time_ns FROM deaths WHERE time_ns < ?1 ORDER BY time_ns LIMIT ?2",
        )?
        .query_map((before_ns, AT_A_TIME), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let Some((_, last_ns)) = keys.last().copied() else {
        let restarts = connection
            .prepare_cached(
                "DELETE FROM restarts WHERE of IN
                     (SELECT of FROM restarts WHERE time_ns < ?1 ORDER BY time_ns LIMIT ?2)",
            )?
            .execute((before_ns, AT_A_TIME))?;
        let gaps = connection
            .prepare_cached(
                "DELETE FROM gaps WHERE key IN
                     (SELECT key FROM gaps WHERE to_ns < ?1 ORDER BY to_ns LIMIT ?2)",
            )?
            .execute((before_ns, AT_A_TIME))?;
        // Of how full the file is, watches are no part to speak of.
        let watches = if before_ns == i64::MAX {
            0
        } else {
            connection
                .prepare_cached(
                    "DELETE FROM watches WHERE key IN
                         (SELECT key FROM watches WHERE seen_ns < ?1 ORDER BY seen_ns LIMIT ?2)",
                )?
                .execute((before_ns, AT_A_TIME))?
        };
        return Ok((restarts + gaps + watches > 0).then_some(Step {
            deleted: 0,
            more: true,
        }));
    };
    let transaction = connection.transaction()?;
    for (key, _) in &keys {
        for table in ["deaths", "records"] {
            transaction
                .prepare_cached(&format!("DELETE FROM {table} WHERE key = ?1"))?
                .execute([key])?;
        }
    }
    schema::count(&transaction, -(keys.len() as i64))?;
    // Of those times nothing more can be said, not even that nothing died.
    transaction.execute(
        "INSERT INTO meta (name, value) VALUES ('deleted_until_ns', ?1)
             ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
        [last_ns],
    )?;
    transaction.execute("DELETE FROM restarts WHERE time_ns < ?1", [last_ns])?;
    transaction.execute("DELETE FROM gaps WHERE to_ns < ?1", [last_ns])?;
    transaction.execute("DELETE FROM watches WHERE seen_ns < ?1", [last_ns])?;
    transaction.commit()?;
    Ok(Some(Step {
        deleted: keys.len() as u64,
        more: true,
    }))
}

/// Gives free pages back. They leave the file when the journal is written back into it, which is
/// not left to what comes next: that may be long in coming.
fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES_AT_A_TIME})"))?;
    // A page a row: it ends when all were stepped over.
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    drop(rows);
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// What the journal takes on the disk.
#[must_use]
pub(super) fn journal_bytes(path: &Path) -> u64 {
    std::fs::metadata(beside(path, "-wal")).map_or(0, |journal| journal.len())
}
