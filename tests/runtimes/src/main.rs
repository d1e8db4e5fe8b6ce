//! `oomtrace-runtimes`: ends real containers, pods and units in every usual way, under the
//! tracer, and compares what it says with what was done.
//!
//! | module | owns |
//! |---|---|
//! | `cli` | the runner's own command line |
//! | `place` | what this machine has: daemons that run, or own ones in `private` folders |
//! | `systemd` | this machine's, or one started here |
//! | `image` | the images, made on the spot |
//! | `tools` | commands of the runtimes, with a limit each |
//! | `cri` | a client of the container runtime interface |
//! | `subject` | what is known of a container or unit, and what is expected of a death in it |
//! | `scene` | one case at work: waiting for deaths, differences, summaries |
//! | `cases` | what is done, a file for each runtime |
//! | `run` | all cases under one tracer, several at a time |
//!
//! Standard output is that of the scenario runner: `CASE name passed|failed reason|skipped
//! reason`, anything else is log, and the last line is `N passed, N failed, N skipped`. Each
//! death's summary is there as `[summary] case: …`.

mod cases;
mod cli;
mod cri;
mod image;
mod place;
mod private;
mod run;
mod scene;
mod subject;
mod systemd;
mod tools;

use std::{env, process::ExitCode};

use oomtrace_scenarios::output::{say, warn};

use crate::cli::{Action, Options};

fn main() -> ExitCode {
    match cli::parse(env::args().skip(1)) {
        Ok(Action::List) => {
            cases::all().for_each(|case| say(case.name));
            ExitCode::SUCCESS
        }
        Ok(Action::Run(options)) => run_all(options),
        Ok(Action::InCgroupNamespace(command)) => {
            let error = private::in_cgroup_namespace(&command);
            warn(format_args!("oomtrace-runtimes: {command:?}: {error}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            warn(format_args!("oomtrace-runtimes: {error:#}\n{}", cli::USAGE));
            ExitCode::from(2)
        }
    }
}

fn run_all(options: Options) -> ExitCode {
    let unknown = |only: &&String| cases::all().all(|case| case.name != **only);
    if let Some(only) = options.only.iter().find(unknown) {
        warn(format_args!("oomtrace-runtimes: there is no case {only:?}"));
        return ExitCode::from(2);
    }
    match run::all(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            warn(format_args!("oomtrace-runtimes: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
