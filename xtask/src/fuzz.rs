//! The fuzz targets of `fuzz/`: built as cargo-fuzz builds them, each run for a limited time.
//!
//! cargo-fuzz itself is not needed. Where it is there, `cargo fuzz run TARGET` does the same,
//! with the address sanitizer; here it is left out, for what reads foreign bytes is safe code.

use std::{
    collections::VecDeque,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{cases::Outcome, cli::FuzzArgs, command, packages, project::Project, setup};

/// What cargo-fuzz tells the compiler: coverage that libFuzzer reads, and checks as in a debug
/// build.
const RUSTFLAGS: &str = "--cfg fuzzing -Cdebug-assertions -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0";
/// As long as the longest record of the kernel's.
const MAX_INPUT_BYTES: u32 = 16 * 1024;
/// One input that takes longer has found a loop, on the slowest machine too.
const INPUT_LIMIT_SECONDS: u32 = 60;
/// For starting and for writing down what was found.
const SLACK: Duration = Duration::from_secs(180);

/// How the inputs are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inputs {
    /// The same ones each time, so that a failure belongs to a change.
    Repeatable,
    /// New ones, that build upon those kept from earlier runs.
    New,
}

/// `cargo xtask fuzz`.
pub(crate) fn run(project: &Project, args: &FuzzArgs) -> Result<ExitCode> {
    setup::run(project)?;
    let known = targets(project)?;
    if let Some(unknown) = args.targets.iter().find(|name| !known.contains(name)) {
        bail!(
            "there is no target `{unknown}`; there are {}",
            known.join(", ")
        );
    }
    let wanted = if args.targets.is_empty() {
        &known
    } else {
        &args.targets
    };
    command::check(&mut build(project)?)?;
    let outcome = fuzz(project, wanted, args.seconds, Inputs::New);
    Ok(outcome.conclude(project))
}

/// The names of all targets.
pub(crate) fn targets(project: &Project) -> Result<Vec<String>> {
    let folder = manifest_dir(project).join("fuzz_targets");
    let files =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<String> = files
        .flatten()
        .filter_map(|file| file.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// Builds all targets.
pub(crate) fn build(project: &Project) -> Result<Command> {
    if command::find("c++").is_none() {
        packages::install(&["g++"], "no C++ compiler (`c++`), which libFuzzer needs")?;
    }
    let mut cargo = command::cargo(&project.pins.nightly);
    cargo.current_dir(manifest_dir(project));
    cargo.args(["build", "--release", "--bins", "--lib"]);
    cargo.args(["--target", &triple()]);
    cargo.env("CARGO_TARGET_DIR", home(project));
    cargo.env("RUSTFLAGS", RUSTFLAGS);
    Ok(cargo)
}

fn manifest_dir(project: &Project) -> PathBuf {
    project.root.join("fuzz")
}

/// Where all that fuzzing makes is.
fn home(project: &Project) -> PathBuf {
    project.target.join("fuzz")
}

/// The standard library that the nightly comes with.
fn triple() -> String {
    format!("{}-unknown-linux-gnu", env::consts::ARCH)
}

/// Runs some targets, as many at a time as there are processors.
pub(crate) fn fuzz(project: &Project, targets: &[String], seconds: u32, inputs: Inputs) -> Outcome {
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let queue: Mutex<VecDeque<&String>> = Mutex::new(targets.iter().collect());
    let total = Mutex::new(Outcome::default());
    thread::scope(|scope| {
        for _ in 0..jobs.min(targets.len()) {
            scope.spawn(|| {
                loop {
                    let next = queue
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .pop_front();
                    let Some(target) = next else { break };
                    let outcome = one(project, target, seconds, inputs)
                        .unwrap_or_else(|error| Outcome::fail(target, format!("{error:#}"), None));
                    total
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .absorb(outcome);
                }
            });
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn one(project: &Project, target: &str, seconds: u32, inputs: Inputs) -> Result<Outcome> {
    let home = home(project);
    let made = |part: &str| -> Result<PathBuf> {
        let folder = home.join(part).join(target);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    };
    let log = home.join(format!("{target}.log"));
    let mut fuzzer = command::clean(home.join(triple()).join("release").join(target));
    fuzzer.current_dir(manifest_dir(project));
    fuzzer.args([
        format!("-max_total_time={seconds}"),
        format!("-max_len={MAX_INPUT_BYTES}"),
        format!("-timeout={INPUT_LIMIT_SECONDS}"),
        format!("-artifact_prefix={}/", made("artifacts")?.display()),
        "-print_final_stats=1".to_owned(),
    ]);
    match inputs {
        Inputs::Repeatable => fuzzer.arg("-seed=1"),
        Inputs::New => fuzzer.arg(made("corpus")?),
    };
    let limit = Duration::from_secs(u64::from(seconds)) + SLACK;
    let status = command::logged(&mut fuzzer, &log, limit)?;
    let said = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let said = String::from_utf8_lossy(&said);
    if inputs == Inputs::New {
        println!("{target}: {} inputs", executed(&said));
    }
    Ok(judge(target, status.success(), &said, &log))
}

/// What came of a run, by what libFuzzer printed.
fn judge(target: &str, succeeded: bool, said: &str, log: &Path) -> Outcome {
    let name = format!("fuzz {target}");
    if !succeeded {
        return Outcome::fail(&name, why(said), Some(log));
    }
    match executed(said) {
        0 => Outcome::fail(&name, "no input was tried", Some(log)),
        _ => Outcome::pass(),
    }
}

fn executed(said: &str) -> u64 {
    said.lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

fn why(said: &str) -> String {
    let mut lines = said.lines();
    let panicked = lines
        .find(|line| line.contains(" panicked at "))
        .map(|line| format!("{line} {}", lines.next().unwrap_or_default()));
    let error = || said.lines().find(|line| line.contains("ERROR: libFuzzer"));
    let what = panicked
        .or_else(|| error().map(str::to_owned))
        .unwrap_or_else(|| "it ended early".to_owned());
    let input = said
        .lines()
        .find_map(|line| line.split_once("Test unit written to "));
    match input {
        Some((_, path)) => format!("{what}; the input is {path}"),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: &str = "INFO: Seed: 1\nthread '<unnamed>' (9) panicked at src/a.rs:1:2:\nindex out of bounds\n\
        ==9== ERROR: libFuzzer: deadly signal\n\
        artifact_prefix='a/'; Test unit written to a/crash-1\nstat::number_of_executed_units: 47\n";

    fn judged(succeeded: bool, said: &str) -> Outcome {
        judge("t", succeeded, said, Path::new("log"))
    }

    #[test]
    fn a_crash_is_named_with_its_input() {
        let outcome = judged(false, CRASH);
        let reason = &outcome.failures[0].reason;
        assert!(reason.contains("a.rs:1:2: index out of bounds"), "{reason}");
        assert!(reason.ends_with("the input is a/crash-1"), "{reason}");
    }

    #[test]
    fn a_time_out_is_named_too() {
        let outcome = judged(false, "==9== ERROR: libFuzzer: timeout after 60 seconds\n");
        assert!(outcome.failures[0].reason.contains("timeout after 60"));
    }

    #[test]
    fn a_run_without_inputs_is_a_failure() {
        assert_eq!(judged(true, "DONE").tally().failed, 1);
        assert_eq!(judged(true, CRASH).tally().passed, 1);
    }
}
