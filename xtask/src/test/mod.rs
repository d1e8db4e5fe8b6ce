//! `cargo xtask test`: all steps one after the other; a failure stops none of them.
//!
//! Each step is one line of progress, with its log under `target/test`; all failures are listed
//! at the end, and the very last line is `N passed, N failed, N skipped`.

mod libtest;
mod metrics;
mod steps;
mod systems;

use std::{
    fs,
    io::{self, Write as _},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context as _, Result};

use crate::{
    cases::Outcome,
    cli::TestArgs,
    project::Project,
    setup::{self, Tools},
    vm,
};

/// What every step has at hand.
pub(crate) struct Ground<'a> {
    project: &'a Project,
    tools: &'a Tools,
    args: &'a TestArgs,
    logs: std::path::PathBuf,
}

struct Step {
    name: &'static str,
    run: fn(&Ground<'_>) -> Result<Outcome>,
}

/// The first step that runs what was fetched.
const HOST_STEP: &str = "scenarios on this machine";

const STEPS: [Step; 13] = [
    Step {
        name: "format",
        run: steps::format,
    },
    Step {
        name: "clippy",
        run: steps::clippy,
    },
    Step {
        name: "clippy of the BPF side",
        run: steps::clippy_bpf,
    },
    Step {
        name: "aarch64 compiles",
        run: steps::aarch64,
    },
    Step {
        name: "unit and property tests",
        run: steps::unit_tests,
    },
    Step {
        name: "fuzz targets",
        run: steps::fuzz,
    },
    Step {
        name: "static binaries",
        run: steps::binaries,
    },
    Step {
        name: HOST_STEP,
        run: steps::host,
    },
    Step {
        name: "metrics, rules and dashboard",
        run: metrics::run,
    },
    Step {
        name: "runtimes on this machine",
        run: steps::runtimes,
    },
    Step {
        name: "scenarios in virtual machines",
        run: steps::vm,
    },
    Step {
        name: "runtimes in virtual machines",
        run: systems::images,
    },
    Step {
        name: "Vagrantfile",
        run: systems::vagrant,
    },
];

pub(crate) fn run(project: &Project, args: &TestArgs) -> Result<ExitCode> {
    let started = Instant::now();
    let tools = setup::run(project)?;
    let logs = project.logs("test");
    fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let ground = Ground {
        project,
        tools: &tools,
        args,
        logs,
    };
    let mut total = Outcome::default();
    std::thread::scope(|scope| {
        // The network's part of the virtual machines, while the compilers work. What goes wrong
        // here is met again, and counted, by the step that needs it.
        let mut fetched =
            (!args.no_vm).then(|| scope.spawn(|| vm::prepare(project, systems::wanted(args))));
        for step in &STEPS {
            if step.name == HOST_STEP {
                let _ = fetched.take().map(std::thread::ScopedJoinHandle::join);
            }
            total.absorb(one(step, &ground));
        }
    });
    report(project, &total);
    println!("took {} s", started.elapsed().as_secs());
    println!("{}", total.tally());
    Ok(if total.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn one(step: &Step, ground: &Ground<'_>) -> Outcome {
    print!("{} ... ", step.name);
    let _ = io::stdout().flush(); // progress only
    let started = Instant::now();
    let outcome = (step.run)(ground)
        .unwrap_or_else(|error| Outcome::fail(step.name, format!("{error:#}"), None));
    println!("{} ({} s)", outcome.tally(), started.elapsed().as_secs());
    outcome
}

fn report(project: &Project, total: &Outcome) {
    if !total.skips.is_empty() {
        println!("\nSKIPPED, so not tested here:");
    }
    for finding in &total.skips {
        println!("  {}: {}", finding.name, finding.reason);
    }
    if !total.failures.is_empty() {
        println!("\nFAILED:");
    }
    for finding in &total.failures {
        println!("  {}: {}", finding.name, finding.reason);
        if let Some(log) = &finding.log {
            println!("      log: {}", project.short(log).display());
        }
    }
    println!();
}
