//! The steps of `cargo xtask test`. Each runs one thing and counts what came out.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result};

use super::{Ground, libtest};
use crate::{
    cases::{self, Outcome},
    cli::{Arch, BuildArgs, Hooks, RuntimesArgs, VmArgs},
    command, compile,
    fuzz::{self, Inputs},
    runtimes, vm,
};

const COMPILE_LIMIT: Duration = Duration::from_secs(15 * 60);
const HOST_LIMIT: Duration = Duration::from_secs(8 * 60);
const BPF_PACKAGE: &str = "oomtrace-ebpf";
/// Debian's kernels give all of them.
const HOOKS: [Hooks; 3] = [Hooks::Fentry, Hooks::Kprobe, Hooks::Tracepoint];
/// For all passes over the scenarios.
const GUEST_LIMIT_SECONDS: u64 = 20 * 60;
/// For each fuzz target. What is known to be wrong is found in the first ones.
const FUZZ_SECONDS: u32 = 15;
/// The kernel that stands for all in a quick run: old enough for cgroup v1.
const QUICK_KERNEL: &str = "6.1";

impl Ground<'_> {
    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    fn cargo(&self, toolchain: &str) -> Result<Command> {
        compile::cargo(self.project, self.tools, toolchain)
    }

    fn stable(&self) -> Result<Command> {
        self.cargo(&self.project.pins.stable)
    }

    /// A command that counts as one case.
    pub(super) fn case(&self, name: &str, command: &mut Command) -> Result<Outcome> {
        let log = self.log(name);
        let status = command::logged(command, &log, COMPILE_LIMIT)?;
        if status.success() {
            return Ok(Outcome::pass());
        }
        Ok(Outcome::fail(name, format!("{status}"), Some(&log)))
    }
}

/// With the nightly's rustfmt: rustfmt.toml uses unstable options.
pub(super) fn format(ground: &Ground<'_>) -> Result<Outcome> {
    let mut cargo = ground.cargo(&ground.project.pins.nightly)?;
    ground.case("format", cargo.args(["fmt", "--all", "--check"]))
}

pub(super) fn clippy(ground: &Ground<'_>) -> Result<Outcome> {
    let mut cargo = ground.stable()?;
    cargo.args([
        "clippy",
        "--workspace",
        "--exclude",
        BPF_PACKAGE,
        "--all-targets",
    ]);
    ground.case("clippy", cargo.args(["--", "--deny", "warnings"]))
}

/// The BPF target has no prebuilt `core`, hence the nightly that the programs are built with.
pub(super) fn clippy_bpf(ground: &Ground<'_>) -> Result<Outcome> {
    let mut cargo = ground.cargo(&ground.project.pins.nightly)?;
    cargo.args([
        "clippy",
        "--package",
        BPF_PACKAGE,
        "--bins",
        "--target",
        "bpfel-unknown-none",
    ]);
    cargo.args(["-Zbuild-std=core", "--", "--deny", "warnings"]);
    // What aya-build tells the compiler.
    cargo.env(
        "CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS",
        "--cfg=bpf_target_arch=\"x86_64\"",
    );
    ground.case("clippy-bpf", &mut cargo)
}

/// Checks the tracer, and by its build script compiles the BPF side, for aarch64.
pub(super) fn aarch64(ground: &Ground<'_>) -> Result<Outcome> {
    let mut cargo = ground.stable()?;
    cargo.args([
        "check",
        "--package",
        "oomtrace",
        "--target",
        Arch::Aarch64.triple(),
    ]);
    // SQLite itself needs a C compiler of that architecture, which few machines have: nothing is
    // linked here.
    cargo.env("LIBSQLITE3_SYS_USE_PKG_CONFIG", "1");
    cargo.env("SQLITE3_LIB_DIR", ground.project.target.join("no-sqlite"));
    ground.case("aarch64", &mut cargo)
}

pub(super) fn unit_tests(ground: &Ground<'_>) -> Result<Outcome> {
    let log = ground.log("unit-tests");
    let mut cargo = ground.stable()?;
    cargo.args([
        "test",
        "--workspace",
        "--exclude",
        BPF_PACKAGE,
        "--no-fail-fast",
    ]);
    let status = command::logged(&mut cargo, &log, COMPILE_LIMIT)?;
    let printed = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(libtest::read(
        &String::from_utf8_lossy(&printed),
        status.success(),
        &log,
    ))
}

