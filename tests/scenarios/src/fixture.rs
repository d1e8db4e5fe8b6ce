//! Runs a fixture and reads its report.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};
use oomtrace_fixtures::Report;

use crate::{cli::Options, run::Program};

pub(crate) fn run(options: &Options, name: &str, args: &[&str]) -> Result<Report> {
    run_within(options, name, args, options.program_limit())
}

pub(crate) fn run_within(
    options: &Options,
    name: &str,
    args: &[&str],
    limit: Duration,
) -> Result<Report> {
    let mut command = Command::new(&options.fixture);
    command.arg(name).args(args);
    let ended = Program::run(&mut command, limit).with_context(|| format!("fixture {name}"))?;
    if !ended.status.success() {
        bail!("fixture {name}: {ended}");
    }
    let [line] = ended.stdout.as_slice() else {
        bail!("fixture {name} printed other than one line: {ended}");
    };
    serde_json::from_str(line).with_context(|| format!("fixture {name}: {line}"))
}
