//! What finds no room in the ring buffer: it is counted, dated and told, and what is
//! missing is exactly what was counted.

use anyhow::{Result, bail};
use serde_json::Value;

use super::Case;
use crate::{
    cli::Options,
    death, fixture,
    tracer::{Start, Tracer},
};

pub(crate) const CASES: &[Case] = &[Case {
    name: "losses-add-up",
    run: losses_add_up,
}];

/// The tracer is stopped while more dies than its ring buffer holds.
fn losses_add_up(options: &Options) -> Result<Vec<String>> {
    let tracer = match Tracer::start_with(options, &["--ring-bytes", "16384"])? {
        Start::Running(tracer, _) => tracer,
        Start::Lacking(reason) => bail!("the tracer cannot run here: {reason}"),
    };
    tracer.signal(libc::SIGSTOP);
    let report = fixture::run(options, "many", &["--count", "100"]);
    tracer.signal(libc::SIGCONT);
    let report = report?;
    // One more that is not lost: by then all that came before has been read.
    let last = fixture::run(options, "app-kill", &[])?;
    tracer.signal(libc::SIGTERM);
    let finished = tracer.wait(options.program_limit())?;
    let records = &finished.records;

    let mut problems = Vec::new();
    let mut check = |fine: bool, problem: String| {
        if !fine {
            problems.push(problem);
        }
    };
    check(
        finished.ended.status.code() == Some(0),
        format!("the tracer ended with {}", finished.ended.status),
    );
    let lost = |kind: &str| -> u64 {
        let of_kind =
            |gap: &&Value| gap["type"] == "gap" && (kind.is_empty() || gap["kind"] == kind);
        let gaps = records.iter().filter(of_kind);
        gaps.filter_map(|gap| gap["lost"].as_u64()).sum()
    };
    let (kills, exits) = (lost("sigkill"), lost("exit"));
    check(
        exits > 0 && kills > 0,
        format!("lost {kills} SIGKILLs and {exits} exits: nothing was tried"),
    );
    let stopped = records.iter().find(|record| record["type"] == "stopped");
    check(
        stopped.is_some_and(|stopped| stopped["lost"] == lost("")),
        format!(
            "`stopped` counts otherwise than the gaps, which have {}: {stopped:?}",
            lost("")
        ),
    );
    for gap in records.iter().filter(|record| record["type"] == "gap") {
        let dated = gap["from_boottime_ns"].as_u64() <= gap["to_boottime_ns"].as_u64();
        check(
            dated && gap["from_boottime_ns"].is_u64(),
            format!("a gap is not dated: {gap}"),
        );
    }

    // A death is missing where its end was lost together with its SIGKILL; one whose
    // SIGKILL alone was lost is there, with the loss as the reason for what is not known.
    let deaths: Vec<Vec<&Value>> = report
        .victims()
        .map(|victim| death::of(records, victim.pid))
        .collect();
    let missing = deaths.iter().filter(|of| of.is_empty()).count() as u64;
    let unknown = deaths
        .iter()
        .filter(|of| of.last().is_some_and(|death| death["cause"] == "unknown"))
        .count() as u64;
    check(
        missing <= exits && missing + unknown == kills,
        format!(
            "{missing} deaths are missing and {unknown} unknown, with {kills} SIGKILLs and {exits} exits lost"
        ),
    );
    for victim in last.victims() {
        let known = death::of(records, victim.pid);
        check(
            known
                .last()
                .is_some_and(|death| death["cause"] == "app_kill"),
            format!("the death after the gap is not there as it should be: {known:?}"),
        );
    }
    Ok(problems)
}
