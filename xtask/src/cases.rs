//! Results: the protocol in which the scenarios report, and adding results up.
//!
//! A runner prints `CASE <name> passed`, `CASE <name> failed <reason>` or `CASE <name> skipped
//! <reason>`, and at its end `N passed, N failed, N skipped`. All other lines are its log. No
//! case at all, or no last line, is a failure.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::project::Project;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

impl Tally {
    /// The exact form that [`Tally`] is printed in.
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.trim().split(", ");
        let mut number = |word| {
            parts
                .next()?
                .strip_suffix(word)?
                .strip_suffix(' ')?
                .parse()
                .ok()
        };
        let tally = Self {
            passed: number("passed")?,
            failed: number("failed")?,
            skipped: number("skipped")?,
        };
        parts.next().is_none().then_some(tally)
    }
}

/// A case that did not pass, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) name: String,
    pub(crate) reason: String,
    pub(crate) log: Option<PathBuf>,
}

/// What came out of some cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) passed: u32,
    pub(crate) failures: Vec<Finding>,
    pub(crate) skips: Vec<Finding>,
    /// Skipped ones that are known by number alone.
    pub(crate) unnamed_skips: u32,
}

impl Outcome {
    pub(crate) fn pass() -> Self {
        Self {
            passed: 1,
            ..Self::default()
        }
    }

    pub(crate) fn fail(name: &str, reason: impl Into<String>, log: Option<&Path>) -> Self {
        let mut outcome = Self::default();
        outcome.add_failure(name.to_owned(), reason.into(), log);
        outcome
    }

    pub(crate) fn skip(name: &str, reason: impl Into<String>) -> Self {
        let mut outcome = Self::default();
        outcome.skips.push(Finding {
            name: name.to_owned(),
            reason: reason.into(),
            log: None,
        });
        outcome
    }

    pub(crate) fn add_failure(&mut self, name: String, reason: String, log: Option<&Path>) {
        self.failures.push(Finding {
            name,
            reason,
            log: log.map(Path::to_path_buf),
        });
    }

    pub(crate) fn absorb(&mut self, other: Self) {
        self.passed += other.passed;
        self.failures.extend(other.failures);
        self.skips.extend(other.skips);
        self.unnamed_skips += other.unnamed_skips;
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally {
            passed: self.passed,
            failed: self.failures.len() as u32,
            skipped: self.skips.len() as u32 + self.unnamed_skips,
        }
    }

    /// Prints what was skipped and what failed, then the sums; the task's exit status.
    pub(crate) fn conclude(&self, project: &Project) -> ExitCode {
        for finding in &self.skips {
            println!("skipped: {}: {}", finding.name, finding.reason);
        }
        for finding in &self.failures {
            println!("failed: {}: {}", finding.name, finding.reason);
            if let Some(log) = &finding.log {
                println!("    log: {}", project.short(log).display());
            }
        }
        println!("{}", self.tally());
        if self.failures.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Reads what a runner printed. `place` goes before the names: the same case runs in many.
pub(crate) fn read(printed: &str, place: &str, log: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    let mut total = None;
    for line in printed.lines().map(str::trim_end) {
        if let Some(case) = line.strip_prefix("CASE ") {
            read_case(case, place, log, &mut outcome);
        } else if let Some(tally) = Tally::parse(line) {
            total = Some(tally);
        }
    }
    let counted = outcome.tally();
    let problem = match total {
        None => Some("its last line is missing: it did not come to its end".to_owned()),
        Some(_) if counted == Tally::default() => Some("it reported no case".to_owned()),
        Some(total) if total != counted => {
            Some(format!("it says {total}, but its cases are {counted}"))
        }
        Some(_) => None,
    };
    if let Some(problem) = problem {
        outcome.add_failure(format!("{place} scenario runner"), problem, Some(log));
    }
    outcome
}

fn read_case(case: &str, place: &str, log: &Path, outcome: &mut Outcome) {
    let (name, rest) = case.split_once(' ').unwrap_or((case, ""));
    let (result, reason) = rest.split_once(' ').unwrap_or((rest, "no reason given"));
    let name = format!("{place} {name}");
    match result {
        "passed" => outcome.passed += 1,
        "skipped" => outcome.absorb(Outcome::skip(&name, reason)),
        "failed" => outcome.add_failure(name, reason.to_owned(), Some(log)),
        _ => outcome.add_failure(name, format!("unknown result: {rest}"), Some(log)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_it(printed: &str) -> Outcome {
        read(printed, "6.1 v2", Path::new("log"))
    }

    #[test]
    fn cases_are_counted_and_named_by_place() {
        let outcome = read_it(
            "starting\r\nCASE self_kill passed\r\nCASE oom failed no limit in the record\r\n\
             CASE global skipped not in a VM\r\n1 passed, 1 failed, 1 skipped\r\n",
        );
        assert_eq!(
            outcome.tally(),
            Tally {
                passed: 1,
                failed: 1,
                skipped: 1
            }
        );
        assert_eq!(outcome.failures[0].name, "6.1 v2 oom");
        assert_eq!(outcome.failures[0].reason, "no limit in the record");
        assert_eq!(outcome.skips[0].reason, "not in a VM");
    }

    #[test]
    fn an_end_that_is_missing_is_a_failure() {
        let outcome = read_it("CASE a passed\n");
        assert_eq!(
            outcome.tally(),
            Tally {
                passed: 1,
                failed: 1,
                skipped: 0
            }
        );
        assert!(outcome.failures[0].reason.contains("last line"));
    }

    #[test]
    fn no_case_is_a_failure() {
        assert_eq!(read_it("0 passed, 0 failed, 0 skipped\n").tally().failed, 1);
        assert_eq!(read_it("").tally().failed, 1);
    }

    #[test]
    fn a_total_that_disagrees_is_a_failure() {
        let outcome = read_it("CASE a passed\n2 passed, 0 failed, 0 skipped\n");
        assert!(outcome.failures[0].reason.contains("says 2 passed"));
    }

    #[test]
    fn a_result_that_is_unknown_is_a_failure() {
        let outcome = read_it("CASE a pas\n0 passed, 1 failed, 0 skipped\n");
        assert_eq!(outcome.failures[0].reason, "unknown result: pas");
    }

    #[test]
    fn a_tally_is_read_in_the_form_it_is_printed_in() {
        let tally = Tally {
            passed: 12,
            failed: 0,
            skipped: 3,
        };
        assert_eq!(Tally::parse(&tally.to_string()), Some(tally));
        assert_eq!(Tally::parse("12 passed, 0 failed"), None);
        assert_eq!(Tally::parse("12 passed, 0 failed, 3 skipped, 1 lost"), None);
    }
}
