//! What runs again after a death: a unit, by its cgroup, under one tracer and between two.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::Value;

use super::ground::{Ground, end, kill};
use crate::{
    cli::Options,
    commands::{
        history::ask,
        lacks,
        scope::{Group, run},
    },
    death,
    tracer::Tracer,
};

/// A unit as systemd lays it out: for each run its cgroup is made.
struct Unit {
    slice: String,
    name: String,
}

impl Unit {
    fn group(&self) -> Result<Group> {
        Group::new(&format!("{}/{}", self.slice, self.name))
    }

    /// One run of it, which a SIGKILL ends; whom.
    fn run(&self) -> Result<i32> {
        let group = self.group()?;
        run(&mut group.shell("kill -9 $$"))
    }
}

pub(super) fn told(options: &Options) -> Result<Vec<String>> {
    let number = std::process::id();
    let unit = Unit {
        slice: format!("fx{number}.slice"),
        name: format!("fx-again-{number}.service"),
    };
    let _slice = Group::new(&unit.slice)?;
    let ground = Ground::new("restart-again")?;
    let mut problems = Vec::new();

    let tracer = ground.start(options, &[])?;
    let first = unit.run()?;
    let second = unit.run()?;
    problems.extend(once(options, &tracer, first, &unit.name));

    // Nobody reads when it ends, nor when it is made again. What is stored by then is no news.
    let store = ground.place.store();
    let deadline = Instant::now() + options.record_limit();
    while !lacking(options, &store, first, &unit.name)?.is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    kill(options, tracer)?;
    let third = unit.run()?;
    let last = unit.group()?;
    let tracer = ground.start(options, &[])?;
    problems.extend(once(options, &tracer, third, &unit.name));
    drop(last);
    let finished = end(options, tracer)?;
    problems.extend(finished.problems());
    let twice = restarts(&finished.records, first).len();
    if twice > 0 {
        problems.push(format!(
            "the first one is told again: {:?}",
            finished.records
        ));
    }

    for victim in [first, second, third] {
        problems.extend(lacking(options, &store, victim, &unit.name)?);
    }
    Ok(problems)
}

/// What `why` lacks of it.
fn lacking(options: &Options, store: &str, victim: i32, unit: &str) -> Result<Vec<String>> {
    let target = format!("pid:{victim}");
    let why = ask(options, &["why", &target, "--store", store])?;
    let word = format!("{unit} was started again");
    Ok(lacks("why", &why.stdout, &[&word]))
}

/// The restarts after a death of this process, as the tracer tells both.
fn restarts(records: &[Value], victim: i32) -> Vec<&Value> {
    let deaths = death::of(records, victim);
    let ids: Vec<&Value> = deaths.iter().map(|death| &death["id"]).collect();
    let is_of = |record: &&Value| record["type"] == "restart" && ids.contains(&&record["of"]);
    records.iter().filter(is_of).collect()
}

/// It is told once that this unit runs again after this death.
fn once(options: &Options, tracer: &Tracer, victim: i32, unit: &str) -> Option<String> {
    let is_told = |records: &[Value]| !restarts(records, victim).is_empty();
    tracer.wait_for(0, options.record_limit(), is_told);
    let records = tracer.records(0);
    match restarts(&records, victim)[..] {
        [restart] if restart["unit"]["name"] == unit => None,
        _ => Some(format!(
            "no one restart of {unit} after {victim}: {records:?}"
        )),
    }
}
