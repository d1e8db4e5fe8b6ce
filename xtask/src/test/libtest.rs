//! What `cargo test` prints, counted: pure.

use std::path::Path;

use crate::cases::Outcome;

/// Adds up the summaries of all test binaries. `succeeded` is cargo's own exit status.
pub(super) fn read(printed: &str, succeeded: bool, log: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    for line in printed.lines().map(str::trim) {
        if let Some(summary) = line.strip_prefix("test result: ") {
            outcome.passed += count(summary, "passed");
            outcome.unnamed_skips += count(summary, "ignored");
        } else if let Some(name) = failed(line) {
            outcome.add_failure(name.to_owned(), "the test failed".to_owned(), Some(log));
        }
    }
    if !succeeded && outcome.failures.is_empty() {
        let why = "`cargo test` failed, but no test did: does it compile?".to_owned();
        outcome.add_failure("unit tests".to_owned(), why, Some(log));
    }
    if succeeded && outcome.passed == 0 {
        outcome.add_failure("unit tests".to_owned(), "no test ran".to_owned(), Some(log));
    }
    outcome
}

fn count(summary: &str, word: &str) -> u32 {
    let number = |part: &str| {
        part.trim()
            .strip_suffix(word)?
            .split_whitespace()
            .last()?
            .parse()
            .ok()
    };
    summary.split(['.', ';']).find_map(number).unwrap_or(0)
}

fn failed(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_added_up() {
        let printed = "running 3 tests\ntest a ... ok\ntest b::c ... FAILED\ntest d ... ignored\n\
            test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.0s\n\
            test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        let outcome = read(printed, false, Path::new("log"));
        assert_eq!(
            outcome.tally().to_string(),
            "13 passed, 1 failed, 1 skipped"
        );
        assert_eq!(outcome.failures[0].name, "b::c");
    }

    #[test]
    fn what_does_not_compile_is_one_failure() {
        let outcome = read("error: could not compile", false, Path::new("log"));
        assert_eq!(outcome.tally().failed, 1);
    }

    #[test]
    fn no_test_at_all_is_a_failure() {
        assert_eq!(read("", true, Path::new("log")).tally().failed, 1);
    }
}
