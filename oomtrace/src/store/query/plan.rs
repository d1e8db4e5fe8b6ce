//! How a filter is answered: each way has an index that gives its part in order.

use rusqlite::{ToSql, types::Value};

use super::{Filter, Reader, Roles};
use crate::{identity::target::Target, provenance::record::Cause, store::error::StoreError};

/// The start of a container's id that is long enough to be meant as one.
const ID_DIGITS: usize = 4;

impl Reader {
    /// How a filter is answered: each way has an index that gives its part in order.
    pub(super) fn plan(&self, filter: &Filter) -> Result<Plan, StoreError> {
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

    fn exists(&self, column: &str, value: &str) -> Result<bool, StoreError> {
        let sql = format!("SELECT 1 FROM deaths WHERE {column} = ?1 LIMIT 1");
        let found = self.one(&sql, &[&value], |_| Ok(()))?;
        Ok(found.is_some())
    }
}

/// Conditions that all must hold, each with its value: `?` stands for that.
#[derive(Clone, Debug, Default)]
pub(super) struct Way(Vec<(String, Value)>);

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

    /// Whether the index that gives it in order tells of container, pod and namespace, too.
    pub(super) fn is_of_names(&self) -> bool {
        let columns = ["d.pod = ?", "d.container = ?", "d.namespace = ?"];
        let mut conditions = self.0.iter().map(|(condition, _)| condition.as_str());
        conditions
            .next()
            .is_some_and(|first| columns[..2].contains(&first))
            && conditions.all(|other| columns.contains(&other))
    }

    fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// All its conditions, their values numbered in order, behind so many others.
    pub(super) fn condition(&self, behind: usize) -> String {
        let numbered: Vec<String> = self
            .0
            .iter()
            .enumerate()
            .map(|(at, (condition, _))| condition.replace('?', &format!("?{}", behind + at + 1)))
            .collect();
        numbered.join(" AND ")
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &dyn ToSql> {
        self.0.iter().map(|(_, value)| value as &dyn ToSql)
    }
}

/// What all ways have in common, and the ways.
pub(super) struct Plan {
    common: Way,
    pub(super) ways: Vec<Way>,
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
    pub(super) fn condition(&self, way: &Way) -> String {
        let parts = [self.common.condition(0), way.condition(self.common.0.len())];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(" AND ")
    }

    pub(super) fn values<'a>(&'a self, way: &'a Way) -> Vec<&'a dyn ToSql> {
        self.common.values().chain(way.values()).collect()
    }
}

fn has_suffix(name: &str, suffix: &str) -> bool {
    name.ends_with(suffix)
}
