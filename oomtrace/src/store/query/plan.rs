//! How a filter is answered: each way has an index that gives its part in order.

use rusqlite::ToSql;

use super::{
    Filter, NEWEST_FIRST, Reader, Roles, SELECT,
    way::{Lead, MANY, Measured, Part, Way, lead_of},
};
use crate::{identity::target::Target, provenance::record::Cause, store::error::StoreError};

/// The start of a container's id that is long enough to be meant as one.
const ID_DIGITS: usize = 4;

impl Reader {
    /// How a filter is answered: each way has an index that gives its part in order.
    pub(super) fn plan(&self, filter: &Filter) -> Result<Plan, StoreError> {
        let mut plan = Plan::new(filter);
        for (number, target) in filter.targets.iter().enumerate() {
            let ways = self.ways(target)?;
            plan.narrow(&ways, number);
        }
        self.led(plan)
    }

    /// The deaths with ids from one to another.
    pub(super) fn plan_of_ids(&self, from: &str, to: &str) -> Result<Plan, StoreError> {
        let filter = Filter {
            roles: Roles::All,
            ..Filter::default()
        };
        let mut plan = Plan::new(&filter);
        plan.narrow(&[Way::between("id", from, to)], 0);
        self.led(plan)
    }

    /// Finds out what leads best.
    fn led(&self, mut plan: Plan) -> Result<Plan, StoreError> {
        let mut leads = Vec::new();
        for way in &plan.ways {
            let parts = plan.parts(way);
            let is_clear = matches!(parts.as_slice(), [(_, false)]);
            let mut measured = Vec::new();
            for (part, is_range) in parts {
                let of_part = plan.of_part(way, part, is_range);
                let count = if is_clear { 0 } else { self.count(&of_part)? };
                measured.push(Measured {
                    part,
                    is_range,
                    count,
                });
            }
            leads.push(lead_of(&measured));
        }
        for (way, lead) in plan.ways.iter_mut().zip(leads) {
            way.lead = lead;
        }
        Ok(plan)
    }

    /// How many there are in an index.
    fn count(&self, way: &Way) -> Result<i64, StoreError> {
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM deaths AS d WHERE {} LIMIT {MANY})",
            way.condition(0)
        );
        let values: Vec<&dyn ToSql> = way.values().collect();
        Ok(self
            .one(&sql, &values, |row| row.get(0))?
            .unwrap_or_default())
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
                Some(namespace) => pod.and(Way::of("+d.namespace = ?".to_owned(), namespace)),
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
            Target::Cgroup(path) => Way::within(path),
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

