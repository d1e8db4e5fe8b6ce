//! Cargo builds of the static binaries, with the pinned toolchain.
//!
//! They are linked by the toolchain's own rust-lld against its own musl: no cross linker. SQLite,
//! which is C, is compiled by `musl-gcc`; for aarch64 by `aarch64-linux-musl-gcc`, which Debian
//! has no package of.

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};

use crate::{
    cli::{Arch, BuildArgs, RunArgs},
    command,
    project::Project,
    setup::{self, Tools},
};

impl Arch {
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
        }
    }
}

/// Cargo of a pinned toolchain, in the tree, with all that a build of ours needs.
pub(crate) fn cargo(project: &Project, tools: &Tools, toolchain: &str) -> Result<Command> {
    let mut cargo = command::cargo(toolchain);
    cargo.current_dir(&project.root);
    cargo.env("CARGO_TARGET_DIR", &project.target);
    cargo.env("PATH", path_with(&tools.linker)?);
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let name = arch.triple().to_uppercase().replace('-', "_");
        cargo.env(format!("CARGO_TARGET_{name}_LINKER"), "rust-lld");
        cargo.env(
            format!("CARGO_TARGET_{name}_RUSTFLAGS"),
            "-Clink-self-contained=yes -Ctarget-feature=+crt-static",
        );
    }
    Ok(cargo)
}

fn path_with(first: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(std::iter::once(first.to_path_buf()).chain(env::split_paths(&path)))
        .with_context(|| format!("{} cannot stand on the search path", first.display()))
}

/// Builds the tracer and returns where it is.
pub(crate) fn tracer(
    project: &Project,
    tools: &Tools,
    args: &BuildArgs,
    quiet: bool,
) -> Result<PathBuf> {
    packages(project, tools, args, quiet, &["oomtrace"])?;
    Ok(folder(project, args).join("oomtrace"))
}

/// Where the binaries of a build are.
pub(crate) fn folder(project: &Project, args: &BuildArgs) -> PathBuf {
    let profile = if args.release { "release" } else { "debug" };
    project.target.join(args.target.triple()).join(profile)
}

/// Builds the binaries of some packages.
pub(crate) fn packages(
    project: &Project,
    tools: &Tools,
    args: &BuildArgs,
    quiet: bool,
    packages: &[&str],
) -> Result<()> {
    let mut cargo = cargo(project, tools, &project.pins.stable)?;
    cargo.args(["build", "--bins", "--target", args.target.triple()]);
    if args.release {
        cargo.arg("--release");
    }
    if quiet {
        cargo.arg("--quiet");
    }
    for package in packages {
        cargo.args(["--package", package]);
    }
    command::check(&mut cargo)
}

/// Builds the tracer, then becomes it. Returns only where that fails.
pub(crate) fn run(project: &Project, args: &RunArgs) -> Result<ExitCode> {
    let tools = setup::run(project)?;
    let build = BuildArgs {
        release: args.release,
        target: Arch::X86_64,
    };
    if !folder(project, &build).exists() {
        eprintln!("building oomtrace (a minute or two, the first time)");
    }
    let binary = tracer(project, &tools, &build, true)?;
    let error = command::clean(&binary).args(&args.args).exec();
    Err(error).with_context(|| format!("cannot start {}", binary.display()))
}
