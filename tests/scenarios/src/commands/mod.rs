//! The tracer's command line as a user meets it: statuses, streams, signals. Each case
//! starts the tracer itself, with the hooks that it picks.

mod doctor;
mod exec;
mod faithful;
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

pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [
        exec::CASES,
        faithful::CASES,
        trace::CASES,
        late::CASES,
        listen::CASES,
        loss::CASES,
        privileges::CASES,
        recording::CASES,
        rules::CASES,
        runtimes::CASES,
        scope::CASES,
        symbols::CASES,
        history::CASES,
        restart::CASES,
        hostile::CASES,
        doctor::CASES,
        refusals::CASES,
        storm::CASES,
        soak::CASES,
    ]
    .into_iter()
    .flatten()
}

/// Too long to be run on every kernel.
fn is_storm(case: &Case) -> bool {
    storm::CASES.iter().any(|storm| storm.name == case.name)
}

/// Takes two minutes, and what it is about depends on no kernel.
fn is_soak(case: &Case) -> bool {
    soak::CASES.iter().any(|soak| soak.name == case.name)
}

pub(crate) fn run(options: &Options, tally: &mut Tally) {
    // SAFETY: geteuid(2) takes no arguments.
    let root = unsafe { libc::geteuid() } == 0;
    for case in all().filter(|case| options.wants(case.name)) {
        if options.only.is_empty() && !options.storms && is_storm(case) {
            detail(format_args!("{}: in another guest", case.name));
            continue;
        }
        if options.only.is_empty() && options.guest && is_soak(case) {
            detail(format_args!("{}: on the host", case.name));
            continue;
        }
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

    #[test]
    fn every_word_is_looked_for() {
        let text = ["a death".to_owned(), "of self_kill".to_owned()];
        assert_eq!(lacks("it", &text, &["self_kill", "death"]).len(), 0);
        assert_eq!(lacks("it", &text, &["sender", "death"]).len(), 1);
    }
}
