//! Deaths looked at in passing: without their records, so that very many can be.

use std::time::Instant;

use rusqlite::Row;

use super::{Filter, Lead, Reader, SELECT, Stored, workload};
use crate::store::{error::StoreError, row::weight};

/// How often the time is looked at.
const ROWS: usize = 64;

/// What tells which workload a death is one of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glance {
    pub(super) key: i64,
    pub time_ns: i64,
    /// A container or a unit ended with it.
    pub is_main: bool,
    /// What it is one of: the container by its name, in a pod and its like; the unit; or the
    /// command in its cgroup.
    pub workload: String,
}

impl Reader {
    /// All deaths that fit, the newest first, as far as there is time; and whether those are all.
    pub fn glances(
        &self,
        filter: &Filter,
        until: Instant,
    ) -> Result<(Vec<Glance>, bool), StoreError> {
        let plan = self.plan(filter)?;
        let mut found = Vec::new();
        let mut is_all = true;
        for (at, way) in plan.ways.iter().enumerate() {
            let columns = if way.is_of_names() {
                // All of them stand in the index.
                "NULL, d.container, d.namespace, d.pod, NULL, NULL, NULL"
            } else {
                "d.container_id, d.container, d.namespace, d.pod, d.unit, d.cgroup, d.comm"
            };
            let sql = format!(
                "SELECT d.key, d.time_ns, d.weight, {columns} FROM deaths AS d WHERE {}
                     ORDER BY d.time_ns DESC, d.weight DESC",
                match way.lead {
                    Lead::Wide(_) => plan.along_time(way),
                    _ => plan.condition(way),
                }
            );
            // Each has its part of the time that is left.
            let now = Instant::now();
            let ways = u32::try_from(plan.ways.len() - at).unwrap_or(u32::MAX);
            let until = now + until.saturating_duration_since(now) / ways;
            let look = |found: &mut Vec<Glance>| -> rusqlite::Result<bool> {
                let mut statement = self.connection.prepare_cached(&sql)?;
                let mut rows = statement.query(&*plan.values(way))?;
                let mut seen = 0;
                while let Some(row) = rows.next()? {
                    found.push(self.glance(row, way.is_of_names())?);
                    seen += 1;
                    if seen % ROWS == 0 && Instant::now() >= until {
                        return Ok(false);
                    }
                }
                Ok(true)
            };
            let is_whole = self.bound.until(until, || look(&mut found));
            is_all &= is_whole.map_err(|error| self.failed(&error))? == Some(true);
        }
        found.sort_by_key(|one| std::cmp::Reverse((one.time_ns, one.is_main, one.key)));
        found.dedup_by_key(|one| one.key);
        Ok((found, is_all))
    }

    fn glance(&self, row: &Row<'_>, is_of_names: bool) -> rusqlite::Result<Glance> {
        let key = row.get(0)?;
        let mut id: Option<String> = row.get(3)?;
        let container: Option<String> = row.get(4)?;
        if is_of_names && container.is_none() {
            // One whose name is not known goes by its id.
            id = self
                .connection
                .prepare_cached("SELECT container_id FROM deaths WHERE key = ?1")?
                .query_row([key], |row| row.get(0))?;
        } else if is_of_names {
            id = Some(String::new());
        }
        Ok(Glance {
            key,
            time_ns: row.get(1)?,
            is_main: row.get::<_, i64>(2)? == weight::MAIN,
            workload: workload_of(&[
                &id,
                &container,
                &row.get(5)?,
                &row.get(6)?,
                &row.get(7)?,
                &row.get(8)?,
                &row.get(9)?,
            ]),
        })
    }

    /// The death that was looked at; `None` if it has gone meanwhile.
    pub fn whole(&self, glance: &Glance) -> Result<Option<Stored>, StoreError> {
        let sql = format!("{SELECT} WHERE d.key = ?1");
        Ok(self.rows(&sql, &[&glance.key])?.pop())
    }
}

/// See [`Glance::workload`].
pub(super) fn workload_of(
    [
        container_id,
        container,
        namespace,
        pod,
        unit,
        cgroup,
        command,
    ]: &[&Option<String>; 7],
) -> String {
    let word = |text: &Option<String>| text.clone().unwrap_or_default();
    if let Some(id) = container_id {
        let name = container.as_ref().unwrap_or(id);
        let pods = pod.as_deref().map(workload).unwrap_or_default();
        return format!("container {} {pods} {name}", word(namespace));
    }
    match unit {
        Some(unit) => format!("unit {unit}"),
        None => format!("process {} {}", word(cgroup), word(command)),
    }
}
