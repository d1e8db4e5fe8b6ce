//! Pins: whose they are, where they can be, and that they go.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::ground::{Ground, end};
use crate::{
    cli::Options,
    commands::{
        history::{Place, ask, start_with},
        lacks,
    },
    death, fixture,
};

/// A second tracer on the same pins works without.
pub(super) fn taken(options: &Options) -> Result<Vec<String>> {
    let ground = Ground::new("pins-taken")?;
    let first = ground.start(options, &[])?;
    let other = Place::new("pins-taken-2")?;
    let name = ground.pins.name();
    let second = start_with(options, &other.store(), &["--pin", &name])?;
    let report = fixture::run(options, "self-kill", &[])?;
    let pid = report.victim.as_ref().context("a victim")?.pid;
    let told = |records: &[Value]| !death::of(records, pid).is_empty();
    let mut problems = Vec::new();
    for (who, tracer) in [("first", &first), ("second", &second)] {
        if !tracer.wait_for(0, options.record_limit(), told) {
            problems.push(format!("the {who} tracer does not tell it"));
        }
    }
    let finished = end(options, second)?;
    problems.extend(finished.problems());
    let said = ["another oomtrace has the pins", "stop that one first"];
    problems.extend(lacks("the second", &finished.ended.stderr, &said));
    let detach = ask(options, &["detach", &name])?;
    if detach.status.code() != Some(1) {
        problems.push(format!("detach under a tracer: {detach}"));
    }
    problems.extend(lacks("detach", &detach.stderr, &said));
    problems.extend(end(options, first)?.problems());
    Ok(problems)
}

/// Where nothing can be pinned it is traced all the same.
pub(super) fn nowhere(options: &Options) -> Result<Vec<String>> {
    let place = Place::new("pins-nowhere")?;
    let folder = place.path().join("pins");
    let name = folder.to_string_lossy().into_owned();
    let tracer = start_with(options, &place.store(), &["--pin", &name])?;
    let report = fixture::run(options, "self-kill", &[])?;
    let finished = end(options, tracer)?;
    let mut problems = finished.problems();
    let words = ["is not in a BPF file system", "mount -t bpf"];
    problems.extend(lacks("the tracer", &finished.ended.stderr, &words));
    let absent = finished
        .records
        .first()
        .map(|started| started["absent"].to_string());
    problems.extend(lacks("absent", &[absent.unwrap_or_default()], &["--pin"]));
    if finished
        .records
        .last()
        .is_some_and(|stopped| stopped["pinned"] == true)
    {
        problems.push("its programs stay nowhere".to_owned());
    }
    let pid = report.victim.as_ref().context("a victim")?.pid;
    if death::of(&finished.records, pid).is_empty() {
        problems.push("it did not trace".to_owned());
    }
    let scoped = ask(options, &["run", "--pin", "--scope", "pod:a/b"])?;
    if scoped.status.code() != Some(2) {
        problems.push(format!("--pin with --scope: {scoped}"));
    }
    Ok(problems)
}

/// Nothing stays when it is told to go.
pub(super) fn detached(options: &Options) -> Result<Vec<String>> {
    let ground = Ground::new("pins-detached")?;
    let name = ground.pins.name();
    let mut problems = end(options, ground.start(options, &[])?)?.problems();
    fixture::run(options, "self-kill", &[])?;
    for (what, words) in [
        (
            "detach",
            &["is detached and removed", "nobody had read"][..],
        ),
        ("detach again", &["nothing is pinned"]),
    ] {
        let detach = ask(options, &["detach", &name])?;
        if detach.status.code() != Some(0) {
            problems.push(format!("{what}: {detach}"));
        }
        problems.extend(lacks(what, &detach.stdout, words));
        if ground.pins.folder().exists() {
            problems.push(format!("{what}: {:?} is left", ground.pins.sets()));
        }
    }
    Ok(problems)
}
