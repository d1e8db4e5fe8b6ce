//! The outcome of a case and the sum of all.

use std::fmt;

use crate::output::say;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

#[derive(Debug, Default)]
pub struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    /// Counts a case and prints its line.
    pub fn case(&mut self, name: impl fmt::Display, outcome: &Outcome) {
        say(self.count(name, outcome));
    }

    fn count(&mut self, name: impl fmt::Display, outcome: &Outcome) -> String {
        match outcome {
            Outcome::Passed => {
                self.passed += 1;
                format!("CASE {name} passed")
            }
            Outcome::Failed(reason) => {
                self.failed += 1;
                format!("CASE {name} failed {}", one_line(reason))
            }
            Outcome::Skipped(reason) => {
                self.skipped += 1;
                format!("CASE {name} skipped {}", one_line(reason))
            }
        }
    }

    #[must_use]
    pub fn any_failed(&self) -> bool {
        self.failed > 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_outcome() {
        let mut tally = Tally::default();
        assert_eq!(tally.count("a", &Outcome::Passed), "CASE a passed");
        assert!(!tally.any_failed());
        let failed = Outcome::Failed("x\ny".into());
        assert_eq!(tally.count("b@auto", &failed), "CASE b@auto failed x; y");
        let skipped = Outcome::Skipped("z".into());
        assert_eq!(tally.count("c", &skipped), "CASE c skipped z");
        assert!(tally.any_failed());
        assert_eq!(tally.to_string(), "1 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn a_reason_is_one_line() {
        assert_eq!(one_line("no BTF\n  install it\n"), "no BTF; install it");
    }
}
