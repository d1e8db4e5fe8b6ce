//! Tracers that follow one another without pins.

use std::fs;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::ground::{end, kill, once};
use crate::{
    cli::Options,
    commands::{
        Skipped,
        history::{Place, ask, start_with},
        lacks,
    },
    death, fixture,
};

/// Without pins nobody watches in between: that is said, and what others know of it.
pub(super) fn unpinned(options: &Options) -> Result<Vec<String>> {
    let place = Place::new("restart-unpinned")?;
    let store = place.store();
    let first = end(options, start_with(options, &store, &[])?)?;
    let mut problems = first.problems();
    let report = fixture::run(options, "cgroup-oom", &[])?;
    if let Some(reason) = report.skipped {
        bail!(Skipped(reason));
    }
    let victim = report.victim.as_ref().context("a victim")?.pid;
    let finished = end(options, start_with(options, &store, &[])?)?;
    problems.extend(finished.problems());
    let started = finished.records.first().context("a record")?;
    let gaps: Vec<&Value> = finished
        .records
        .iter()
        .filter(|record| record["type"] == "gap")
        .collect();
    let [gap] = gaps.as_slice() else {
        problems.push(format!("one gap is wanted: {gaps:?}"));
        return Ok(problems);
    };
    if gap["lost"] != 0 || gap["certain"] != false || gap["to"] != started["time"] {
        problems.push(format!("the gap: {gap}"));
    }
    let no_log = started["absent"].to_string().contains("/dev/kmsg");
    let logged = gap["inferred"].as_array().is_some_and(|kills| {
        kills.iter().any(|kill| {
            kill["pid"] == victim
                && kill["code"] == "oom_kill_logged"
                && kill["text"]
                    .as_str()
                    .is_some_and(|text| text.starts_with("inferred, not seen"))
        })
    });
    if !logged && !no_log {
        problems.push(format!("the kernel's log names {victim}: {gap}"));
    }
    if !death::of(&finished.records, victim).is_empty() {
        problems.push("a death that nobody saw is told as one".to_owned());
    }
    // Who asks for the victim is told, and who looks at all.
    if logged {
        let target = format!("pid:{victim}");
        let why = ask(options, &["why", &target, "--store", &store])?;
        let words = [
            "nobody traced from",
            "inferred, not seen",
            &victim.to_string(),
        ];
        problems.extend(lacks("why", &why.stderr, &words));
    }
    // A third one has nothing to say of the same stretch.
    let third = end(options, start_with(options, &store, &[])?)?;
    let again = third.records.iter().any(|record| {
        record["type"] == "gap"
            && record["inferred"]
                .to_string()
                .contains(&format!(":{victim},"))
    });
    if again {
        problems.push(format!("it is told twice: {:?}", third.records));
    }
    Ok(problems)
}

/// A tracer without pins that is killed: what it had taken is in the journal.
pub(super) fn journal_alone(options: &Options) -> Result<Vec<String>> {
    let place = Place::new("restart-journal")?;
    let store = place.store();
    let tracer = start_with(options, &store, &[])?;
    // It dies between the record and the store, if at all that soon.
    let report = fixture::run(options, "app-kill", &[])?;
    let pids: Vec<i32> = report.victims().map(|victim| victim.pid).collect();
    let told = |records: &[Value]| pids.iter().all(|pid| !death::of(records, *pid).is_empty());
    if !tracer.wait_for(0, options.record_limit(), told) {
        bail!("no death of {pids:?}");
    }
    kill(options, tracer)?;
    let finished = end(options, start_with(options, &store, &[])?)?;
    let mut problems = finished.problems();
    let args = ["list", "--all", "--store", &store, "--output", "json"];
    let listed = ask(options, &args)?;
    let stored: Vec<Value> = listed
        .stdout
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    problems.extend(once(&stored, &pids, "app_kill"));
    Ok(problems)
}

/// The node goes down with a tracer that has stored nothing yet: what its journal holds is told as
/// that boot's.
pub(super) fn other_boot(options: &Options) -> Result<Vec<String>> {
    const OTHER: &str = "00000000-1111-2222-3333-444444444444";
    let place = Place::new("restart-boot")?;
    let store = place.store();
    let tracer = start_with(options, &store, &[])?;
    let report = fixture::run(options, "app-kill", &[])?;
    kill(options, tracer)?;
    // By its journal it was another one.
    let journal = format!("{store}.events");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let boot_id = boot_id.trim();
    let mut bytes = fs::read(&journal)?;
    for at in 0..bytes.len().saturating_sub(boot_id.len()) {
        let here = bytes.get_mut(at..at + boot_id.len()).context("a place")?;
        if here == boot_id.as_bytes() {
            here.copy_from_slice(OTHER.as_bytes());
        }
    }
    fs::write(&journal, bytes)?;
    let finished = end(options, start_with(options, &store, &[])?)?;
    let mut problems = finished.problems();
    let args = ["list", "--all", "--store", &store, "--output", "json"];
    let listed = ask(options, &args)?;
    let stored: Vec<Value> = listed
        .stdout
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let pids: Vec<i32> = report.victims().map(|victim| victim.pid).collect();
    problems.extend(once(&stored, &pids, "app_kill"));
    let is_gap = |record: &Value| record["type"] == "gap";
    if finished.records.iter().any(is_gap) {
        problems.push("the time between boots is told as a gap".to_owned());
    }
    Ok(problems)
}
