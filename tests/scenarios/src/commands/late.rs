//! What the tracer says of those who were killed before it started.

use anyhow::{Context as _, Result, bail};
use oomtrace_fixtures::Process;

use super::{Case, frozen::Frozen};
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
    let fixture = Frozen::start(options, "killed-frozen")?;
    // It says nothing where it is skipped.
    if !["", "frozen"].contains(&fixture.said()) {
        bail!("the fixture: {}", fixture.said());
    }
    let tracer = match Tracer::start_with(&options.tracer, &[])? {
        Start::Running(tracer, _) => tracer,
        Start::Lacking(why) => bail!("{why}"),
    };
    let mark = tracer.mark();
    let report = fixture.thaw()?;
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
