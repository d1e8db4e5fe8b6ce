//! `--rules`: whom a user's own rules name, and rules that are none.

use std::{fs, os::unix::process::CommandExt as _, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
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
        name: "rules-reread",
        run: reread,
    },
    Case {
        name: "rules-refused",
        run: refused,
    },
];

/// What the tracer says once rules that it has read again are in force.
const READ_AGAIN: &str = "the rules were read again";
/// The same of rules that cannot be used.
const AS_THEY_WERE: &str = "the rules stay as they were";

/// Has the rules read again, and waits until the tracer has said this about it for the nth time.
fn read_again_with(options: &Options, tracer: &Tracer, said: &str, times: usize) -> Result<()> {
    tracer.signal(libc::SIGHUP);
    let is_said = |lines: &[String]| {
        let of_it = lines.iter().filter(|line| line.contains(said));
        of_it.count() >= times
    };
    if !tracer.wait_for_stderr(options.program_limit(), is_said) {
        bail!("after SIGHUP the tracer does not say that {said} ({times})");
    }
    Ok(())
}

/// Has the rules read again for the first time.
pub(super) fn read_again(options: &Options, tracer: &Tracer) -> Result<()> {
    read_again_with(options, tracer, READ_AGAIN, 1)
}

/// Rules that say of the fixture's program that it is a service manager.
pub(super) fn acme(options: &Options) -> Result<String> {
    Ok(format!(
        "[[actor]]\nkind = \"service_manager\"\nname = \"acme\"\npaths = [{:?}]\n",
        fs::canonicalize(&options.fixture)?.to_string_lossy()
    ))
}

fn name_an_actor(options: &Options) -> Result<Vec<String>> {
    let path = std::env::temp_dir().join(format!("oomtrace-rules-{}.toml", std::process::id()));
    fs::write(&path, acme(options)?)?;
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

/// SIGHUP has a daemon read its rules again; those that are none change nothing.
fn reread(options: &Options) -> Result<Vec<String>> {
    let path = std::env::temp_dir().join(format!("oomtrace-reread-{}.toml", std::process::id()));
    fs::write(&path, "")?;
    let result = reread_from(options, &path);
    let _ = fs::remove_file(&path);
    result
}

fn reread_from(options: &Options, path: &Path) -> Result<Vec<String>> {
    let mut command = Command::new(&options.tracer);
    command.args(["run", "--no-store", "--output", "json", "--rules"]);
    command.arg(path);
    // SAFETY: setsid(2) is safe to call there, and nothing is allocated.
    unsafe {
        // Without a terminal, whose end SIGHUP tells.
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
    let tracer = match Tracer::start_as(&mut command)? {
        Start::Running(tracer, _) => tracer,
        Start::Lacking(reason) => bail!("the tracer cannot run here: {reason}"),
    };
    let mut problems = Vec::new();
    let cause = |wanted: &str| -> Result<bool> {
        let report = fixture::run(options, "app-kill", &[])?;
        let pid = report.victims().next().context("a victim")?.pid;
        Ok(tracer.wait_for(0, options.record_limit(), |records| {
            let last = death::of(records, pid).last().copied().cloned();
            last.is_some_and(|death| death["cause"] == wanted)
        }))
    };
    let steps = [
        (None, "app_kill"),
        (Some((acme(options)?, READ_AGAIN, 1)), "supervisor_kill"),
        (
            Some(("this is no TOML".to_owned(), AS_THEY_WERE, 1)),
            "supervisor_kill",
        ),
        (Some((String::new(), READ_AGAIN, 2)), "app_kill"),
    ];
    for (number, (rules, wanted)) in steps.into_iter().enumerate() {
        if let Some((rules, said, times)) = rules {
            fs::write(path, rules)?;
            read_again_with(options, &tracer, said, times)?;
        }
        if !cause(wanted)? {
            problems.push(format!("step {number}: not {wanted}"));
        }
    }
    tracer.signal(libc::SIGTERM);
    problems.extend(tracer.wait(options.program_limit())?.problems());
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
