//! The connection that writes. One process has it at a time: see [`super::place::Lock`].

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};

use super::{
    age::{Clock, Moment},
    error::{Purpose, StoreError, Trouble},
    place::{Lock, opening},
    retention::{self, Limits, Step},
    row::{Again, Begin, End, Item, Lost, Row, says_as_much},
    schema::{self, State},
};
use crate::provenance::record::Cause;

/// Other programs that have it locked are waited for so long: they have no business here.
const BUSY: Duration = Duration::from_millis(250);

/// What came of storing some records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// Deaths that were not there before.
    pub(super) new: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Db {
    // Closed before the lock is given up.
    connection: Connection,
    lock: Lock,
    limits: Limits,
    clock: Clock,
    path: std::path::PathBuf,
}

impl Db {
    /// Opens the store, and makes it where there is none.
    pub(super) fn open(path: &Path, limits: Limits) -> Result<Self, StoreError> {
        let lock = Lock::take(path)?;
        let failed = |error: rusqlite::Error| StoreError::sqlite(path, Purpose::Write, &error);
        let mut connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        let refused =
            |trouble, found: String| StoreError::new(path, Purpose::Write, trouble, found);
        // Before anything is written: whose file it is.
        let state = match schema::state(&connection) {
            Ok(state) => state,
            Err(error) => {
                drop(connection);
                return Err(opening(path, Purpose::Write, &error));
            }
        };
        match state {
            State::Empty | State::Current | State::Older(_) => {}
            State::Newer(version) => {
                let found = format!(
                    "its layout is {version}, this one knows {}",
                    schema::VERSION
                );
                return Err(refused(Trouble::Newer, found));
            }
            State::Foreign => {
                let found = "it is another program's database".to_owned();
                return Err(refused(Trouble::NotAStore, found));
            }
        }
        set_up(&connection, state, limits).map_err(failed)?;
        match state {
            State::Empty => schema::bring_up(&mut connection, 0).map_err(failed)?,
            State::Older(version) => {
                schema::bring_up(&mut connection, version).map_err(failed)?;
            }
            _ => {}
        }
        Ok(Self {
            connection,
            lock,
            limits,
            clock: Clock::default(),
            path: path.to_path_buf(),
        })
    }

    fn failed(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::sqlite(&self.path, Purpose::Write, error)
    }

    /// Stores some records, all or none, so that a loss of power does not take them.
    pub(super) fn store<'a>(
        &mut self,
        items: impl Iterator<Item = &'a Item>,
        watch: &mut Option<Begin>,
    ) -> Result<Stored, StoreError> {
        self.check()?;
        let stored =
            commit(&mut self.connection, items, watch).map_err(|error| self.failed(&error));
        // A file that was removed takes what was committed along with it.
        match stored {
            Ok(stored) => self.check_place().map(|()| stored),
            Err(error) => Err(error),
        }
    }

    /// Takes note that the tracer is watching.
    pub(super) fn seen(&mut self, watch: &Begin, now_ns: i64) -> Result<(), StoreError> {
        self.check()?;
        let seen = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            begin(&transaction, watch)?;
            transaction
                .prepare_cached(
                    "UPDATE watches SET seen_ns = max(seen_ns, ?3) WHERE started_ns = ?1 AND boot_id = ?2",
                )?
                .execute(params![watch.time_ns, watch.boot_id, now_ns])?;
            transaction.commit()
        };
        seen(&mut self.connection).map_err(|error| self.failed(&error))
    }

    /// One step towards age and size: see [`retention`].
    pub(super) fn trim(&mut self, now: Moment) -> Result<Step, StoreError> {
        self.check()?;
        self.clock
            .oldest_ns(&self.connection, now, self.limits.age)
            .and_then(|oldest_ns| retention::step(&mut self.connection, self.limits, oldest_ns))
            .map_err(|error| StoreError::sqlite(&self.path, Purpose::Write, &error))
    }

    /// Whether it is still worth writing to.
    fn check(&self) -> Result<(), StoreError> {
        self.check_place()?;
        let most = self.limits.most_journal_bytes();
        if retention::journal_bytes(&self.path) <= most {
            return Ok(());
        }
        // It was not written back by itself: try without waiting.
        let write_back = || -> rusqlite::Result<()> {
            self.connection.busy_timeout(Duration::ZERO)?;
            let done = self
                .connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            self.connection.busy_timeout(BUSY)?;
            done
        };
        write_back().map_err(|error| self.failed(&error))?;
        let now = retention::journal_bytes(&self.path);
        if now <= most {
            return Ok(());
        }
        let found = format!("its journal has grown to {now} bytes and cannot be written back");
        Err(StoreError::new(
            &self.path,
            Purpose::Write,
            Trouble::Held,
            found,
        ))
    }

    fn check_place(&self) -> Result<(), StoreError> {
        if self.lock.is_in_place(&self.path) {
            return Ok(());
        }
        Err(StoreError::new(
            &self.path,
            Purpose::Write,
            Trouble::Missing,
            "it was removed or replaced",
        ))
    }
}

