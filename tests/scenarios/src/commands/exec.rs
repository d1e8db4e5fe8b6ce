//! `oomtrace exec -- CMD`: CMD's own output and status, the report beside it.

use std::{env, fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process, process::Command};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Case, lacks};
use crate::{
    cli::Options,
    run::{Ended, Program},
    tracer::parse,
};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "exec-self-kill",
        run: self_kill,
    },
    Case {
        name: "exec-child-killed",
        run: child_killed,
    },
    Case {
        name: "exec-status",
        run: status,
    },
    Case {
        name: "exec-not-found",
        run: not_found,
    },
    Case {
        name: "exec-not-executable",
        run: not_executable,
    },
    Case {
        name: "exec-report-file",
        run: report_file,
    },
    Case {
        name: "exec-forwards-signals",
        run: forwards_signals,
    },
    Case {
        name: "exec-bad-option",
        run: bad_option,
    },
];

const SELF_KILL: &[&str] = &["sh", "-c", "echo out; kill -9 $$"];

fn self_kill(options: &Options) -> Result<Vec<String>> {
    let ended = exec(options, &[], SELF_KILL)?;
    let mut problems = ended_with(&ended, 137);
    problems.extend(printed(&ended, &["out"]));
    problems.extend(lacks("the report", &ended.stderr, &["self_kill"]));
    Ok(problems)
}

/// In JSON, so that it can be looked at closely.
fn child_killed(options: &Options) -> Result<Vec<String>> {
    // The shell lives on to say so.
    let script = "sleep 30 & kill -9 $!; wait; echo $!";
    let ended = exec(options, &["--output", "json"], &["sh", "-c", script])?;
    let mut problems = ended_with(&ended, 0);
    let [pid] = ended.stdout.as_slice() else {
        problems.push(format!("standard output is not one line: {ended}"));
        return Ok(problems);
    };
    let pid: i32 = pid.parse().context("the pid of sleep")?;
    let (records, _) = parse(&ended.stderr);
    let found = records
        .iter()
        .find(|record| record["type"] == "death" && record["victim"]["pid"] == pid);
    let cause = found.map_or(&Value::Null, |death| &death["cause"]);
    if cause != "manual_kill" {
        problems.push(format!("the cause is {cause}, not manual_kill: {ended}"));
    }
    Ok(problems)
}

fn status(options: &Options) -> Result<Vec<String>> {
    let ended = exec(
        options,
        &[],
        &["sh", "-c", "echo out; echo err >&2; exit 7"],
    )?;
    let mut problems = ended_with(&ended, 7);
    problems.extend(printed(&ended, &["out"]));
    problems.extend(lacks("standard error", &ended.stderr, &["err"]));
    Ok(problems)
}

fn not_found(options: &Options) -> Result<Vec<String>> {
    let name = "oomtrace-no-such-command";
    let ended = exec(options, &[], &[name])?;
    let mut problems = ended_with(&ended, 127);
    problems.extend(lacks("the error", &ended.stderr, &[name]));
    Ok(problems)
}

fn not_executable(options: &Options) -> Result<Vec<String>> {
    let file = Scratch::new("not-executable")?;
    fs::write(&file.0, "#!/bin/sh\n")?;
    fs::set_permissions(&file.0, fs::Permissions::from_mode(0o644))?;
    let path = file.0.to_string_lossy();
    let ended = exec(options, &[], &[&path])?;
    let mut problems = ended_with(&ended, 126);
    problems.extend(lacks("the error", &ended.stderr, &[&path]));
    Ok(problems)
}

fn report_file(options: &Options) -> Result<Vec<String>> {
    let file = Scratch::new("report")?;
    let path = file.0.to_string_lossy();
    let ended = exec(options, &["--report", &path], SELF_KILL)?;
    let mut problems = ended_with(&ended, 137);
    problems.extend(printed(&ended, &["out"]));
    let report = fs::read_to_string(&file.0).context("read the report")?;
    problems.extend(lacks("the report", &[report], &["self_kill"]));
    if ended.stderr.iter().any(|line| line.contains("self_kill")) {
        problems.push(format!("the report is on standard error too: {ended}"));
    }
    Ok(problems)
}

fn forwards_signals(options: &Options) -> Result<Vec<String>> {
    let script = "trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 1; done";
    let program = Program::start(&mut command(options, &[], &["sh", "-c", script]))?;
    let ready = program.wait_for(options.program_limit(), |lines| {
        lines.iter().any(|line| line == "ready").then_some(())
    });
    program.signal(libc::SIGTERM);
    let ended = program.wait(options.program_limit())?;
    if ready.is_none() {
        return Ok(vec![format!("the command did not start: {ended}")]);
    }
    let mut problems = ended_with(&ended, 3);
    problems.extend(printed(&ended, &["ready", "got"]));
    Ok(problems)
}

/// Its own failures are 125, as env(1)'s are.
fn bad_option(options: &Options) -> Result<Vec<String>> {
    let ended = exec(options, &["--no-such-option"], &["true"])?;
    Ok(ended_with(&ended, 125))
}

pub(super) fn command(options: &Options, own: &[&str], argv: &[&str]) -> Command {
    let mut command = Command::new(&options.tracer);
    command.arg("exec").args(own).arg("--").args(argv);
    // CMD runs as the user who called sudo: here, whoever runs the test.
    for name in ["SUDO_UID", "SUDO_GID", "SUDO_USER"] {
        command.env_remove(name);
    }
    command
}

fn exec(options: &Options, own: &[&str], argv: &[&str]) -> Result<Ended> {
    Program::run(&mut command(options, own, argv), options.program_limit())
}

pub(super) fn ended_with(ended: &Ended, code: i32) -> Vec<String> {
    if ended.status.code() == Some(code) {
        Vec::new()
    } else {
        vec![format!("ended with other than exit status {code}: {ended}")]
    }
}

/// CMD's output comes through untouched, and nothing else with it.
pub(super) fn printed(ended: &Ended, lines: &[&str]) -> Vec<String> {
    if ended.stdout == lines {
        Vec::new()
    } else {
        vec![format!("standard output is not {lines:?}: {ended}")]
    }
}

/// A file of the test's own, gone when it goes out of scope.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self> {
        let folder = env::temp_dir();
        fs::create_dir_all(&folder)?;
        Ok(Self(
            folder.join(format!("oomtrace-{name}-{}", process::id())),
        ))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
