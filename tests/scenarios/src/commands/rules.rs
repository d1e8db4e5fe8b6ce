//! `--rules`: whom a user's own rules name, and rules that are none.

use std::{fs, process::Command};

use anyhow::{Result, bail};
use serde_json::Value;

use super::{Case, lacks};
use crate::{
    cli::Options,
    death, fixture,
    run::Program,
    tracer::{Start, Tracer},
};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "rules-name-an-actor",
        run: name_an_actor,
    },
    Case {
        name: "rules-refused",
        run: refused,
    },
];

/// The fixture's program is said to be a service manager.
fn name_an_actor(options: &Options) -> Result<Vec<String>> {
    let path = std::env::temp_dir().join(format!("oomtrace-rules-{}.toml", std::process::id()));
    let rules = format!(
        "[[actor]]\nkind = \"service_manager\"\nname = \"acme\"\npaths = [{:?}]\n",
        fs::canonicalize(&options.fixture)?.to_string_lossy()
    );
    fs::write(&path, rules)?;
    let started = Tracer::start_with(&options.tracer, &["--rules", &path.to_string_lossy()]);
    let report = fixture::run(options, "app-kill", &[]);
    let _ = fs::remove_file(&path);
    let tracer = match started? {
        Start::Running(tracer, _) => tracer,
        Start::Lacking(reason) => bail!("the tracer cannot run here: {reason}"),
    };
    let report = report?;
    tracer.signal(libc::SIGTERM);
    let finished = tracer.wait(options.program_limit())?;
    let mut problems = finished.problems();
    for victim in report.victims() {
        let deaths = death::of(&finished.records, victim.pid);
        let last = deaths.last().copied().unwrap_or(&Value::Null);
        if last["cause"] != "supervisor_kill" || last["actor"]["name"] != "acme" {
            problems.push(format!("the rule did not count: {last}"));
        }
    }
    Ok(problems)
}

fn refused(options: &Options) -> Result<Vec<String>> {
    let mut command = Command::new(&options.tracer);
    command.args(["run", "--rules", "/dev/null/no"]);
    let missing = Program::run(&mut command, options.program_limit())?;
    let mut command = Command::new(&options.tracer);
    command.args(["run", "--rules", "/proc/version"]);
    let no_rules = Program::run(&mut command, options.program_limit())?;
    let mut problems = lacks("it", &missing.stderr, &["/dev/null/no", "cannot be read"]);
    problems.extend(lacks(
        "it",
        &no_rules.stderr,
        &["/proc/version", "cannot be used"],
    ));
    for ended in [missing, no_rules] {
        if ended.status.code() != Some(1) || !ended.stdout.is_empty() {
            problems.push(format!("no refusal: {ended}"));
        }
    }
    Ok(problems)
}
