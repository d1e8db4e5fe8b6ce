//! Victims in the freezer of cgroup v1, which holds even what has been sent SIGKILL: they die once
//! the fixture's input ends.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStderr, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use oomtrace_fixtures::Report;
use serde_json::Value;

use super::{Case, Skipped};
use crate::{
    check::{self, Death, Differences, Is, Slack},
    cli::Options,
    death,
    tracer::{Start, Tracer},
};

pub(crate) const CASES: &[Case] = &[Case {
    name: "stop-frozen-v1",
    run: stop_frozen,
}];

/// A fixture whose victims are frozen.
pub(super) struct Frozen {
    fixture: Child,
    said: String,
    _stderr: BufReader<ChildStderr>,
}

impl Frozen {
    /// Starts it, and waits until SIGKILL was sent; it says nothing where it is skipped.
    pub(super) fn start(options: &Options, fixture: &str) -> Result<Self> {
        let mut fixture = Command::new(&options.fixture)
            .arg(fixture)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = fixture.stderr.take().context("no standard error")?;
        let mut stderr = BufReader::new(stderr);
        let mut said = String::new();
        stderr.read_line(&mut said)?;
        Ok(Self {
            fixture,
            said,
            _stderr: stderr,
        })
    }

    /// The line that it has said, if any.
    pub(super) fn said(&self) -> &str {
        self.said.trim_end()
    }

    /// Has it thaw them, and waits for its end.
    pub(super) fn thaw(mut self) -> Result<Report> {
        drop(self.fixture.stdin.take());
        let output = self.fixture.wait_with_output()?;
        let report: Report = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("the fixture's report: {}", self.said))?;
        match report.skipped {
            Some(reason) => Err(Skipped(reason).into()),
            None => Ok(report),
        }
    }
}

const STOP_FROZEN: Death = Death::of("stop_timeout", "kill")
    .actor("application")
    .stop("delivered")
    .evidence(&["victim_frozen", "slow_death"])
    .fields(&[
        ("/stop/reason", Is::Text("frozen")),
        ("/revision", Is::Number(2)),
        ("/outcome/latency_us", Is::AtLeast(5_000_000)),
    ])
    .first(
        &["victim_frozen", "still_there"],
        &[("/stop/reason", Is::Text("frozen")), ("/outcome", Is::Null)],
    );

/// It is told while it is still there, and once more when it has ended.
fn stop_frozen(options: &Options) -> Result<Vec<String>> {
    let tracer = match Tracer::start_with(&options.tracer, &[])? {
        Start::Running(tracer, _) => tracer,
        Start::Lacking(why) => bail!("the tracer cannot run here: {why}"),
    };
    let frozen = Frozen::start(options, "stop-frozen-v1")?;
    if let Some(pid) = frozen.said().strip_prefix("frozen ") {
        let pid = pid.parse().context("the pid of the victim")?;
        let is_told = |records: &[Value]| !death::of(records, pid).is_empty();
        tracer.wait_for(0, options.record_limit(), is_told);
    }
    let report = frozen.thaw()?;
    let victim = report.victim.as_ref().context("no victim")?;
    tracer.wait_for(0, options.record_limit(), |records| {
        death::is_complete(&death::of(records, victim.pid))
    });
    tracer.signal(libc::SIGTERM);
    let finished = tracer.wait(options.program_limit())?;
    let mut problems = finished.problems();
    if report.status.and_then(|status| status.signal) != report.signal {
        problems.push(format!("the victim ended with {:?}", report.status));
    }
    let deaths = death::of(&finished.records, victim.pid);
    let mut differences = Differences::default();
    let last = death::the_one(&deaths, &mut differences);
    problems.extend(differences.into_list());
    let (Some(first), Some(last)) = (deaths.first(), last) else {
        problems.push(format!("no death of pid {} arrived", victim.pid));
        return Ok(problems);
    };
    let slack = Slack {
        ms: options.slack_ms(),
    };
    problems.extend(check::first_revision(&STOP_FROZEN, first));
    problems.extend(check::death(&STOP_FROZEN, &report, victim, last, slack));
    Ok(problems)
}
