//! What the user typed: the arguments of `cargo xtask`, and nothing that acts on them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const JOBS: u8 = 2;
const FUZZ_SECONDS: u32 = 20;

/// Builds, packs and tests oomtrace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Install what pins.toml names, where it lacks (every other task does this by itself)
    Setup,
    /// Build the static binary and print its path
    Build(BuildTask),
    /// Build the tracer, then run it in place of this process
    Run(RunArgs),
    /// Pack the release binary with licences and man page into target/dist
    Dist,
    /// Feed the readers of foreign bytes with made-up ones, and say what they break
    Fuzz(FuzzArgs),
    /// Boot Debian's kernels under QEMU and run the scenarios in them, or a whole Debian
    Vm(VmArgs),
    /// End real containers, pods and units on this machine and compare the records
    Runtimes(RuntimesArgs),
    /// Measure what tracing costs, beside bpftrace and sigsnoop
    Bench(BenchArgs),
    /// Run everything that must pass: format, lints, tests, scenarios here and in VMs
    Test(TestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BuildTask {
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    /// Build beside it the programs that test it
    #[arg(long)]
    pub(crate) tests: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Build with optimisations
    #[arg(long)]
    pub(crate) release: bool,
    /// Architecture to build for
    #[arg(long, value_enum, default_value_t = Arch::X86_64)]
    pub(crate) target: Arch,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Build with optimisations
    #[arg(long)]
    pub(crate) release: bool,
    /// Arguments of the tracer
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<std::ffi::OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64")]
    Aarch64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cgroup {
    V1,
    V2,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hooks {
    Auto,
    Fentry,
    Kprobe,
    Tracepoint,
}

impl Hooks {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }
}

/// A release of Debian, as a system with container runtimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Image {
    Bookworm,
    Trixie,
}

impl Image {
    pub(crate) const ALL: [Self; 2] = [Self::Bookworm, Self::Trixie];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct VmArgs {
    /// Kernel series to boot (may be given more than once): 5.10, 6.1, 6.12, 6.18, 7.2 or all
    #[arg(long, value_name = "SERIES", default_value = "all")]
    pub(crate) kernel: Vec<String>,
    /// Boot a Debian with systemd and container runtimes instead (may be given more than once),
    /// and run the runtime tests in it
    #[arg(
        long,
        value_enum,
        value_name = "RELEASE",
        conflicts_with_all = ["kernel", "cgroup", "hooks", "require_hooks"]
    )]
    pub(crate) image: Vec<Image>,
    /// Version of the memory cgroups in the guest; v1 where the kernel still has it
    #[arg(long, value_enum, default_value_t = Cgroup::Both)]
    pub(crate) cgroup: Cgroup,
    /// Hooks that the tracer is to use; several are run one after the other
    #[arg(long, value_enum, value_delimiter = ',', default_value = "auto")]
    pub(crate) hooks: Vec<Hooks>,
    /// Fail where a kernel does not give these hooks, instead of skipping
    #[arg(long)]
    pub(crate) require_hooks: bool,
    /// Run this scenario or runtime test alone (may be given more than once)
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Keep the recordings of the runs, or what a command has put into /save; one folder a boot
    #[arg(long, value_name = "DIR")]
    pub(crate) save: Option<PathBuf>,
    /// Run this shell command in the guest instead of the tests, and print what it says
    #[arg(long, value_name = "COMMAND")]
    pub(crate) sh: Option<String>,
    /// Put a file of the host into the guest's /files (may be given more than once)
    #[arg(long, value_name = "FILE")]
    pub(crate) add: Vec<PathBuf>,
    /// Guests that run at the same time
    #[arg(long, value_name = "N", default_value_t = JOBS, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) jobs: u8,
    /// Time limit of one boot, in seconds (240; with --image 600)
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Processors of a guest; more than one is a risk under emulation, see vm/qemu.rs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) cpus: Option<u8>,
    /// Memory of a guest, in MiB (1024; with --image 2048)
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u32>,
}

impl Default for VmArgs {
    /// What `cargo xtask vm` with no arguments asks for.
    fn default() -> Self {
        Self {
            kernel: vec!["all".to_owned()],
            image: Vec::new(),
            cgroup: Cgroup::Both,
            hooks: vec![Hooks::Auto],
            require_hooks: false,
            only: Vec::new(),
            save: None,
            sh: None,
            add: Vec::new(),
            jobs: JOBS,
            timeout: None,
            cpus: None,
            memory: None,
        }
    }
}

#[derive(Debug, Default, Args)]
pub(crate) struct RuntimesArgs {
    /// Build with optimisations
    #[arg(long)]
    pub(crate) release: bool,
    /// Run this part alone (may be given more than once): docker, containerd, cri, podman, runc,
    /// crun or systemd
    #[arg(long, value_name = "PART")]
    pub(crate) part: Vec<String>,
    /// Run this case alone (may be given more than once)
    #[arg(long, value_name = "CASE")]
    pub(crate) only: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Time for each target
    #[arg(long, value_name = "N", default_value_t = FUZZ_SECONDS)]
    pub(crate) seconds: u32,
    /// Targets to run (all of fuzz/fuzz_targets)
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Each round measures every tool
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Signals that kill nobody, for each measurement
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub(crate) signals: u32,
    /// Processes to kill, for each measurement
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) kills: u32,
}

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Leave the virtual machines out (counted as skipped)
    #[arg(long)]
    pub(crate) no_vm: bool,
    /// Also boot whole Debian systems with container runtimes
    #[arg(long, conflicts_with_all = ["no_vm", "quick"])]
    pub(crate) images: bool,
    /// Boot one kernel instead of five (the others are counted as skipped)
    #[arg(long)]
    pub(crate) quick: bool,
}
