//! Tables and indexes, and the way from each version of them to the next.
//!
//! `deaths` has what is searched, a few hundred bytes a death, so that a search reads little;
//! `records` has the record itself. All that is asked for comes newest first, hence
//! `(…, time_ns, weight)` at the end of each index: `weight` tells what most people do not want
//! to see (see [`super::row`]) without a look into the table.

use rusqlite::{Connection, Transaction};

/// `oomt`: in the header of each file of ours.
pub(super) const APPLICATION_ID: i32 = 0x6f6f_6d74;

/// What leads from one version to the next. One that was released is never changed.
const STEPS: &[&str] = &["
    CREATE TABLE deaths (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        revision INTEGER NOT NULL,
        final INTEGER NOT NULL,
        time_ns INTEGER NOT NULL,
        weight INTEGER NOT NULL,
        boot_id TEXT NOT NULL,
        cause TEXT NOT NULL,
        mechanism TEXT NOT NULL,
        role TEXT,
        pid INTEGER NOT NULL,
        comm TEXT,
        container TEXT,
        container_id TEXT,
        pod TEXT,
        pod_uid TEXT,
        namespace TEXT,
        unit TEXT,
        slice TEXT,
        cgroup TEXT,
        unified_cgroup TEXT,
        caused_by TEXT
    ) STRICT;
    CREATE TABLE records (
        key INTEGER PRIMARY KEY,
        json TEXT NOT NULL
    ) STRICT;
    CREATE INDEX deaths_time ON deaths (time_ns, weight);
    CREATE INDEX deaths_main ON deaths (time_ns) WHERE weight = 3;
    CREATE INDEX deaths_cause ON deaths (cause, time_ns, weight);
    CREATE INDEX deaths_pid ON deaths (pid, time_ns, weight);
    CREATE INDEX deaths_comm ON deaths (comm, time_ns, weight);
    CREATE INDEX deaths_container ON deaths (container, time_ns, weight) WHERE container IS NOT NULL;
    CREATE INDEX deaths_container_id ON deaths (container_id, time_ns, weight) WHERE container_id IS NOT NULL;
    CREATE INDEX deaths_pod ON deaths (pod, time_ns, weight) WHERE pod IS NOT NULL;
    CREATE INDEX deaths_pod_uid ON deaths (pod_uid, time_ns, weight) WHERE pod_uid IS NOT NULL;
    CREATE INDEX deaths_namespace ON deaths (namespace, time_ns, weight) WHERE namespace IS NOT NULL;
    CREATE INDEX deaths_unit ON deaths (unit, time_ns, weight) WHERE unit IS NOT NULL;
    CREATE INDEX deaths_slice ON deaths (slice, time_ns, weight) WHERE slice IS NOT NULL;
    CREATE INDEX deaths_cgroup ON deaths (cgroup) WHERE cgroup IS NOT NULL;
    CREATE INDEX deaths_unified ON deaths (unified_cgroup) WHERE unified_cgroup IS NOT NULL;
    CREATE INDEX deaths_caused_by ON deaths (caused_by) WHERE caused_by IS NOT NULL;
    CREATE TABLE watches (
        key INTEGER PRIMARY KEY,
        boot_id TEXT NOT NULL,
        started_ns INTEGER NOT NULL,
        seen_ns INTEGER NOT NULL,
        started TEXT NOT NULL,
        stopped TEXT,
        UNIQUE (started_ns, boot_id)
    ) STRICT;
    CREATE TABLE gaps (
        key INTEGER PRIMARY KEY,
        from_ns INTEGER NOT NULL,
        to_ns INTEGER NOT NULL,
        certain INTEGER NOT NULL,
        lost INTEGER NOT NULL,
        json TEXT NOT NULL
    ) STRICT;
    CREATE INDEX gaps_to ON gaps (to_ns);
    CREATE TABLE meta (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    // What tells the workloads of a pod and of a container's name from each other, without a look
    // into the table.
    "
    DROP INDEX deaths_pod;
    DROP INDEX deaths_container;
    CREATE INDEX deaths_pod ON deaths (pod, time_ns, weight, container, namespace) WHERE pod IS NOT NULL;
    CREATE INDEX deaths_container ON deaths (container, time_ns, weight, namespace, pod) WHERE container IS NOT NULL;
",
    // Each index gives its deaths in order, those of a cgroup and of a cause among them; and tells
    // the cause, which is asked for together with the others.
    "
    DROP INDEX deaths_pod;
    DROP INDEX deaths_container;
    DROP INDEX deaths_namespace;
    DROP INDEX deaths_unit;
    DROP INDEX deaths_slice;
    DROP INDEX deaths_cgroup;
    DROP INDEX deaths_unified;
    DROP INDEX deaths_caused_by;
    CREATE INDEX deaths_pod ON deaths (pod, time_ns, weight, container, namespace, cause) WHERE pod IS NOT NULL;
    CREATE INDEX deaths_container ON deaths (container, time_ns, weight, namespace, pod, cause) WHERE container IS NOT NULL;
    CREATE INDEX deaths_namespace ON deaths (namespace, time_ns, weight, cause) WHERE namespace IS NOT NULL;
    CREATE INDEX deaths_unit ON deaths (unit, time_ns, weight, cause) WHERE unit IS NOT NULL;
    CREATE INDEX deaths_slice ON deaths (slice, time_ns, weight, cause) WHERE slice IS NOT NULL;
    CREATE INDEX deaths_cgroup ON deaths (cgroup, time_ns, weight) WHERE cgroup IS NOT NULL;
    CREATE INDEX deaths_unified ON deaths (unified_cgroup, time_ns, weight) WHERE unified_cgroup IS NOT NULL;
    CREATE INDEX deaths_caused_by ON deaths (caused_by, time_ns, weight) WHERE caused_by IS NOT NULL;
    CREATE INDEX watches_seen ON watches (seen_ns);
",
    // When what a death ended ran again.
    "
    CREATE TABLE restarts (
        of TEXT PRIMARY KEY,
        time_ns INTEGER NOT NULL,
        json TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX restarts_time ON restarts (time_ns);
"];

/// The version that this program writes.
pub(super) const VERSION: i32 = STEPS.len() as i32;

/// What a file turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is in it.
    Empty,
    /// Of this version.
    Current,
    Older(i32),
    Newer(i32),
    /// Another program's database.
    Foreign,
}

/// What is in a file.
pub(super) fn state(connection: &Connection) -> rusqlite::Result<State> {
    let number = |name: &str| -> rusqlite::Result<i32> {
        connection.pragma_query_value(None, name, |row| row.get(0))
    };
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let (application, version) = (number("application_id")?, number("user_version")?);
    Ok(match (application, version) {
        (0, 0) if tables == 0 => State::Empty,
        (APPLICATION_ID, VERSION) => State::Current,
        (APPLICATION_ID, version) if version > VERSION => State::Newer(version),
        (APPLICATION_ID, version) => State::Older(version),
        _ => State::Foreign,
    })
}

/// Takes note of how many deaths came or went: to count them is to read an index as a whole.
pub(super) fn count(transaction: &Transaction<'_>, more: i64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO meta (name, value) VALUES ('deaths', ?1)
                 ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        )?
        .execute([more])
        .map(drop)
}

/// Brings a file up to date.
pub(super) fn bring_up(connection: &mut Connection, from: i32) -> rusqlite::Result<()> {
    bring_up_by(connection, from, STEPS)
}

/// All steps are one transaction: a file is of one version or another, never between.
fn bring_up_by(connection: &mut Connection, from: i32, steps: &[&str]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for step in steps.iter().skip(usize::try_from(from).unwrap_or_default()) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", steps.len() as i32)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> Connection {
        Connection::open_in_memory().unwrap()
    }

    #[test]
    fn a_new_file_gets_all_steps() {
        let mut connection = opened();
        assert_eq!(state(&connection).unwrap(), State::Empty);
        bring_up(&mut connection, 0).unwrap();
        assert_eq!(state(&connection).unwrap(), State::Current);
    }

    #[test]
    fn an_older_file_gets_what_it_lacks_and_keeps_what_it_has() {
        let steps = ["CREATE TABLE a (x)", "ALTER TABLE a ADD COLUMN y DEFAULT 7"];
        let mut connection = opened();
        bring_up_by(&mut connection, 0, &steps[..1]).unwrap();
        connection.execute("INSERT INTO a VALUES (1)", []).unwrap();
        bring_up_by(&mut connection, 1, &steps).unwrap();
        let row: (i32, i32) = connection
            .query_row("SELECT x, y FROM a", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(row, (1, 7));
    }

    #[test]
    fn a_step_that_fails_leaves_the_file_as_it_was() {
        let mut connection = opened();
        bring_up_by(&mut connection, 0, &["CREATE TABLE a (x)"]).unwrap();
        let steps = ["CREATE TABLE a (x)", "CREATE TABLE b (x)", "nonsense"];
        bring_up_by(&mut connection, 1, &steps).unwrap_err();
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap();
        let version: i32 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!((tables, version), (1, 1));
    }

    #[test]
    fn what_others_made_is_told_apart() {
        let connection = opened();
        connection.execute("CREATE TABLE a (x)", []).unwrap();
        assert_eq!(state(&connection).unwrap(), State::Foreign);
        let mut connection = opened();
        bring_up(&mut connection, 0).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        assert_eq!(state(&connection).unwrap(), State::Newer(99));
    }
}