/// Settings of the connection, and of the file where it is new.
fn set_up(connection: &Connection, state: State, limits: Limits) -> rusqlite::Result<()> {
    if state == State::Empty {
        // Cannot be changed once there are tables.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    // Readers go on while it writes, and a commit is one write and one fsync.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // FULL: the journal is flushed at each commit. With NORMAL that would be left to the next
    // checkpoint, and a loss of power would take all deaths since the last one.
    connection.pragma_update(None, "synchronous", "FULL")?;
    let page_bytes: u64 = connection
        .pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?
        .unsigned_abs()
        .max(512);
    let journal_bytes = limits.journal_bytes();
    let set = |name: &str, value: u64| {
        connection.pragma_update_and_check(None, name, value as i64, |_| Ok(()))
    };
    set("wal_autocheckpoint", journal_bytes / page_bytes)?;
    set("journal_size_limit", journal_bytes)?;
    // What cannot be right in the file is said, not worked with.
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)
}

fn commit<'a>(
    connection: &mut Connection,
    items: impl Iterator<Item = &'a Item>,
    watch: &mut Option<Begin>,
) -> rusqlite::Result<Stored> {
    let transaction = connection.transaction()?;
    let mut stored = Stored::default();
    for item in items {
        match item {
            Item::Death(row) => stored.new += u64::from(death(&transaction, row)?),
            Item::Restart(again) => restart(&transaction, again)?,
            Item::Started(started) => {
                let started = resumed(&transaction, started)?;
                begin(&transaction, &started)?;
                *watch = Some(started);
            }
            Item::Gap(lost) => gap(&transaction, lost)?,
            Item::Stopped(stopped) => {
                if let Some(watch) = watch {
                    begin(&transaction, watch)?;
                    end(&transaction, watch, stopped)?;
                }
            }
        }
    }
    if stored.new > 0 {
        schema::count(&transaction, i64::try_from(stored.new).unwrap_or(i64::MAX))?;
    }
    transaction.commit()?;
    Ok(stored)
}

/// Stores a death, unless what is stored says as much or more. True if it was not there.
fn death(transaction: &Transaction<'_>, row: &Row) -> rusqlite::Result<bool> {
    let before: Option<(i64, u32, bool, String)> = transaction
        .prepare_cached("SELECT key, revision, final, cause FROM deaths WHERE id = ?1")?
        .query_row([&row.id], |found| {
            Ok((found.get(0)?, found.get(1)?, found.get(2)?, found.get(3)?))
        })
        .optional()?;
    let unknown = Cause::Unknown.name();
    match &before {
        Some((_, revision, is_final, _))
            if says_as_much((*revision, *is_final), row.revision, row.is_final) =>
        {
            return Ok(false);
        }
        // Whoever came later has seen the end alone: what is known of the death stays.
        Some((key, _, _, cause)) if row.cause == unknown && cause != unknown => {
            if row.is_final {
                set_final(transaction, *key)?;
            }
            return Ok(false);
        }
        _ => {}
    }
    let key = before.as_ref().map(|(key, ..)| *key);
    // The key of an older revision stays; without one it is the next.
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO deaths (
                 key, id, revision, final, time_ns, weight, boot_id, cause, mechanism, role, pid,
                 comm, container, container_id, pod, pod_uid, namespace, unit, slice, cgroup,
                 unified_cgroup, caused_by
             ) VALUES (
                 ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,
                 ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,
                 ?21, ?22
             )",
        )?
        .execute(params![
            key,
            row.id,
            row.revision,
            row.is_final,
            row.time_ns,
            row.weight,
            row.boot_id,
            row.cause,
            row.mechanism,
            row.role,
            row.pid,
            row.comm,
            row.container,
            row.container_id,
            row.pod,
            row.pod_uid,
            row.namespace,
            row.unit,
            row.slice,
            row.cgroup,
            row.unified_cgroup,
            row.caused_by,
        ])?;
    let key = key.unwrap_or_else(|| transaction.last_insert_rowid());
    transaction
        .prepare_cached("INSERT OR REPLACE INTO records (key, json) VALUES (?1, ?2)")?
        .execute(params![key, row.json])?;
    Ok(before.is_none())
}

