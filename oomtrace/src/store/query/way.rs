//! One way to the deaths that are wanted: its conditions, and which of them leads.

use rusqlite::{ToSql, types::Value};

/// No more are counted to find out what is rare: a millisecond at the most. So many are soon put
/// in order, too.
pub(super) const MANY: i64 = 10_000;

/// What a condition is about. An index can lead through the deaths of one part, in order; what the
/// others say is asked of each death on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Weight,
    Time,
    /// A column of the filter's own.
    Column(&'static str),
    /// A target, by its number.
    Target(usize),
}

/// What leads through the deaths of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    /// The time: all of them are looked at, the newest first.
    Time,
    /// A part that is one value of an index, in which they stand in order.
    Ordered(Part),
    /// A part that is a range of values. They are few enough to be put in order.
    Sorted(Part),
    /// So large a range that the newest are found sooner along the time, as a rule.
    Wide(Part),
}

impl Lead {
    pub(super) const fn part(self) -> Option<Part> {
        match self {
            Self::Time => None,
            Self::Ordered(part) | Self::Sorted(part) | Self::Wide(part) => Some(part),
        }
    }
}

/// How a part is found, and how often; no more than [`MANY`] are counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) part: Part,
    pub(super) is_range: bool,
    pub(super) count: i64,
}

/// The rarest part leads. Where all are frequent, one in which the deaths stand in order.
pub(super) fn lead_of(measured: &[Measured]) -> Lead {
    let rarest = measured
        .iter()
        .min_by_key(|measured| (measured.count, measured.is_range));
    match rarest {
        None => Lead::Time,
        Some(part) if !part.is_range => Lead::Ordered(part.part),
        Some(part) if part.count < MANY => Lead::Sorted(part.part),
        Some(part) => Lead::Wide(part.part),
    }
}

/// With its value: `?` stands for that.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    text: String,
    value: Value,
    pub(super) part: Part,
}

impl Condition {
    /// As it stands behind so many values; `leads`: an index may be used for it.
    pub(super) fn numbered(&self, behind: usize, leads: bool) -> String {
        let text = self.text.replace('?', &format!("?{}", behind + 1));
        if leads { text } else { format!("+{text}") }
    }

    pub(super) fn is_range(&self) -> bool {
        !self.text.ends_with(" = ?")
    }
}

/// Conditions that all must hold, and what leads.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) conditions: Vec<Condition>,
    pub(super) lead: Lead,
}

impl Default for Way {
    fn default() -> Self {
        Self {
            conditions: Vec::new(),
            lead: Lead::Time,
        }
    }
}

impl Way {
    pub(super) fn one(part: Part, text: String, value: impl Into<Value>) -> Self {
        let value = value.into();
        Self {
            conditions: vec![Condition { text, value, part }],
            lead: Lead::Time,
        }
    }

    pub(super) fn of(text: String, value: &str) -> Self {
        Self::one(Part::Target(0), text, value.to_owned())
    }

    pub(super) fn is(column: &str, value: &str) -> Self {
        Self::of(format!("d.{column} = ?"), value)
    }

    pub(super) fn begins(column: &str, start: &str) -> Self {
        Self::between(column, start, &format!("{start}\u{10ffff}"))
    }

    /// From one value to another, which are among them.
    pub(super) fn between(column: &str, from: &str, to: &str) -> Self {
        Self::of(format!("d.{column} >= ?"), from).and(Self::of(format!("d.{column} <= ?"), to))
    }

    /// A cgroup and all below it. Below `/` is everything.
    pub(super) fn within(path: &str) -> Vec<Self> {
        if path == "/" {
            return vec![Self::default()];
        }
        let within = |column: &str| {
            // `0` comes next after the slash.
            Self::of(format!("d.{column} >= ?"), path)
                .and(Self::of(format!("d.{column} < ?"), &format!("{path}0")))
                .and(Self::of(
                    format!("(substr(d.{column}, length(?) + 1, 1) IN ('', '/'))"),
                    path,
                ))
        };
        vec![within("cgroup"), within("unified_cgroup")]
    }

    /// Whether the index that leads tells of container, pod and namespace, too.
    pub(super) fn is_of_names(&self) -> bool {
        let columns = ["d.pod = ?", "d.container = ?", "+d.namespace = ?"];
        let mut conditions = self.conditions.iter();
        conditions.next().is_some_and(|first| {
            columns[..2].contains(&first.text.as_str()) && self.lead == Lead::Ordered(first.part)
        }) && conditions.all(|other| columns.contains(&other.text.as_str()))
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        self.conditions.extend(other.conditions);
        self
    }

    pub(super) fn of_target(mut self, number: usize) -> Self {
        for condition in &mut self.conditions {
            condition.part = Part::Target(number);
        }
        self
    }

    /// All its conditions, their values numbered in order, behind so many others.
    pub(super) fn condition(&self, behind: usize) -> String {
        let numbered: Vec<String> = self
            .conditions
            .iter()
            .enumerate()
            .map(|(at, condition)| condition.numbered(behind + at, true))
            .collect();
        if numbered.is_empty() {
            return "TRUE".to_owned();
        }
        numbered.join(" AND ")
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &dyn ToSql> {
        self.conditions
            .iter()
            .map(|condition| &condition.value as &dyn ToSql)
    }
}
