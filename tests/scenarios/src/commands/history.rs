//! What is stored is there afterwards: `list`, `show` and `why`, when the tracer has gone, and
//! when it was killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Case, lacks, listen::within};
use crate::{
    cli::Options,
    death, fixture,
    run::{Ended, Program},
    tracer::{Start, Tracer},
};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "history-why",
        run: why,
    },
    Case {
        name: "history-killed",
        run: killed,
    },
];

/// A folder for a store. It goes with the case.
pub(super) struct Place(pub(super) PathBuf);

impl Place {
    pub(super) fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("oomtrace-{name}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn store(&self) -> String {
        self.0.join("deaths.db").to_string_lossy().into_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start(options: &Options, store: &str) -> Result<Tracer> {
    start_with(options, store, &[])
}

/// Starts a tracer that keeps deaths in this store.
pub(super) fn start_with(options: &Options, store: &str, args: &[&str]) -> Result<Tracer> {
    let mut command = Command::new(&options.tracer);
    command
        .args(["run", "--output", "json", "--store", store])
        .args(args);
    match Tracer::start_as(&mut command)? {
        Start::Running(tracer, _) => Ok(tracer),
        Start::Lacking(reason) => bail!("the tracer cannot run here: {reason}"),
    }
}

/// Runs a subcommand to its end.
pub(super) fn ask(options: &Options, args: &[&str]) -> Result<Ended> {
    let mut command = Command::new(&options.tracer);
    Program::run(command.args(args), options.program_limit())
}

/// What one line of JSON says.
fn json(ended: &Ended) -> Result<Value> {
    let line = ended.stdout.first().context("nothing was printed")?;
    serde_json::from_str(line).with_context(|| format!("{ended}"))
}

/// A death is asked about when the tracer that saw it has gone.
fn why(options: &Options) -> Result<Vec<String>> {
    let place = Place::new("why")?;
    let store = place.store();
    let tracer = start(options, &store)?;
    let report = fixture::run(options, "stop-timeout-ignored", &[])?;
    tracer.signal(libc::SIGTERM);
    let finished = tracer.wait(options.program_limit())?;
    let mut problems = finished.problems();
    let victim = report.victims().next().context("a victim")?;
    let written = death::of(&finished.records, victim.pid);
    let written = written.last().context("its death")?;

    let target = format!("pid:{}", victim.pid);
    let told = ask(options, &["why", &target, "--store", &store])?;
    problems.extend(lacks(
        "why",
        &told.stdout,
        &[
            "did not stop within",
            "what happened",
            "SIGTERM from",
            "what it was not",
            "not the OOM killer",
            "what to do",
        ],
    ));
    let story = json(&ask(
        options,
        &["why", &target, "--store", &store, "--output", "json"],
    )?)?;
    let mut told_of = (*written).clone();
    if let Some(fields) = told_of.as_object_mut() {
        fields.remove("type");
    }
    if story["death"] != told_of {
        problems.push(format!("another death is told than was written: {story}"));
    }
    let whats: Vec<&str> = story["timeline"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|moment| moment["what"].as_str())
        .collect();
    if whats != ["started", "stop_request", "sigkill", "ended"] {
        problems.push(format!("its moments are {whats:?}"));
    }
    let page = place.0.join("why.html");
    let page_name = page.to_string_lossy().into_owned();
    let with_page = ask(
        options,
        &["why", &target, "--store", &store, "--html", &page_name],
    )?;
    if with_page.status.code() != Some(0) {
        problems.push(format!("why --html: {with_page}"));
    }
    problems.extend(no_page(&page));

    let id = written["id"].as_str().context("an id")?;
    let listed = ask(options, &["list", "--store", &store, "--output", "json"])?;
    if !listed.stdout.iter().any(|line| line.contains(id)) {
        problems.push(format!("list does not have it: {listed}"));
    }
    let shown = ask(
        options,
        &["show", id, "--store", &store, "--output", "json"],
    )?;
    if json(&shown)? != **written {
        problems.push(format!("show tells another: {shown}"));
    }
    for args in [["why", "container:nobody"], ["show", "ffffffff-1-1"]] {
        let none = ask(options, &[args[0], args[1], "--store", &store])?;
        if none.status.code() != Some(1) || !none.stdout.is_empty() {
            problems.push(format!("{args:?} is found: {none}"));
        }
    }
    Ok(problems)
}

fn no_page(path: &Path) -> Option<String> {
    let page = fs::read_to_string(path).unwrap_or_default();
    let whole = page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>");
    (!whole || page.contains("<script")).then(|| format!("no page of its own: {page:?}"))
}

/// A death that was stored is there, whatever becomes of the tracer.
fn killed(options: &Options) -> Result<Vec<String>> {
    let place = Place::new("killed")?;
    let store = place.store();
    let tracer = start(options, &store)?;
    let report = fixture::run(options, "app-kill", &[])?;
    let victim = report.victims().next().context("a victim")?;
    let written = |records: &[Value]| -> bool { !death::of(records, victim.pid).is_empty() };
    if !tracer.wait_for(0, options.record_limit(), written) {
        bail!("no death of {}", victim.pid);
    }
    let target = format!("pid:{}", victim.pid);
    let why = ["why", &target, "--store", &store, "--output", "json"];
    // By itself, a short time after it was written.
    within(options.record_limit(), || {
        ask(options, &why).is_ok_and(|told| !told.stdout.is_empty())
    });
    tracer.signal(libc::SIGKILL);
    drop(tracer.wait(options.program_limit()));
    let story = json(&ask(options, &why)?)?;
    let mut problems = Vec::new();
    if story["death"]["cause"] != "app_kill" {
        problems.push(format!("it is not stored: {story}"));
    }
    // Whoever comes next goes on with the same file.
    let tracer = start(options, &store)?;
    let report = fixture::run(options, "self-kill", &[])?;
    tracer.signal(libc::SIGTERM);
    let finished = tracer.wait(options.program_limit())?;
    problems.extend(finished.problems());
    let listed = ask(
        options,
        &["list", "--all", "--store", &store, "--output", "json"],
    )?;
    let next = report.victims().next().context("a victim")?;
    for pid in [victim.pid, next.pid] {
        let is_of = |line: &&String| {
            serde_json::from_str::<Value>(line).is_ok_and(|death| death["victim"]["pid"] == pid)
        };
        let count = listed.stdout.iter().filter(is_of).count();
        if count != 1 {
            problems.push(format!("the death of {pid} is stored {count} times"));
        }
    }
    Ok(problems)
}
