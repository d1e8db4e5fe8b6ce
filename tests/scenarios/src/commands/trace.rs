//! `oomtrace run` and its ends: a reader that goes away, Ctrl-C, no privileges.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Case, lacks, run_as_nobody};
use crate::{
    cli::Options,
    death, fixture,
    run::Program,
    tracer::{EXIT_LACKING, Start, Tracer},
};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "run-closed-stdout",
        run: closed_stdout,
    },
    Case {
        name: "run-interrupted",
        run: interrupted,
    },
    Case {
        name: "run-stop-window",
        run: stop_window,
    },
    Case {
        name: "run-unprivileged",
        run: unprivileged,
    },
];

/// The reader takes one line and goes away: at the next record the tracer ends, and
/// says nothing of it.
fn closed_stdout(options: &Options) -> Result<Vec<String>> {
    let mut command = Command::new(&options.tracer);
    command
        .args(["run", "--no-store", "--output", "json"])
        .stdout(Stdio::piped());
    let mut program = Program::start_with_stdout(&mut command)?;
    let stdout = program.take_stdout().context("the tracer's output")?;
    let (sender, first) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        // The pipe is closed by now.
        let _ = sender.send(read.map(|_| line));
    });
    let line = first
        .recv_timeout(options.program_limit())
        .context("the tracer's first line")??;
    if !line.contains("started") {
        bail!("the tracer's first line: {line:?}");
    }
    fixture::run(options, "app-kill", &[])?;
    let ended = program.wait(options.record_limit())?;
    let mut problems = Vec::new();
    if ended.status.code() != Some(0) {
        problems.push(format!("ended with other than exit status 0: {ended}"));
    }
    if ended.stderr.iter().any(|line| line.contains("panicked")) {
        problems.push(format!("it panicked: {ended}"));
    }
    Ok(problems)
}

/// Ctrl-C right after a death: the death is written, then the end.
fn interrupted(options: &Options) -> Result<Vec<String>> {
    let tracer = match Tracer::start(&options.tracer, "auto", None)? {
        Start::Running(tracer, _) => tracer,
        Start::Lacking(reason) => bail!("the tracer cannot run here: {reason}"),
    };
    let report = fixture::run(options, "app-kill", &[])?;
    tracer.signal(libc::SIGINT);
    let finished = tracer.wait(options.program_limit())?;
    let mut problems = finished.problems();
    for victim in report.victims() {
        if death::of(&finished.records, victim.pid).is_empty() {
            problems.push(format!("the death of pid {} was not written", victim.pid));
        }
    }
    Ok(problems)
}

/// A request to stop counts as long as the window says, and no longer.
fn stop_window(options: &Options) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for (window, cause, has_stop) in [("1s", "app_kill", false), ("1m", "stop_timeout", true)] {
        let tracer = match Tracer::start_with(&options.tracer, &["--stop-window", window])? {
            Start::Running(tracer, _) => tracer,
            Start::Lacking(reason) => bail!("the tracer cannot run here: {reason}"),
        };
        let report = fixture::run(options, "stop-timeout-ignored", &["--grace-ms", "2000"])?;
        let all_written = |records: &[Value]| {
            let mut victims = report.victims();
            victims.all(|victim| death::is_complete(&death::of(records, victim.pid)))
        };
        tracer.wait_for(0, options.record_limit(), all_written);
        tracer.signal(libc::SIGINT);
        let finished = tracer.wait(options.program_limit())?;
        problems.extend(finished.problems());
        for victim in report.victims() {
            match death::of(&finished.records, victim.pid).last() {
                Some(death) if death["cause"] == cause && death["stop"].is_object() == has_stop => {
                }
                Some(death) => problems.push(format!("with a window of {window}: {death}")),
                None => problems.push(format!("the death of pid {} was not written", victim.pid)),
            }
        }
    }
    Ok(problems)
}

fn unprivileged(options: &Options) -> Result<Vec<String>> {
    let ended = run_as_nobody(options, &["run", "--no-store", "--output", "json"])?;
    let mut problems = Vec::new();
    if ended.status.code() != Some(EXIT_LACKING) {
        problems.push(format!("ended with other than exit status 77: {ended}"));
    }
    if !["CAP_", "root"]
        .iter()
        .any(|word| lacks("", &ended.stderr, &[word]).is_empty())
    {
        problems.push(format!("it does not say what is missing: {ended}"));
    }
    if !ended.stdout.is_empty() {
        problems.push(format!("it printed records: {ended}"));
    }
    Ok(problems)
}
