//! What finds no room in the ring buffer: it is counted, dated and told, and what is
//! missing is exactly what was counted.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use oomtrace_fixtures::Report;

use super::{
    Case,
    watch::{Numbers, Seen, Watch, of, sender, storm},
};
use crate::cli::Options;

pub(crate) const CASES: &[Case] = &[Case {
    name: "losses-add-up",
    run: losses_add_up,
}];

/// The tracer is stopped twice, for longer than its ring buffer lasts. Others may die on the
/// node meanwhile, of whom nothing is known but that they were lost too: then it is tried
/// again.
fn losses_add_up(options: &Options) -> Result<Vec<String>> {
    const TRIES: usize = 3;
    let mut problems = Vec::new();
    for _ in 0..TRIES {
        problems = once(options)?;
        if problems.is_empty() {
            break;
        }
    }
    Ok(problems)
}

fn once(options: &Options) -> Result<Vec<String>> {
    const COUNT: &str = "300";
    let watch = Watch::start(options, &["--ring-bytes", "16384"])?;
    let mut reports = Vec::new();
    for _ in 0..2 {
        watch.signal(libc::SIGSTOP);
        let report = storm(options, "storm", &["--count", COUNT]);
        watch.signal(libc::SIGCONT);
        reports.push(report?);
        reports.extend(until_read(options, &watch)?);
    }
    let (seen, mut problems) = watch.finish(options)?;
    problems.extend(check_losses(&reports, &seen)?);
    Ok(problems)
}

/// Two die at a time until two are told with their sender: by then the ring buffer has been
/// emptied, and the next gap is another one. Where processors are busy, the tracer comes to
/// it later than those who die: what is lost of them must add up, too.
fn until_read(options: &Options, watch: &Watch) -> Result<Vec<Report>> {
    const TOLD_WITHIN: Duration = Duration::from_secs(2);
    let deadline = Instant::now() + options.program_limit();
    let mut reports = Vec::new();
    loop {
        let report = storm(options, "storm", &["--count", "2"])?;
        let sender = sender(&report)?;
        reports.push(report);
        if watch.wait_until(TOLD_WITHIN, |seen| of(seen, sender).count() == 2) {
            return Ok(reports);
        }
        if Instant::now() > deadline {
            bail!("the deaths after a gap did not arrive");
        }
    }
}

/// There were losses of the storms' deaths, and they are counted.
fn check_losses(reports: &[Report], seen: &[Seen]) -> Result<Vec<String>> {
    let Missing {
        deaths,
        mut problems,
    } = missing(reports, seen)?;
    if deaths == 0 || seen.iter().filter(|seen| seen.is_loss()).count() <= 2 {
        problems.push(format!("nothing was tried: {deaths} deaths are missing"));
    }
    Ok(problems)
}

/// What is missing of the storms' deaths.
pub(super) struct Missing {
    /// Those of which nothing is told.
    deaths: u64,
    /// Where that differs from the losses that are told.
    pub(super) problems: Vec<String>,
}

pub(super) fn missing(reports: &[Report], seen: &[Seen]) -> Result<Missing> {
    let mut problems = Vec::new();
    let lost = |kind: &str| -> u64 {
        let gaps = seen.iter().filter(|seen| seen.is_loss());
        gaps.filter(|gap| kind.is_empty() || gap.lost_kind == kind)
            .map(|gap| gap.lost)
            .sum()
    };
    let killed = Numbers::of(reports.iter().flat_map(Report::killed_pids));
    let senders: Result<Vec<i32>> = reports.iter().map(sender).collect();
    let senders = senders?;

    // The last revision of each death.
    let mut deaths: BTreeMap<&str, &Seen> = BTreeMap::new();
    for death in seen.iter().filter(|seen| seen.kind == "death") {
        let before = deaths.insert(&death.id, death);
        if before.is_some_and(|before| before.revision >= death.revision) {
            problems.push(format!("a revision does not count up: {death:?}"));
        }
    }
    let all = deaths.len() as u64;
    // Of an unknown one the comm tells that it is the storm's.
    deaths.retain(|_, death| match &death.sender {
        Some(sender) => senders.contains(&sender.pid),
        None => death.victim.comm.as_deref() == Some("fx-storm"),
    });
    let written = Numbers::of(deaths.values().map(|death| death.victim.pid));
    problems.extend(written.beyond(&killed));

    // The SIGKILL is lost, the end, or both: then there is no death.
    let missing = killed.total().saturating_sub(written.total()) as u64;
    let unknown = deaths.values().filter(|d| d.cause == "unknown").count() as u64;
    let endless = deaths.values().filter(|d| d.outcome.is_none()).count() as u64;
    let (kills, ends) = (lost("sigkill"), lost("exit"));
    let mut check = |fine: bool, problem: String| {
        if !fine {
            problems.push(problem);
        }
    };
    check(
        missing + unknown == kills,
        format!("{missing} missing and {unknown} unknown, with {kills} SIGKILLs lost"),
    );
    check(
        missing + endless == ends,
        format!("{missing} missing and {endless} without an end, with {ends} ends lost"),
    );
    check(
        deaths
            .values()
            .all(|death| ["app_kill", "unknown"].contains(&death.cause.as_str())),
        "a death has another cause".to_owned(),
    );
    let stopped = seen.last();
    check(
        stopped.is_some_and(|stopped| stopped.lost == lost("") && stopped.deaths == all),
        format!(
            "{all} deaths and {} lost, but the end says {stopped:?}",
            lost("")
        ),
    );
    Ok(Missing {
        deaths: missing,
        problems,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::watch, *};

    fn death(pid: i32, sender: Option<i32>, ended: bool) -> Seen {
        let process = |pid| watch::SeenProcess {
            pid,
            comm: Some("fx-storm".to_owned()),
            role: None,
        };
        Seen {
            kind: "death".to_owned(),
            id: pid.to_string(),
            revision: 1,
            cause: if sender.is_some() {
                "app_kill"
            } else {
                "unknown"
            }
            .to_owned(),
            victim: process(pid),
            sender: sender.map(process),
            outcome: ended.then(watch::SeenOutcome::default),
            ..Seen::default()
        }
    }

    fn gap(kind: &str, lost: u64) -> Seen {
        Seen {
            kind: "gap".to_owned(),
            certain: true,
            lost_kind: kind.to_owned(),
            lost,
            ..Seen::default()
        }
    }

    #[test]
    fn losses_must_add_up() -> Result<()> {
        let mut report = Report {
            killed: vec![(7, 10)],
            ..Report::new("storm")
        };
        report.sender = Some(oomtrace_fixtures::Process {
            pid: 5,
            comm: String::new(),
            argv: None,
        });
        let reports = [report];
        let stopped = Seen {
            kind: "stopped".to_owned(),
            lost: 6,
            deaths: 3,
            ..Seen::default()
        };
        // One whole, one without its SIGKILL, one without its end, one without either.
        let right = vec![
            death(7, Some(5), true),
            death(8, None, true),
            death(9, Some(5), false),
            gap("sigkill", 2),
            gap("exit", 2),
            gap("image", 2),
            stopped,
        ];
        assert_eq!(check_losses(&reports, &right)?, Vec::<String>::new());
        for (at, with) in [
            (0, death(7, None, true)),
            (2, death(9, Some(5), true)),
            (2, death(99, Some(5), false)),
            (3, gap("sigkill", 3)),
            (4, gap("exit", 1)),
            (5, gap("image", 1)),
        ] {
            let mut wrong = right.clone();
            wrong[at] = with;
            assert!(!check_losses(&reports, &wrong)?.is_empty(), "{at}");
        }
        Ok(())
    }
}
