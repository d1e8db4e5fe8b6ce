//! What is stored instead of deaths that are not: a gap that says how many, and of when.

use super::row::Row;
use crate::provenance::{
    record::{Gap, SCHEMA, UNKEPT},
    rfc3339,
};

/// Deaths that found no room in memory while the disk took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unkept {
    pub(super) deaths: usize,
    /// Of the first and the last of them: since 1970, and since boot.
    first: (i64, u64),
    last: (i64, u64),
}

impl Unkept {
    pub(super) fn of(row: &Row) -> Self {
        let died = (row.time_ns, row.boottime_ns);
        Self {
            deaths: 1,
            first: died,
            last: died,
        }
    }

    /// These and others.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            deaths: self.deaths + other.deaths,
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }

    /// What is stored instead of them.
    pub(super) fn gap(self) -> Gap {
        let deaths = match self.deaths {
            1 => "1 death".to_owned(),
            deaths => format!("{deaths} deaths"),
        };
        Gap {
            schema: SCHEMA,
            lost: 0,
            kind: UNKEPT.to_owned(),
            cpu: None,
            from: rfc3339(self.first.0.into()),
            to: rfc3339(self.last.0.into()),
            from_boottime_ns: self.first.1,
            to_boottime_ns: self.last.1,
            certain: false,
            why: format!(
                "the store could not be written, and {deaths} found no room in memory until it could"
            ),
            inferred: Vec::new(),
        }
    }
}
