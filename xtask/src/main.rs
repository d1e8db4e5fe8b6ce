//! `cargo xtask`: what builds, packs and tests oomtrace.
//!
//! | module | owns |
//! |---|---|
//! | `cli` | what the user typed |
//! | `project` | where things are: the source tree, the target folder, the cache |
//! | `pins` | the versions in `pins.toml` |
//! | `command` | running other programs, free of the outer cargo's environment |
//! | `setup`, `toolchain`, `linker`, `packages` | installing what is pinned or needed, only where it lacks |
//! | `compile`, `dist` | the static binary, and the archive around it |
//! | `cases` | the result protocol of the scenarios, and adding results up |
//! | `vm` | Debian's kernels, and whole Debian systems, under QEMU |
//! | `runtimes` | real container runtimes and systemd, on this machine |
//! | `bench` | what tracing costs, beside other tools |
//! | `fuzz` | the fuzz targets |
//! | `test` | everything that must pass |
//!
//! It starts with any Rust from 1.85 on, and does the work with the pinned toolchains.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's tool: its results go to stdout, its progress to stderr"
)]

mod bench;
mod cases;
mod cli;
mod command;
mod compile;
mod dist;
mod fuzz;
mod linker;
mod packages;
mod pins;
mod project;
mod runtimes;
mod setup;
mod test;
mod toolchain;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use crate::{cli::Task, project::Project};

fn main() -> ExitCode {
    let task = cli::Cli::parse().task;
    match run(&task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<ExitCode> {
    let project = Project::find()?;
    match task {
        Task::Setup => setup::run(&project).map(|_| ExitCode::SUCCESS),
        Task::Build(args) => {
            let tools = setup::run(&project)?;
            if args.tests {
                let tests = [vm::PACKAGES.as_slice(), &runtimes::PACKAGES].concat();
                compile::packages(&project, &tools, &args.build, false, &tests)?;
            }
            let binary = compile::tracer(&project, &tools, &args.build, false)?;
            println!("{}", binary.display());
            Ok(ExitCode::SUCCESS)
        }
        Task::Run(args) => compile::run(&project, args),
        Task::Dist => dist::run(&project).map(|()| ExitCode::SUCCESS),
        Task::Bench(args) => bench::run(&project, args),
        Task::Fuzz(args) => fuzz::run(&project, args),
        Task::Vm(args) => vm::run(&project, args),
        Task::Runtimes(args) => runtimes::run(&project, args),
        Task::Test(args) => test::run(&project, args),
    }
}
