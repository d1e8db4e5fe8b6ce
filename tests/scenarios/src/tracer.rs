//! A running `oomtrace run --output json`: its records as they come, and its end.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    output::say,
    run::{Ended, Program},
};

/// From start to every hook attached; an emulated CPU is ten times as slow.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The exit status for privileges or kernel features that are lacking.
pub const EXIT_LACKING: i32 = 77;

pub struct Tracer {
    program: Program,
}

pub enum Start {
    /// With the `started` record.
    Running(Tracer, Value),
    /// This kernel or these privileges do not allow it: the tracer's own words.
    Lacking(String),
}

impl Tracer {
    pub fn start(tracer: &Path, hooks: &str, record: Option<&Path>) -> Result<Start> {
        let mut command = Command::new(tracer);
        command.args(["run", "--no-store", "--output", "json", "--hooks", hooks]);
        if let Some(path) = record {
            command.arg("--record").arg(path);
        }
        Self::start_as(&mut command)
    }

    /// With the best hooks, and further options.
    pub fn start_with(tracer: &Path, args: &[&str]) -> Result<Start> {
        let mut command = Command::new(tracer);
        command
            .args(["run", "--no-store", "--output", "json"])
            .args(args);
        Self::start_as(&mut command)
    }

    /// As this command, which runs the tracer with JSON records on its output.
    pub fn start_as(command: &mut Command) -> Result<Start> {
        let program = Program::start_logged(command, |line| {
            say(format_args!("[oomtrace] {line}"));
        })?;
        let first = program.wait_for(START_LIMIT, |lines| lines.first().cloned());
        let Some(first) = first else {
            let ended = program
                .wait(Duration::from_secs(5))
                .context("the tracer printed no record")?;
            if ended.status.code() == Some(EXIT_LACKING) {
                return Ok(Start::Lacking(ended.stderr.join("\n")));
            }
            bail!("the tracer ended before it had started: {ended}");
        };
        let started: Value = serde_json::from_str(&first)
            .with_context(|| format!("the tracer's first line: {first}"))?;
        if started["type"] != "started" {
            bail!("the tracer's first record is not `started`: {first}");
        }
        Ok(Start::Running(Self { program }, started))
    }

    /// Where the records of what happens from now on begin.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.program.stdout_len()
    }

    /// The records from a mark on, so far.
    #[must_use]
    pub fn records(&self, mark: usize) -> Vec<Value> {
        parse(&self.program.stdout_from(mark)).0
    }

    /// Waits until the records from a mark on are what is wanted.
    pub fn wait_for(
        &self,
        mark: usize,
        limit: Duration,
        wanted: impl Fn(&[Value]) -> bool,
    ) -> bool {
        let found = self.program.wait_for(limit, |lines| {
            let lines = lines.get(mark..).unwrap_or_default();
            wanted(&parse(lines).0).then_some(())
        });
        found.is_some()
    }

    /// Waits until what the tracer has said on standard error is what is wanted.
    pub fn wait_for_stderr(&self, limit: Duration, wanted: impl Fn(&[String]) -> bool) -> bool {
        let found = |lines: &[String]| wanted(lines).then_some(());
        self.program.wait_for_stderr(limit, found).is_some()
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.program.id()
    }

    pub fn signal(&self, signal: i32) {
        self.program.signal(signal);
    }

    /// Waits for the end of the tracer.
    pub fn wait(self, limit: Duration) -> Result<Finished> {
        let ended = self.program.wait(limit).context("the tracer")?;
        let (records, garbage) = parse(&ended.stdout);
        Ok(Finished {
            records,
            garbage,
            ended,
        })
    }
}

/// All that a tracer has said.
#[derive(Debug)]
pub struct Finished {
    pub records: Vec<Value>,
    /// Lines of standard output that are not JSON objects.
    pub garbage: Vec<String>,
    pub ended: Ended,
}

impl Finished {
    /// What is wrong with how the tracer ended: it should say `stopped` last, have
    /// lost nothing and exit with 0.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.ended.status.code() != Some(0) {
            problems.push(format!("the tracer ended with {}", self.ended.status));
        }
        for line in &self.garbage {
            problems.push(format!("not a JSON object: {line}"));
        }
        let lost = |record: &&Value| record["type"] == "gap" && record["certain"] == true;
        for gap in self.records.iter().filter(lost) {
            problems.push(format!("events were lost: {gap}"));
        }
        match self.records.last() {
            Some(last) if last["type"] == "stopped" => {}
            Some(last) => problems.push(format!("the last record is not `stopped`: {last}")),
            None => problems.push("no record at all".into()),
        }
        problems
    }
}

/// JSON objects, and the lines that are none.
#[must_use]
pub fn parse(lines: &[String]) -> (Vec<Value>, Vec<String>) {
    let mut records = Vec::new();
    let mut garbage = Vec::new();
    for line in lines {
        match serde_json::from_str::<Value>(line) {
            Ok(record) if record.is_object() => records.push(record),
            _ => garbage.push(line.clone()),
        }
    }
    (records, garbage)
}
