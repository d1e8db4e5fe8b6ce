//! `oomtrace-scenarios`: lets fixtures die under the tracer and compares what the
//! tracer says with what the fixtures did.
//!
//! Standard output: `CASE name[@hooks] passed|failed reason|skipped reason`, anything
//! else is log, and the last line is `N passed, N failed, N skipped`.

mod cli;
mod commands;
mod fixture;
mod pass;
mod scenarios;

use std::{env, process::ExitCode};

use oomtrace_scenarios::{check, death, output, run, tally, tracer};

use crate::{
    cli::{Action, Options},
    output::{say, warn},
    tally::Tally,
};

fn main() -> ExitCode {
    match cli::parse(env::args().skip(1)) {
        Ok(Action::List) => {
            names().for_each(say);
            ExitCode::SUCCESS
        }
        Ok(Action::Run(options)) => run_all(&options),
        Err(error) => {
            warn(format_args!("oomtrace-scenarios: {error}\n{}", cli::USAGE));
            ExitCode::from(2)
        }
    }
}

fn run_all(options: &Options) -> ExitCode {
    if let Some(only) = options
        .only
        .iter()
        .find(|only| names().all(|name| name != *only))
    {
        warn(format_args!(
            "oomtrace-scenarios: there is no case {only:?}"
        ));
        return ExitCode::from(2);
    }
    let mut tally = Tally::default();
    let wanted: Vec<_> = scenarios::all()
        .filter(|scenario| options.wants(scenario.name))
        .collect();
    for (pass, hooks) in options.hooks.iter().enumerate() {
        let mut wanted = wanted.clone();
        if pass > 0 && options.only.is_empty() {
            wanted.retain(|scenario| scenario.depends_on_hooks());
        }
        if !wanted.is_empty() {
            pass::run(options, hooks, &wanted, &mut tally);
        }
    }
    commands::run(options, &mut tally);
    say(&tally);
    ExitCode::from(u8::from(tally.any_failed()))
}

/// Every name that `--only` takes.
fn names() -> impl Iterator<Item = &'static str> {
    scenarios::all()
        .map(|scenario| scenario.name)
        .chain(commands::all().map(|command| command.name))
}