/// In which order deaths are wanted from an index, or that they are put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// What leads through them.
    Lead,
    /// The time alone.
    Time,
    /// A range of values, whatever their order.
    Range,
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
            Roles::Main => Way::one(
                Part::Weight,
                "d.weight = 3 AND d.weight = ?".to_owned(),
                least,
            ),
            _ => Way::one(Part::Weight, "d.weight >= ?".to_owned(), least),
        };
        if let Some(pid) = filter.pid {
            common = common.and(Way::one(
                Part::Column("pid"),
                "d.pid = ?".to_owned(),
                i64::from(pid),
            ));
        }
        let texts = [
            ("caused_by", filter.caused_by.as_deref()),
            ("cgroup", filter.cgroup.as_deref()),
            ("comm", filter.command.as_deref()),
            ("namespace", filter.namespace.as_deref()),
            ("cause", filter.cause.map(Cause::name)),
        ];
        for (column, value) in texts {
            if let Some(value) = value {
                let text = format!("d.{column} = ?");
                common = common.and(Way::one(Part::Column(column), text, value.to_owned()));
            }
        }
        for (comparison, value) in [(">=", filter.since_ns), ("<", filter.until_ns)] {
            if let Some(value) = value {
                let text = format!("d.time_ns {comparison} ?");
                common = common.and(Way::one(Part::Time, text, value));
            }
        }
        Self {
            common,
            ways: vec![Way::default()],
        }
    }

    /// Each way so far, by each of these.
    fn narrow(&mut self, by: &[Way], number: usize) {
        let by: Vec<Way> = by.iter().map(|by| by.clone().of_target(number)).collect();
        self.ways = self
            .ways
            .iter()
            .flat_map(|way| by.iter().map(|by| way.clone().and(by.clone())))
            .collect();
    }

    /// All conditions of a way, their values numbered in order.
    pub(super) fn condition(&self, way: &Way) -> String {
        self.conditions(way, By::Lead)
    }

    /// The same for a look along the time, whatever leads.
    pub(super) fn along_time(&self, way: &Way) -> String {
        self.conditions(way, By::Time)
    }

    /// The same where what is found is put in order afterwards.
    pub(super) fn unordered(&self, way: &Way) -> String {
        self.conditions(way, By::Range)
    }

    /// What reads deaths with their records in order, at the most as many as the last value says;
    /// `is_behind`: behind a moment, a weight and a key, which are the values before that.
    pub(super) fn statement(&self, way: &Way, is_behind: bool) -> String {
        match way.lead {
            Lead::Sorted(_) => self.sorted(way, is_behind),
            // With the values at hand, SQLite would rather put the whole range in order.
            Lead::Wide(_) => self
                .in_order(way, &self.along_time(way), is_behind)
                .replacen("deaths AS d", "deaths AS d INDEXED BY deaths_time", 1),
            Lead::Time | Lead::Ordered(_) => self.in_order(way, &self.condition(way), is_behind),
        }
    }

    fn in_order(&self, way: &Way, condition: &str, is_behind: bool) -> String {
        let (behind, limit) = self.cut(way, is_behind);
        format!("{SELECT} WHERE {condition}{behind} {NEWEST_FIRST} {limit}")
    }

    /// The same where what leads is a range. Only what tells the order is put in order; the
    /// records are joined to what is left.
    pub(super) fn sorted(&self, way: &Way, is_behind: bool) -> String {
        let (behind, limit) = self.cut(way, is_behind);
        format!(
            "{SELECT} WHERE d.key IN (
                 SELECT d.key FROM deaths AS d WHERE {}{behind}
                     ORDER BY +d.time_ns DESC, d.weight DESC, d.key DESC {limit}
             ) {NEWEST_FIRST}",
            self.unordered(way)
        )
    }

    /// Where an answer begins and ends.
    fn cut(&self, way: &Way, is_behind: bool) -> (String, String) {
        let at = self.common.conditions.len() + way.conditions.len();
        if !is_behind {
            return (String::new(), format!("LIMIT ?{}", at + 1));
        }
        let behind = format!(
            " AND (d.time_ns, d.weight, d.key) < (?{}, ?{}, ?{})",
            at + 1,
            at + 2,
            at + 3
        );
        (behind, format!("LIMIT ?{}", at + 4))
    }

    fn conditions(&self, way: &Way, by: By) -> String {
        let leads = |part: Part| match (part, by) {
            (Part::Weight | Part::Time, By::Lead | By::Time) => true,
            (part, By::Lead | By::Range) => way.lead.part() == Some(part),
            _ => false,
        };
        let all = self.common.conditions.iter().chain(&way.conditions);
        let numbered: Vec<String> = all
            .enumerate()
            .map(|(at, condition)| condition.numbered(at, leads(condition.part)))
            .collect();
        numbered.join(" AND ")
    }

    pub(super) fn values<'a>(&'a self, way: &'a Way) -> Vec<&'a dyn ToSql> {
        self.common.values().chain(way.values()).collect()
    }

    /// What may lead through the deaths of a way.
    fn parts(&self, way: &Way) -> Vec<(Part, bool)> {
        let mut parts: Vec<(Part, bool)> = Vec::new();
        for condition in way.conditions.iter().chain(&self.common.conditions) {
            let part = condition.part;
            if matches!(part, Part::Weight | Part::Time) {
                continue;
            }
            match parts.iter_mut().find(|(other, _)| *other == part) {
                Some((_, is_range)) => *is_range |= condition.is_range(),
                None => parts.push((part, condition.is_range())),
            }
        }
        parts
    }

    /// The conditions of a part, and the time where its index has that next.
    fn of_part(&self, way: &Way, part: Part, is_range: bool) -> Way {
        let all = way.conditions.iter().chain(&self.common.conditions);
        let is_it = |other: Part| other == part || !is_range && other == Part::Time;
        Way {
            conditions: all
                .filter(|condition| is_it(condition.part))
                .cloned()
                .collect(),
            lead: Lead::Time,
        }
    }
}

fn has_suffix(name: &str, suffix: &str) -> bool {
    name.ends_with(suffix)
}
