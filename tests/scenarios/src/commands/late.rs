//! What the tracer says of those who were killed before it started.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use oomtrace_fixtures::{Process, Report};

use super::{Case, Skipped};
use crate::{
    check::Differences,
    cli::Options,
    death,
    tracer::{Start, Tracer},
};

pub(crate) const CASES: &[Case] = &[Case {
    name: "killed-before-start",
    run: killed_before_start,
}];

/// Their SIGKILLs wait for them when the tracer starts: it sees their ends alone.
fn killed_before_start(options: &Options) -> Result<Vec<String>> {
    let mut fixture = Command::new(&options.fixture)
        .arg("killed-frozen")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let thaw = fixture.stdin.take();
    let mut said = BufReader::new(fixture.stderr.take().context("no standard error")?).lines();
    // It says nothing where it is skipped.
    if let Some(line) = said.next().transpose()?
        && line != "frozen"
    {
        bail!("the fixture: {line}");
    }
    let tracer = match Tracer::start_with(&options.tracer, &[])? {
        Start::Running(tracer, _) => tracer,
        Start::Lacking(why) => bail!("{why}"),
    };
    let mark = tracer.mark();
    drop(thaw);
    let output = fixture.wait_with_output()?;
    let report: Report = serde_json::from_slice(&output.stdout).context("the fixture's report")?;
    if let Some(reason) = report.skipped {
        return Err(Skipped(reason).into());
    }
    let timed = report.victim.as_ref().context("no victim")?;
    let killed = report.others.first().context("no other")?;
    tracer.wait_for(mark, options.record_limit(), |records| {
        let is_there = |dead: &Process| death::is_complete(&death::of(records, dead.pid));
        is_there(timed) && is_there(killed)
    });
    let records = tracer.records(mark);
    let mut differences = Differences::default();
    for (dead, cause, mechanism, evidence) in [
        (timed, "own_timer", "posix_timer", "timer_signal_queued"),
        (killed, "unknown", "unknown", "sigkill_not_seen"),
    ] {
        let Some(death) = death::the_one(&death::of(&records, dead.pid), &mut differences) else {
            differences.add(format!("no death of {}", dead.comm));
            continue;
        };
        differences.expect(death, "/cause", cause);
        differences.expect(death, "/mechanism", mechanism);
        differences.expect(death, "/evidence/0/code", evidence);
    }
    Ok(differences.into_list())
}
