//! The tracer's command line as a user meets it: statuses, streams, signals. Each case
//! starts the tracer itself, with the hooks that it picks.

mod doctor;
mod exec;
mod faithful;
mod frozen;
mod history;
mod hostile;
mod late;
mod listen;
mod loss;
mod privileges;
mod recording;
mod refusals;
mod restart;
mod rules;
mod runtimes;
mod scope;
mod soak;
mod storm;
mod symbols;
mod trace;
mod watch;

use std::{
    fs::File,
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    process::Command,
};

use anyhow::Result;

use crate::{
    cli::Options,
    output::detail,
    run::{Ended, Program},
    tally::{Outcome, Tally},
};

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What is wrong, if anything.
    pub(crate) run: fn(&Options) -> Result<Vec<String>>,
}

/// Why a case cannot be run here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Skipped(String);

/// In which guests a group of cases is run, other than by name. On the host all are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guests {
    /// In each: what it is about may differ from kernel to kernel.
    Every,
    /// In those at both ends of what is booted: it is the tracer's own doing for the most part.
    Ends,
    /// In one: it takes minutes on an emulated processor.
    One,
    /// In none: it takes two minutes, and depends on no kernel.
    None,
}

const GROUPS: &[(&[Case], Guests)] = &[
    (exec::CASES, Guests::Ends),
    (faithful::CASES, Guests::Every),
    (trace::CASES, Guests::Every),
    (late::CASES, Guests::Every),
    (frozen::CASES, Guests::Every),
    (listen::CASES, Guests::Ends),
    (loss::CASES, Guests::Every),
    (privileges::CASES, Guests::Ends),
    (recording::CASES, Guests::Ends),
    (rules::CASES, Guests::Ends),
    (runtimes::CASES, Guests::Every),
    (scope::CASES, Guests::Every),
    (symbols::CASES, Guests::Every),
    (history::CASES, Guests::Ends),
    (restart::CASES, Guests::Ends),
    (hostile::CASES, Guests::Ends),
    (doctor::CASES, Guests::Every),
    (refusals::CASES, Guests::Ends),
    (storm::CASES, Guests::One),
    (soak::CASES, Guests::None),
];

pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    GROUPS.iter().flat_map(|(cases, _)| *cases)
}

/// What is run: all that was named, else what this machine is there for.
fn wanted(options: &Options) -> impl Iterator<Item = &'static Case> {
    let is_here = |guests| match (options.guest, guests) {
        (None, _) | (Some(_), Guests::Every) => true,
        (Some(guest), Guests::Ends) => guest.is_end,
        (Some(guest), Guests::One) => guest.has_storms,
        (Some(_), Guests::None) => false,
    };
    let groups = GROUPS
        .iter()
        .filter(move |(_, guests)| !options.only.is_empty() || is_here(*guests));
    let cases = groups.flat_map(|(cases, _)| *cases);
    cases.filter(|case| options.wants(case.name))
}

pub(crate) fn run(options: &Options, tally: &mut Tally) {
    // SAFETY: geteuid(2) takes no arguments.
    let root = unsafe { libc::geteuid() } == 0;
    for case in wanted(options) {
        let outcome = if root {
            match (case.run)(options) {
                Ok(problems) => {
                    problems.iter().for_each(detail);
                    problems
                        .into_iter()
                        .next()
                        .map_or(Outcome::Passed, Outcome::Failed)
                }
                Err(error) => match error.downcast::<Skipped>() {
                    Ok(Skipped(reason)) => Outcome::Skipped(reason),
                    Err(error) => Outcome::Failed(format!("{error:#}")),
                },
            }
        } else {
            Outcome::Skipped("needs root".into())
        };
        tally.case(case.name, &outcome);
    }
}

const NOBODY: u32 = 65534;

/// Runs the tracer as a user without privileges.
fn run_as_nobody(options: &Options, args: &[&str]) -> Result<Ended> {
    // Opened by root, so that no folder on the way can keep nobody out.
    let file = File::open(&options.tracer)?;
    let mut command = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    command
        .arg0("oomtrace")
        .args(args)
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY);
    Program::run(&mut command, options.program_limit())
}

/// The words that a message has to have, and does not.
fn lacks(what: &str, text: &[String], words: &[&str]) -> Vec<String> {
    let text = text.join("\n");
    words
        .iter()
        .filter(|word| !text.contains(**word))
        .map(|word| format!("{what} does not say {word:?}: {text}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Guest;

    #[test]
    fn a_guest_runs_what_it_is_there_for() {
        let guest = |is_end, has_storms| Options {
            guest: Some(Guest { is_end, has_storms }),
            ..Options::default()
        };
        let runs = |options: &Options, name: &str| wanted(options).any(|case| case.name == name);
        let host = Options::default();
        for name in ["doctor", "restart-ended", "storm-of-kills", "soak"] {
            assert!(runs(&host, name), "{name}");
        }
        let plain = guest(false, false);
        assert!(runs(&plain, "doctor"));
        assert!(!runs(&plain, "restart-ended"));
        assert!(runs(&guest(true, false), "restart-ended"));
        assert!(!runs(&guest(true, false), "storm-of-kills"));
        assert!(runs(&guest(false, true), "storm-of-kills"));
        assert!(!runs(&guest(true, true), "soak"));
        let named = Options {
            only: vec!["soak".into()],
            ..plain
        };
        assert!(runs(&named, "soak"));
        assert!(!runs(&named, "doctor"));
    }

    #[test]
    fn every_word_is_looked_for() {
        let text = ["a death".to_owned(), "of self_kill".to_owned()];
        assert_eq!(lacks("it", &text, &["self_kill", "death"]).len(), 0);
        assert_eq!(lacks("it", &text, &["sender", "death"]).len(), 1);
    }
}
