//! What was measured, as a table for people and as JSON.

use std::{collections::BTreeMap, fmt::Write as _};

use super::tools::Tool;

/// What is measured of each tool in each round: a name for programs, one for people, and the
/// number of decimals that mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Metric(pub(super) &'static str, &'static str, usize);

pub(super) const URG_PROGRAM: Metric = Metric("urg_program_ns", "programs, ns a SIGURG", 0);
pub(super) const USR1_PROGRAM: Metric = Metric("usr1_program_ns", "programs, ns a SIGUSR1", 0);
pub(super) const KILL_PROGRAM: Metric =
    Metric("kill_program_ns", "programs, ns a SIGKILL and its death", 0);
pub(super) const URG_CALL: Metric = Metric("urg_call_ns", "kill(2) with SIGURG, ns", 0);
pub(super) const USR1_CALL: Metric = Metric("usr1_call_ns", "kill(2) with SIGUSR1, ns", 0);
pub(super) const KILL_CALL: Metric = Metric("kill_call_ns", "kill(2) with SIGKILL, ns", 0);
const URG_ADDED: Metric = Metric("urg_added_ns", "  added by the tool", 0);
const USR1_ADDED: Metric = Metric("usr1_added_ns", "  added by the tool", 0);
const KILL_ADDED: Metric = Metric("kill_added_ns", "  added by the tool", 0);
pub(super) const CYCLE: Metric = Metric("cycle_us", "fork, kill and wait, us", 1);
pub(super) const SEEN: Metric = Metric("seen_percent", "SIGKILLs told, % of those sent", 1);
pub(super) const ATTACH: Metric = Metric("attach_ms", "start to attached, ms", 0);
pub(super) const MEMORY: Metric = Metric("memory_mib", "resident memory, MiB", 1);
pub(super) const MEMORY_OWN: Metric = Metric(
    "memory_own_mib",
    "the same without buffers shared with the kernel",
    1,
);

const METRICS: [Metric; 14] = [
    URG_PROGRAM,
    USR1_PROGRAM,
    KILL_PROGRAM,
    URG_CALL,
    URG_ADDED,
    USR1_CALL,
    USR1_ADDED,
    KILL_CALL,
    KILL_ADDED,
    CYCLE,
    SEEN,
    ATTACH,
    MEMORY,
    MEMORY_OWN,
];

/// Every number of every round.
#[derive(Clone, Debug, Default)]
pub(super) struct Results(BTreeMap<(Metric, Tool), Vec<f64>>);

impl Results {
    pub(super) fn add(&mut self, tool: Tool, metric: Metric, value: f64) {
        self.0.entry((metric, tool)).or_default().push(value);
    }

    /// What each tool has added to the calls of this round, which all of them have run.
    pub(super) fn end_round(&mut self) {
        let pairs = [
            (URG_CALL, URG_ADDED),
            (USR1_CALL, USR1_ADDED),
            (KILL_CALL, KILL_ADDED),
        ];
        for (call, added) in pairs {
            let last = |tool| {
                self.0
                    .get(&(call, tool))
                    .and_then(|all| all.last().copied())
            };
            let Some(by_itself) = last(Tool::Nothing) else {
                continue;
            };
            let differences: Vec<(Tool, f64)> = Tool::ALL
                .into_iter()
                .filter(|tool| *tool != Tool::Nothing)
                .filter_map(|tool| Some((tool, last(tool)? - by_itself)))
                .collect();
            for (tool, difference) in differences {
                self.add(tool, added, difference);
            }
        }
    }

    fn median(&self, tool: Tool, metric: Metric) -> Option<f64> {
        let mut values = self.0.get(&(metric, tool))?.clone();
        values.sort_unstable_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = values.get(middle).copied()?;
        if values.len() % 2 == 1 {
            return Some(upper);
        }
        values
            .get(middle - 1)
            .map(|lower| f64::midpoint(*lower, upper))
    }

