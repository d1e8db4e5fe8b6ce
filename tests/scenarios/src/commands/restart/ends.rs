//! Where an end is seen that `sched_process_exit` was not seen for. Which program sees an end first
//! is chance where programs can be preempted; so the hooks of those that come first are taken away.

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::ground::{Ground, end, kill};
use crate::{cli::Options, fixture};

/// Among them a process whose leader ended before its other threads, and one that ends with its
/// PID namespace.
const FIXTURES: &[(&str, &[&str])] = &[
    ("app-kill", &[]),
    ("group-kill", &[]),
    ("leader-exited", &[]),
    ("pid-namespace", &["--killed"]),
];
/// The kernel has freed by then what was reaped.
const FREED: Duration = Duration::from_secs(1);
const LATE: &str = "end_seen_late";

/// The parent is told of it.
pub(super) fn told_to_the_parent(options: &Options) -> Result<Vec<String>> {
    let stored = unhooked(options, "ends-told", &["process_exit"])?;
    let mut problems = Vec::new();
    for (name, death) in stored {
        // Process 1 of a PID namespace ignores the ends of its children when it ends itself.
        let may_be_late = name == "pid-namespace";
        if is_late(&death) && !may_be_late {
            problems.push(format!("{name}: it was seen late: {death}"));
        }
        problems.extend(ended(name, &death));
    }
    Ok(problems)
}

/// What was left of it is freed.
pub(super) fn freed(options: &Options) -> Result<Vec<String>> {
    let hooks = ["process_exit", "exit_notify"];
    let stored = unhooked(options, "ends-freed", &hooks)?;
    let mut problems = Vec::new();
    for (name, death) in stored {
        if !is_late(&death) {
            problems.push(format!("{name}: it was not seen late: {death}"));
        }
        problems.extend(ended(name, &death));
    }
    Ok(problems)
}

fn is_late(death: &Value) -> bool {
    let mut evidence = death["evidence"].as_array().into_iter().flatten();
    evidence.any(|evidence| evidence["code"] == LATE)
}

fn ended(name: &str, death: &Value) -> Option<String> {
    let is_right = death["outcome"]["exit_code"] == 137
        && death["outcome"]["signal"] == 9
        && death["outcome"]["latency_us"].is_u64()
        && death["final"] == true;
    (!is_right).then(|| format!("{name}: it did not end as it did: {death}"))
}

/// What dies under programs of which these have no hook, with the name of the fixture.
fn unhooked(
    options: &Options,
    place: &str,
    programs: &[&str],
) -> Result<Vec<(&'static str, Value)>> {
    let ground = Ground::new(place)?;
    kill(options, ground.start(options, &[])?)?;
    let set = ground.pins.only_set()?;
    for program in programs {
        let link = set.join(format!("link_{program}"));
        fs::remove_file(&link).with_context(|| link.display().to_string())?;
    }
    let mut victims = Vec::new();
    for (name, args) in FIXTURES {
        let report = fixture::run(options, name, args)?;
        if let Some(why) = report.skipped {
            bail!("{name}: {why}");
        }
        victims.extend(report.victims().map(|victim| (*name, victim.pid)));
    }
    thread::sleep(FREED);
    end(options, ground.start(options, &[])?)?;
    let stored = ground.stored(options)?;
    let mut found = Vec::new();
    for (name, pid) in victims {
        let mut deaths = stored.iter().filter(|death| death["victim"]["pid"] == pid);
        let (Some(death), None) = (deaths.next(), deaths.next()) else {
            bail!("{name}: not one death of pid {pid}: {stored:?}");
        };
        found.push((name, death.clone()));
    }
    Ok(found)
}
