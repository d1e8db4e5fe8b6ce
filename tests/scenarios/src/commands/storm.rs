//! Storms of deaths and of signals: nothing is lost.

use std::{collections::BTreeSet, time::Instant};

use anyhow::Result;

use super::{
    Case, loss,
    watch::{Numbers, STORM_LIMIT, Seen, Watch, of, sender, storm},
};
use crate::{cli::Options, output::detail};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "storm-of-kills",
        run: storm_of_kills,
    },
    Case {
        name: "storm-of-one-cgroup",
        run: storm_of_one_cgroup,
    },
    Case {
        name: "storm-of-signals",
        run: storm_of_signals,
    },
];

/// As fast as one processor can fork and kill, with the ring buffer as it comes.
fn storm_of_kills(options: &Options) -> Result<Vec<String>> {
    nothing_is_lost(options, &[], 20_000)
}

/// Where a machine lets the tracer wait for seconds events are lost indeed. Those that are told,
/// and as many as are missing, are no fault of the tracer, unless they are lost each time.
const TRIES: usize = 3;

/// All by one write, which sends the signals without a pause.
fn storm_of_one_cgroup(options: &Options) -> Result<Vec<String>> {
    nothing_is_lost(options, &["--cgroup"], 2000)
}

fn nothing_is_lost(options: &Options, args: &[&str], count: usize) -> Result<Vec<String>> {
    let mut stormed = storm_once(options, args, count)?;
    for _ in 1..TRIES {
        if !stormed.is_counted_loss {
            break;
        }
        detail(format_args!("once more: {:?}", stormed.problems));
        stormed = storm_once(options, args, count)?;
    }
    Ok(stormed.problems)
}

/// What is wrong after a storm.
struct Stormed {
    problems: Vec<String>,
    /// Nothing but losses, which the tracer tells as they are.
    is_counted_loss: bool,
}

fn storm_once(options: &Options, args: &[&str], count: usize) -> Result<Stormed> {
    let watch = Watch::start(options, &[])?;
    let began = Instant::now();
    let number = count.to_string();
    let args = [args, &["--count", &number]].concat();
    let report = storm(options, "storm", &args)?;
    let stormed = began.elapsed();
    let sender = sender(&report)?;
    let all_there = watch.wait_until(STORM_LIMIT, |seen| {
        // Once one is lost, there is nothing to wait for.
        let lost = seen.iter().any(Seen::is_loss);
        let ended = of(seen, sender).filter(|death| death.is_final);
        lost || (seen.len() > count && ended.count() >= count)
    });
    let written = began.elapsed();
    let used = watch.used()?;
    let (seen, mut problems) = watch.finish(options)?;
    if !all_there {
        problems.push("not all deaths arrived".to_owned());
    }
    let is_counted_loss = problems.is_empty()
        && seen.iter().any(Seen::is_loss)
        && loss::missing(std::slice::from_ref(&report), &seen)?
            .problems
            .is_empty();
    problems.extend(lost_nothing(&seen));
    // One that takes long to end is written before, and once more when it has; and so is one in a
    // cgroup so new that nobody has said yet whether it is a container's.
    let deaths: Vec<&Seen> = of(&seen, sender).filter(|death| death.is_final).collect();
    let ids: BTreeSet<&str> = of(&seen, sender).map(|death| death.id.as_str()).collect();
    if ids.len() != deaths.len() {
        problems.push(format!("{} ids of {} deaths", ids.len(), deaths.len()));
    }
    let wrong = deaths.iter().find(|death| {
        let code = death.outcome.as_ref().map(|outcome| outcome.exit_code);
        death.cause != "app_kill" || code != Some(137)
    });
    if let Some(wrong) = wrong {
        problems.push(format!("not killed by another process: {wrong:?}"));
    }
    let killed = Numbers::of(report.killed_pids());
    if killed.total() != count {
        problems.push(format!(
            "the fixture killed {}, not {count}",
            killed.total()
        ));
    }
    problems.extend(killed.differ(&Numbers::of(deaths.iter().map(|death| death.victim.pid))));
    detail(format_args!(
        "{count} deaths in {:.2} s, all written after {:.2} s; the tracer: {:.2} s of processor, {} KiB at most",
        stormed.as_secs_f32(),
        written.as_secs_f32(),
        used.cpu.as_secs_f32(),
        used.peak_rss_kib,
    ));
    Ok(Stormed {
        problems,
        is_counted_loss,
    })
}

/// The ring buffer has room for a few deaths, and the tracer is stopped until all is over:
/// if one signal in a thousand were an event, there would be losses.
fn storm_of_signals(options: &Options) -> Result<Vec<String>> {
    const SIGNALS: u64 = 1_000_000;
    // To one process, of one of the two signals.
    const EACH: u64 = SIGNALS / 4;
    let watch = Watch::start(options, &["--ring-bytes", "65536"])?;
    watch.signal(libc::SIGSTOP);
    let began = Instant::now();
    let report = storm(options, "signal-storm", &["--count", &SIGNALS.to_string()]);
    watch.signal(libc::SIGCONT);
    let report = report?;
    let stormed = began.elapsed();
    let sender = sender(&report)?;
    let victims = report.victims().count();
    watch.wait_until(options.record_limit(), |seen| {
        of(seen, sender).count() >= victims
    });
    let (seen, mut problems) = watch.finish(options)?;
    problems.extend(lost_nothing(&seen));
    for victim in report.victims() {
        let deaths: Vec<&Seen> = of(&seen, sender)
            .filter(|death| death.victim.pid == victim.pid)
            .collect();
        let stop = deaths.first().and_then(|death| death.stop.as_ref());
        let counted = stop.map_or(0, |stop| stop.count);
        // SIGURG asks nobody to stop.
        let (cause, count) = match victim.comm.as_str() {
            "fx-amid" => ("app_kill", 0),
            _ => ("stop_timeout", EACH),
        };
        let right = deaths.len() == 1
            && deaths[0].cause == cause
            && counted == count
            && stop.is_none_or(|stop| stop.signal == "SIGUSR1");
        if !right {
            problems.push(format!(
                "{victim:?} is to die of {cause} after {count} SIGUSR1: {deaths:?}"
            ));
        }
    }
    detail(format_args!(
        "{SIGNALS} signals in {:.2} s",
        stormed.as_secs_f32()
    ));
    Ok(problems)
}

pub(super) fn lost_nothing(seen: &[Seen]) -> Vec<String> {
    let mut problems: Vec<String> = seen
        .iter()
        .filter(|seen| seen.is_loss())
        .map(|gap| format!("lost: {} of {}", gap.lost, gap.lost_kind))
        .collect();
    if let Some(stopped) = seen.last().filter(|stopped| stopped.lost > 0) {
        problems.push(format!("the end says that {} were lost", stopped.lost));
    }
    problems
}
