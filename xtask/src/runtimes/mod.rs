//! Real container runtimes and systemd on this machine: what is lacking is installed, the runner
//! does the rest.

mod root;

use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    cases::{self, Outcome},
    cli::{Arch, BuildArgs, RuntimesArgs},
    command, compile, packages,
    project::Project,
    setup,
};

/// What the tests on runtimes run.
pub(crate) const PACKAGES: [&str; 2] = ["oomtrace", "oomtrace-runtimes"];
/// A minute, where nothing else works; each wait in it has a limit of its own.
const LIMIT: Duration = Duration::from_secs(15 * 60);
const PLACE: &str = "runtimes";

/// Programs that are called, and Debian's packages with them.
const WANTED: [(&str, &str); 10] = [
    ("busybox", "busybox-static"),
    ("conmon", "conmon"),
    ("containerd", "containerd"),
    ("crun", "crun"),
    ("docker", "docker.io"),
    ("dockerd", "docker.io"),
    ("earlyoom", "earlyoom"),
    ("mmdebstrap", "mmdebstrap"),
    ("podman", "podman"),
    ("runc", "runc"),
];

/// `cargo xtask runtimes`.
pub(crate) fn run(project: &Project, args: &RuntimesArgs) -> Result<ExitCode> {
    let tools = setup::run(project)?;
    let build = BuildArgs {
        release: args.release,
        target: Arch::X86_64,
    };
    compile::packages(project, &tools, &build, false, &PACKAGES)?;
    let binaries = compile::folder(project, &build);
    let log = project.logs("runtimes").join("host.log");
    let outcome = on_host(project, args, &binaries, &log)?;
    print_summaries(&log)?;
    Ok(outcome.conclude(project))
}

/// Runs the cases here. What this machine does not allow is skipped.
pub(crate) fn on_host(
    project: &Project,
    args: &RuntimesArgs,
    binaries: &Path,
    log: &Path,
) -> Result<Outcome> {
    if !command::is_root() {
        let why = "containers and the tracer need root: run the tests as root to have these";
        return Ok(Outcome::skip(PLACE, why));
    }
    install();
    let mut runner = command::clean(binaries.join("oomtrace-runtimes"));
    runner.arg("--tracer").arg(binaries.join("oomtrace"));
    for part in &args.part {
        runner.args(["--part", part]);
    }
    for name in &args.only {
        runner.args(["--only", name]);
    }
    match root::get(project) {
        Ok(Some(root)) => {
            runner.arg("--systemd-root").arg(root);
        }
        Ok(None) => {}
        // The runner says which cases it cannot run for that.
        Err(error) => eprintln!("notice: no root file system with systemd: {error:#}"),
    }
    let started = Instant::now();
    let status = command::logged(&mut runner, log, LIMIT);
    let printed = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    let mut outcome = cases::read(&String::from_utf8_lossy(&printed), PLACE, log);
    let problem = match status {
        Ok(status) if status.success() || !outcome.failures.is_empty() => None,
        Ok(status) => Some(format!("no case failed, but it ended with {status}")),
        Err(error) => Some(format!("{error:#}")),
    };
    if let Some(problem) = problem {
        outcome.add_failure(format!("{PLACE} runner"), problem, Some(log));
    }
    eprintln!("{PLACE}: {} s", started.elapsed().as_secs());
    Ok(outcome)
}

/// What cannot be installed is found lacking by the cases that need it.
fn install() {
    let mut lacking: Vec<&str> = WANTED
        .into_iter()
        .filter(|(program, _)| command::find(program).is_none())
        .map(|(_, package)| package)
        .collect();
    lacking.dedup();
    if lacking.is_empty() {
        return;
    }
    if let Err(error) = packages::install(&lacking, "container runtimes are tested here") {
        eprintln!("notice: {error:#}");
    }
}

/// Each death, as a person reads it.
fn print_summaries(log: &Path) -> Result<()> {
    let printed = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    String::from_utf8_lossy(&printed)
        .lines()
        .filter_map(|line| line.strip_prefix("[summary] "))
        .for_each(|line| println!("{line}"));
    Ok(())
}
