//! What is in the store as a whole.

use super::{Filter, Reader, Roles};
use crate::store::{error::StoreError, row::weight};

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

    /// Of what is older nothing is kept: not even that nothing died.
    pub fn deleted_until_ns(&self) -> Result<Option<i64>, StoreError> {
        self.one(
            "SELECT value FROM meta WHERE name = 'deleted_until_ns'",
            &[],
            |row| row.get(0),
        )
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
}