    /// Medians, and oomtrace's share of the others'.
    pub(super) fn table(&self) -> String {
        let mut rows = vec![heading()];
        for metric in METRICS {
            let mut row = vec![metric.1.to_owned()];
            for tool in Tool::ALL {
                let median = self.median(tool, metric);
                row.push(median.map_or_else(|| "-".to_owned(), |m| format!("{m:.*}", metric.2)));
            }
            for other in [Tool::Bpftrace, Tool::Sigsnoop] {
                let ratio = self.ratio(metric, other);
                row.push(ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")));
            }
            rows.push(row);
        }
        aligned(&rows)
    }

    fn ratio(&self, metric: Metric, other: Tool) -> Option<f64> {
        let ours = self.median(Tool::Oomtrace, metric)?;
        let theirs = self.median(other, metric)?;
        // A difference can be below zero where it is lost in the noise.
        (theirs > 0.0).then(|| ours / theirs)
    }

    /// `about`: what else belongs to the numbers, as members of the object.
    pub(super) fn json(&self, about: &[(&str, String)]) -> String {
        let mut out = "{".to_owned();
        for (name, value) in about {
            let _ = writeln!(out, "{}:{},", quoted(name), quoted(value));
        }
        let metrics = METRICS.iter().map(|metric| {
            let tools = Tool::ALL.iter().filter_map(|tool| {
                let all = self.0.get(&(*metric, *tool))?;
                let median = self.median(*tool, *metric)?;
                let name = quoted(tool.name());
                Some(format!(r#"{name}:{{"median":{median},"rounds":{all:?}}}"#))
            });
            let tools: Vec<String> = tools.collect();
            format!("{}:{{{}}}", quoted(metric.0), tools.join(","))
        });
        let metrics: Vec<String> = metrics.collect();
        let _ = writeln!(
            out,
            "{}:{{\n{}\n}}}}",
            quoted("metrics"),
            metrics.join(",\n")
        );
        out
    }
}

fn heading() -> Vec<String> {
    let tools = Tool::ALL.iter().map(|tool| tool.name());
    let ratios = ["/ bpftrace", "/ sigsnoop"];
    [""].into_iter()
        .chain(tools)
        .chain(ratios)
        .map(str::to_owned)
        .collect()
}

/// A column is as wide as its widest cell; numbers stand at its right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(String::len)
            .max()
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in rows {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match at {
                0 => write!(out, "{cell:<width$}"),
                _ => write!(out, "  {cell:>width$}"),
            };
        }
        out.push('\n');
    }
    out
}

fn quoted(text: &str) -> String {
    let mut out = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        let mut results = Results::default();
        for (ours, theirs) in [(40.0, 70.0), (42.0, 90.0), (44.0, 84.0)] {
            results.add(Tool::Oomtrace, URG_PROGRAM, ours);
            results.add(Tool::Sigsnoop, URG_PROGRAM, theirs);
        }
        results
    }

    #[test]
    fn a_row_has_medians_and_our_share_of_them() {
        let table = results().table();
        let row = table.lines().nth(1).unwrap();
        let cells: Vec<&str> = row.split_whitespace().rev().collect();
        assert_eq!(cells[..6], ["0.50", "-", "-", "84", "-", "42"], "{table}");
    }

    #[test]
    fn what_a_tool_adds_is_taken_within_a_round() {
        let mut results = Results::default();
        for (by_itself, with) in [(700.0, 740.0), (900.0, 942.0)] {
            results.add(Tool::Nothing, URG_CALL, by_itself);
            results.add(Tool::Oomtrace, URG_CALL, with);
            results.end_round();
        }
        assert_eq!(results.median(Tool::Oomtrace, URG_ADDED), Some(41.0));
        assert_eq!(results.median(Tool::Nothing, URG_ADDED), None);
    }

    #[test]
    fn the_median_of_two_lies_between_them() {
        let mut results = Results::default();
        results.add(Tool::Nothing, CYCLE, 1.0);
        results.add(Tool::Nothing, CYCLE, 2.0);
        assert_eq!(results.median(Tool::Nothing, CYCLE), Some(1.5));
        assert_eq!(results.median(Tool::Nothing, SEEN), None);
    }

    #[test]
    fn every_round_is_in_the_json() {
        let json = results().json(&[("kernel", "6.1 \"x\"".to_owned())]);
        assert!(
            json.starts_with("{\"kernel\":\"6.1 \\\"x\\\"\",\n\"metrics\":{"),
            "{json}"
        );
        assert!(
            json.contains(r#""oomtrace":{"median":42,"rounds":[40.0, 42.0, 44.0]}"#),
            "{json}"
        );
    }
}
