//! `oomtrace record` and `replay`: a stream in a file, and the same deaths from it each time.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Case, lacks};
use crate::{
    cli::Options,
    death, fixture,
    run::{Ended, Program},
    tracer,
};

pub(crate) const CASES: &[Case] = &[Case {
    name: "record-and-replay",
    run: record_and_replay,
}];

/// A folder of its own, gone when this is.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("oomtrace-{name}-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn record_and_replay(options: &Options) -> Result<Vec<String>> {
    let folder = Folder::new("record")?;
    let file = folder.0.join("stream.rec");
    let mut command = Command::new(&options.tracer);
    let program = Program::start(command.arg("record").arg(&file))?;
    // It says so once every hook is attached.
    let begun = program.wait_for_stderr(options.program_limit(), |lines| {
        lines
            .iter()
            .any(|line| line.contains("recording to"))
            .then_some(())
    });
    if begun.is_none() {
        bail!(
            "it does not say that it records: {}",
            program.wait(options.program_limit())?
        );
    }
    let report = fixture::run(options, "app-kill", &[])?;
    program.signal(libc::SIGINT);
    let ended = program.wait(options.program_limit())?;
    let mut problems = lacks(
        "the end",
        &ended.stderr,
        &["0 events lost", "oomtrace replay"],
    );
    if ended.status.code() != Some(0) || !ended.stdout.is_empty() {
        problems.push(format!("not a quiet end with status 0: {ended}"));
    }

    let first = replay(options, &file)?;
    let (records, garbage) = tracer::parse(&first.stdout);
    problems.extend(garbage.iter().map(|line| format!("not a record: {line}")));
    let known = |record: &&Value| record["cause"] == "app_kill" && record["final"] == true;
    for victim in report.victims() {
        if !death::of(&records, victim.pid).iter().any(known) {
            problems.push(format!("the death of pid {} is not in it", victim.pid));
        }
    }
    if replay(options, &file)?.stdout != first.stdout {
        problems.push("the second replay says something else".into());
    }

    // What is there already is kept.
    let mut again = Command::new(&options.tracer);
    let refused = Program::run(again.arg("record").arg(&file), options.program_limit())?;
    if refused.status.code() != Some(1) {
        problems.push(format!("a file was written over: {refused}"));
    }
    problems.extend(lacks(
        "the refusal",
        &refused.stderr,
        &["there already", "do:"],
    ));

    // Cut short: the deaths before the cut, and an error that says so.
    let whole = fs::read(&file)?;
    fs::write(&file, whole.get(..whole.len() - 4).unwrap_or_default())?;
    let cut = replay(options, &file)?;
    if cut.status.code() != Some(1) || cut.stdout.len() + 1 < first.stdout.len() {
        problems.push(format!(
            "a cut is not noticed, or took more than the cut: {cut}"
        ));
    }
    problems.extend(lacks("the error", &cut.stderr, &["cut short"]));
    Ok(problems)
}

fn replay(options: &Options, file: &Path) -> Result<Ended> {
    let mut command = Command::new(&options.tracer);
    command.args(["replay", "--output", "json"]).arg(file);
    Program::run(&mut command, options.program_limit())
}