/// No more is going to be known of a death.
fn set_final(transaction: &Transaction<'_>, key: i64) -> rusqlite::Result<()> {
    for sql in [
        "UPDATE deaths SET final = 1 WHERE key = ?1",
        "UPDATE records SET json = json_set(json, '$.final', json('true')) WHERE key = ?1",
    ] {
        transaction.prepare_cached(sql)?.execute([key])?;
    }
    Ok(())
}

/// The watch that a tracer goes on with, where it goes on with one. Since when that one has watched
/// is worked out anew by each tracer from two clocks, and is never twice the same.
fn resumed(transaction: &Transaction<'_>, started: &Begin) -> rusqlite::Result<Begin> {
    /// It is noted once a minute that a tracer watches.
    const NOTED_NS: i64 = 60 * 1_000_000_000;
    let mut started = started.clone();
    if started.is_resumed {
        let before = transaction
            .prepare_cached(
                "SELECT started_ns FROM watches WHERE boot_id = ?1 AND seen_ns >= ?2 AND started_ns <= ?3
                     ORDER BY started_ns DESC LIMIT 1",
            )?
            .query_row(
                params![
                    started.boot_id,
                    started.time_ns.saturating_sub(NOTED_NS),
                    started.seen_ns
                ],
                |row| row.get(0),
            )
            .optional()?;
        started.time_ns = before.unwrap_or(started.time_ns);
    }
    Ok(started)
}

fn begin(transaction: &Transaction<'_>, started: &Begin) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO watches (boot_id, started_ns, seen_ns, started) VALUES (?1, ?2, ?4, ?3)
                 ON CONFLICT DO UPDATE SET seen_ns = max(seen_ns, ?4), stopped = NULL WHERE ?4 > seen_ns",
        )?
        .execute(params![
            started.boot_id,
            started.time_ns,
            started.json,
            started.seen_ns
        ])
        .map(drop)
}

fn end(transaction: &Transaction<'_>, watch: &Begin, stopped: &End) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE watches SET seen_ns = max(seen_ns, ?3), stopped = ?4 WHERE started_ns = ?1 AND boot_id = ?2",
        )?
        .execute(params![
            watch.time_ns,
            watch.boot_id,
            stopped.time_ns,
            stopped.json
        ])
        .map(drop)
}

/// Each death has one at the most: the first.
fn restart(transaction: &Transaction<'_>, again: &Again) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR IGNORE INTO restarts (of, time_ns, json) VALUES (?1, ?2, ?3)")?
        .execute(params![again.of, again.time_ns, again.json])
        .map(drop)
}

fn gap(transaction: &Transaction<'_>, lost: &Lost) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO gaps (from_ns, to_ns, certain, lost, json) SELECT ?1, ?2, ?3, ?4, ?5
                 WHERE NOT EXISTS (
                     SELECT 1 FROM gaps WHERE to_ns = ?2 AND from_ns = ?1 AND json = ?5
                 )",
        )?
        .execute(params![
            lost.from_ns,
            lost.to_ns,
            lost.certain,
            i64::try_from(lost.count).unwrap_or(i64::MAX),
            lost.json
        ])
        .map(drop)
}