/// Apart from the workspace, so with their own format and lints.
pub(super) fn fuzz(ground: &Ground<'_>) -> Result<Outcome> {
    let project = ground.project;
    let mut fmt = ground.cargo(&project.pins.nightly)?;
    fmt.current_dir(project.root.join("fuzz"));
    let mut outcome = ground.case("fuzz-format", fmt.args(["fmt", "--check"]))?;
    // As the workspace is looked at, and where that was: most of what they depend on is there.
    let mut clippy = ground.stable()?;
    clippy.current_dir(project.root.join("fuzz"));
    clippy.args(["clippy", "--bins", "--lib", "--", "--deny", "warnings"]);
    // Nothing is linked, so libFuzzer need not be compiled.
    clippy.env("CUSTOM_LIBFUZZER_PATH", "/dev/null");
    outcome.absorb(ground.case("fuzz-clippy", &mut clippy)?);
    let built = ground.case("fuzz-build", &mut fuzz::build(project)?)?;
    let can_run = built.failures.is_empty();
    outcome.absorb(built);
    if can_run {
        let targets = fuzz::targets(project)?;
        outcome.absorb(fuzz::fuzz(
            project,
            &targets,
            FUZZ_SECONDS,
            Inputs::Repeatable,
        ));
    }
    Ok(outcome)
}

/// What the next two steps run.
pub(super) fn binaries(ground: &Ground<'_>) -> Result<Outcome> {
    let mut cargo = ground.stable()?;
    cargo.args([
        "build",
        "--release",
        "--bins",
        "--target",
        Arch::X86_64.triple(),
    ]);
    for package in vm::PACKAGES.into_iter().chain(runtimes::PACKAGES) {
        cargo.args(["--package", package]);
    }
    ground.case("static-binaries", &mut cargo)
}

pub(super) fn built(ground: &Ground<'_>) -> PathBuf {
    let args = BuildArgs {
        release: true,
        target: Arch::X86_64,
    };
    compile::folder(ground.project, &args)
}

pub(super) fn host(ground: &Ground<'_>) -> Result<Outcome> {
    const NAME: &str = "this machine";
    if !command::is_root() {
        return Ok(Outcome::skip(
            NAME,
            "the tracer needs root: run the tests as root to have these",
        ));
    }
    let log = ground.log("host-scenarios");
    let dir = built(ground);
    let mut runner = command::clean(dir.join("oomtrace-scenarios"));
    runner.arg("--tracer").arg(dir.join("oomtrace"));
    runner.arg("--fixture").arg(dir.join("oomtrace-fixture"));
    runner.current_dir(&ground.project.root);
    runner.env(vm::FOLDER_VARIABLE, vm::programs(ground.project));
    let status = command::logged(&mut runner, &log, HOST_LIMIT);
    let printed = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let mut outcome = cases::read(&String::from_utf8_lossy(&printed), NAME, &log);
    match status {
        Ok(status) if status.success() || !outcome.failures.is_empty() => {}
        Ok(status) => {
            let why = format!("no case failed, but it ended with {status}");
            outcome.add_failure(format!("{NAME} scenario runner"), why, Some(&log));
        }
        Err(error) => {
            let why = format!("{error:#}");
            outcome.add_failure(format!("{NAME} scenario runner"), why, Some(&log));
        }
    }
    Ok(outcome)
}

/// Containers, pods and units, by the runtimes themselves.
pub(super) fn runtimes(ground: &Ground<'_>) -> Result<Outcome> {
    let log = ground.log("runtimes");
    runtimes::on_host(
        ground.project,
        &RuntimesArgs::default(),
        &built(ground),
        &log,
    )
}

pub(super) fn vm(ground: &Ground<'_>) -> Result<Outcome> {
    let all = || vm::SERIES.iter().map(|series| series.name);
    let wanted: Vec<&str> = match ground.args {
        args if args.no_vm => Vec::new(),
        args if args.quick => vec![QUICK_KERNEL],
        _ => all().collect(),
    };
    let mut outcome = Outcome::default();
    for name in all().filter(|name| !wanted.contains(name)) {
        let name = format!("kernel {name}");
        outcome.absorb(Outcome::skip(&name, "left out by --no-vm or --quick"));
    }
    if wanted.is_empty() {
        return Ok(outcome);
    }
    println!();
    let args = VmArgs {
        kernel: wanted.into_iter().map(str::to_owned).collect(),
        hooks: HOOKS.to_vec(),
        require_hooks: true,
        timeout: Some(GUEST_LIMIT_SECONDS),
        ..VmArgs::default()
    };
    outcome.absorb(vm::scenarios(ground.project, &args, &built(ground))?);
    Ok(outcome)
}
