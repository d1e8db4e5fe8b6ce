//! What can be typed.

use std::{ffi::OsString, fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Result, anyhow};
use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use clap_complete::Shell;

use super::{
    metrics,
    scope::ScopeArg,
    store::{ReadArgs, StoreArgs},
    wanted::{self, Wanted, of_kind},
    when,
};
use crate::{
    identity::{memory, resolver, target::Target},
    privileges::{Keep, facts::Task},
    probe::{attach::check_ring_bytes, pins, plan::OomHook},
    provenance::{Config, record::Cause, redact::ArgvPolicy, rules::Rules},
    store::{Filter, Roles},
};

/// What killed it? Traces every death by SIGKILL, and every exit with status 137, to
/// whoever sent it.
#[derive(Debug, Parser)]
#[command(name = "oomtrace", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(super) struct Cli {
    /// Say more about oomtrace's own work (twice: what the BPF programs say, too)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// Say nothing but records and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

pub(super) const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed or nothing found, 2 usage, 77 privileges or kernel \
features lacking. `exec` ends with its command's own status; its own failures are 125, 126 and 127.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Trace the whole node until Ctrl-C
    Run(RunArgs),
    /// Run a command, trace it and what it starts, and say why they ended
    Exec(ExecArgs),
    /// List the deaths that `run` has stored, the newest first
    List(ListArgs),
    /// Show one stored death
    Show(ShowArgs),
    /// Write the stream of events of the whole node to a file until Ctrl-C, for `replay`
    Record(RecordArgs),
    /// Tell a stored death in full: what happened, what it was not, what to do
    Why(WhyArgs),
    /// Detach and remove what `run --pin` has left attached
    Detach(DetachArgs),
    /// Say what this kernel and these privileges allow, and how to get the rest
    Doctor(DoctorArgs),
    /// Put a recorded stream of events through the same pipeline
    Replay(ReplayArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// How records look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Pretty,
    /// One JSON object a line
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Hooks {
    /// The best that the kernel gives
    Auto,
    Fentry,
    Kprobe,
    /// No hook on the OOM killer itself
    Tracepoint,
}

/// Options about what deaths are put down to, and how they are written.
#[derive(Clone, Debug, Args)]
pub(super) struct DeathArgs {
    /// How records look
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Format,
    /// Of each process's arguments, write the first only
    #[arg(long, conflicts_with = "no_mask")]
    redact_argv: bool,
    /// Do not mask the values of well-known secret flags and variables in arguments
    #[arg(long)]
    no_mask: bool,
    /// A request to stop counts for this long: a SIGKILL after it is a stop timeout
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = stop_window)]
    stop_window: Duration,
    /// Rules of your own for who stands behind a sender (TOML; see the README): they go
    /// before the built-in ones. May be given more than once: the first file goes first
    #[arg(long, value_name = "FILE")]
    rules: Vec<PathBuf>,
}

impl DeathArgs {
    pub(super) fn config(&self) -> Config {
        Config {
            argv: match (self.redact_argv, self.no_mask) {
                (true, _) => ArgvPolicy::NameOnly,
                (_, true) => ArgvPolicy::Keep,
                _ => ArgvPolicy::Mask,
            },
            stop_window_ns: u64::try_from(self.stop_window.as_nanos()).unwrap_or(u64::MAX),
            ..Config::default()
        }
    }

    /// Whether there are rules of the user's own.
    pub(super) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// The built-in rules with the user's own before them.
    pub(super) fn rules(&self) -> Result<Rules> {
        let mut rules = Rules::built_in()?;
        for path in self.rules.iter().rev() {
            let name = path.display();
            let text = fs::read_to_string(path).map_err(|error| {
                anyhow!(
                    "the rules in {name} cannot be read: {error}\n\
                     do: name a file that is there and that this user may read, or leave --rules out"
                )
            })?;
            rules.prepend(&text).map_err(|error| {
                anyhow!(
                    "the rules in {name} cannot be used: {}\n\
                     do: mend them; \"Rules of your own\" in the README has an example",
                    error.to_string().trim_end()
                )
            })?;
        }
        Ok(rules)
    }
}

fn stop_window(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; for example 90s, 30m or 1h 30m"))
}

/// Options about what hangs in the kernel.
#[derive(Clone, Debug, Args)]
pub(super) struct ProbeArgs {
    /// Size of the ring buffer, bytes: a power of two, one page at least
    #[arg(long, value_name = "BYTES", default_value_t = 8 * 1024 * 1024, value_parser = ring_bytes)]
    pub(super) ring_bytes: u32,
    /// What to watch the OOM killer with
    #[arg(long, value_enum, default_value = "auto")]
    hooks: Hooks,
}

fn ring_bytes(text: &str) -> Result<u32, String> {
    let bytes = text
        .parse()
        .map_err(|error| format!("{error}; it must be a number of bytes, for example 8388608"))?;
    check_ring_bytes(bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

impl ProbeArgs {
    pub(super) fn hook(&self) -> Option<OomHook> {
        match self.hooks {
            Hooks::Auto => None,
            Hooks::Fentry => Some(OomHook::Fentry),
            Hooks::Kprobe => Some(OomHook::Kprobe),
            Hooks::Tracepoint => Some(OomHook::Tracepoint),
        }
    }
}

/// Options about whose deaths are told.
#[derive(Clone, Debug, Args)]
pub(super) struct ScopeArgs {
    /// Whose deaths: node; pod (the one that oomtrace runs in, as a sidecar does);
    /// container:NAME, pod:[NAMESPACE/]NAME, unit:NAME or cgroup:PATH
    #[arg(long, value_name = "SCOPE", default_value = "node", value_parser = ScopeArg::parse)]
    pub(super) scope: ScopeArg,
}

/// Options about what is looked up beside the kernel.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct LookupArgs {
    /// Do not ask container runtimes: neither their files nor their sockets
    #[arg(long)]
    no_runtimes: bool,
    /// How often the memory of each cgroup that has a limit is looked at, so that an OOM kill
    /// is told with what came before it
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = memory_interval)]
    memory_interval: Duration,
    /// Do not look at the memory of cgroups
    #[arg(long, conflicts_with = "memory_interval")]
    no_memory: bool,
}

impl LookupArgs {
    /// `keep`: of its privileges, what the thread keeps.
    pub(super) fn resolver(&self, keep: Keep) -> resolver::Options {
        let options = if self.no_runtimes {
            resolver::Options::nobody()
        } else {
            resolver::Options::of_node()
        };
        resolver::Options { keep, ..options }
    }

    /// The same. `None`: it is not to be looked at.
    pub(super) fn memory(&self, keep: Keep) -> Option<memory::Options> {
        (!self.no_memory).then_some(memory::Options {
            interval: self.memory_interval,
            keep,
        })
    }

    /// What of this goes on when every hook is attached.
    pub(super) fn tasks(&self) -> impl Iterator<Item = Task> {
        let asks = (!self.no_runtimes).then_some(Task::AskRuntimes);
        let watches = (!self.no_memory).then_some(Task::WatchMemory);
        asks.into_iter().chain(watches)
    }
}

fn memory_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; for example 500ms, 1s or 5s"))?;
    if (memory::SHORTEST..=memory::LONGEST).contains(&interval) {
        Ok(interval)
    } else {
        Err(format!(
            "it must be between {} and {}",
            humantime::format_duration(memory::SHORTEST),
            humantime::format_duration(memory::LONGEST)
        ))
    }
}

/// Options about tracing.
#[derive(Clone, Debug, Args)]
pub(super) struct TraceArgs {
    #[command(flatten)]
    pub(super) deaths: DeathArgs,
    #[command(flatten)]
    pub(super) probe: ProbeArgs,
    #[command(flatten)]
    pub(super) lookups: LookupArgs,
    /// Also write the stream of events to a file, for `oomtrace replay`
    #[arg(long, value_name = "FILE")]
    pub(super) record: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    #[command(flatten)]
    pub(super) probe: ProbeArgs,
    #[command(flatten)]
    pub(super) scope: ScopeArgs,
    #[command(flatten)]
    pub(super) lookups: LookupArgs,
    /// The file to write
    pub(super) file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) trace: TraceArgs,
    #[command(flatten)]
    pub(super) scope: ScopeArgs,
    /// Serve metrics (/metrics) and health (/healthz) over HTTP, by default at 127.0.0.1:9737.
    /// Without an address, a port is on this machine only; port 0 is any that is free
    #[arg(long, value_name = "ADDR:PORT", num_args = 0..=1, default_missing_value = metrics::DEFAULT, value_parser = metrics::address)]
    pub(super) listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(super) store: StoreArgs,
    /// Leave programs and maps attached when oomtrace ends, in this folder of the BPF file system:
    /// the next start tells what died meanwhile. `oomtrace detach` removes them
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = pins::DEFAULT_FOLDER, conflicts_with = "scope")]
    pub(super) pin: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct DetachArgs {
    /// Where `run --pin` has pinned them
    #[arg(default_value = pins::DEFAULT_FOLDER)]
    pub(super) folder: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    #[command(flatten)]
    pub(super) trace: TraceArgs,
    /// Write the report to a file instead of stderr
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Run the command as root, even if sudo was called by somebody else
    #[arg(long)]
    pub(super) as_root: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct DoctorArgs {
    /// How the findings look
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Format,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    pub(super) deaths: DeathArgs,
    #[command(flatten)]
    pub(super) scope: ScopeArgs,
    /// A file written by `oomtrace record`, or with `--record`
    pub(super) file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// Whose death: container:NAME|ID, pod:[NAMESPACE/]NAME, unit:NAME, cgroup:PATH, pid:N, id:ID;
    /// without a prefix it may be any of them, or a command's name [default: the latest with which a container or a
    /// unit ended]
    #[arg(value_parser = Wanted::parse)]
    pub(super) target: Option<Wanted>,
    /// Also write it as a page of HTML to this file; `-`: that alone, to stdout
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// A page for people, or one JSON object
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Format,
    #[command(flatten)]
    pub(super) store: ReadArgs,
}

/// Which of the stored deaths.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// From this time on: so long ago (90s, 2h, 3days), a day or a time as the table has it
    /// (2026-11-20, "2026-11-20 14:05"), or one with its zone (2026-11-20T13:05:00Z)
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<i64>,
    /// Before this time, or this day
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<i64>,
    /// Of this cause; with it, those that went along with others are shown, too
    #[arg(long, value_parser = cause())]
    cause: Option<Cause>,
    /// Of the container with this name, or whose id begins so
    #[arg(long, value_name = "NAME|ID", value_parser = of_kind("container"))]
    container: Option<Target>,
    /// Of containers in this namespace
    #[arg(long)]
    namespace: Option<String>,
    /// Of this pod
    #[arg(long, value_name = "[NAMESPACE/]NAME", value_parser = of_kind("pod"))]
    pod: Option<Target>,
    /// Of this systemd unit
    #[arg(long, value_name = "NAME", value_parser = of_kind("unit"))]
    unit: Option<Target>,
    /// So many at the most, 0 for all [default: 50 in a table, else all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Also those that went along with another (with the init of their namespace, with their
    /// group), and container runtimes' own helpers
    #[arg(long)]
    all: bool,
    /// A table, or as they are stored: one JSON object a line
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Format,
    #[command(flatten)]
    pub(super) store: ReadArgs,
}

impl ListArgs {
    pub(super) fn filter(&self) -> Filter {
        let targets = [&self.container, &self.pod, &self.unit];
        Filter {
            since_ns: self.since,
            until_ns: self.until,
            cause: self.cause,
            namespace: self.namespace.clone(),
            targets: targets.into_iter().flatten().cloned().collect(),
            roles: match (self.all, self.cause) {
                (true, _) => Roles::All,
                (false, Some(_)) => Roles::Workloads,
                (false, None) => Roles::Own,
            },
            ..Filter::default()
        }
    }

    /// How many at the most, where that was said.
    pub(super) fn limit(&self) -> Option<usize> {
        self.limit
            .map(|limit| if limit == 0 { usize::MAX } else { limit })
    }
}

fn cause() -> impl TypedValueParser<Value = Cause> {
    PossibleValuesParser::new(Cause::ALL.map(Cause::name)).map(|name| {
        let is_it = |cause: &Cause| cause.name() == name;
        Cause::ALL.into_iter().find(is_it).unwrap_or(Cause::Unknown)
    })
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The death's id, or the start of it
    #[arg(value_parser = wanted::id)]
    pub(super) id: String,
    /// How it looks
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Format,
    #[command(flatten)]
    pub(super) store: ReadArgs,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn metrics_are_served_when_asked_for() {
        use clap::Parser as _;
        let listens = |words: &[&str]| {
            let words = ["oomtrace", "run"].iter().chain(words);
            match super::Cli::try_parse_from(words).unwrap().command {
                super::Command::Run(args) => args.listen.map(|at| at.to_string()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(listens(&[]), None);
        let default = Some("127.0.0.1:9737".to_owned());
        assert_eq!(listens(&["--listen"]), default);
        assert_eq!(listens(&["--listen", "--output", "json"]), default);
        let typed = Some("0.0.0.0:80".to_owned());
        assert_eq!(listens(&["--listen", "0.0.0.0:80"]), typed);
        assert_eq!(listens(&["--listen=0.0.0.0:80"]), typed);
    }

    #[test]
    fn memory_is_looked_at_neither_all_the_time_nor_never() {
        assert_eq!(super::memory_interval("2s"), Ok(Duration::from_secs(2)));
        for bad in ["0s", "1ms", "1h"] {
            let error = super::memory_interval(bad).unwrap_err();
            assert!(error.contains("between 20ms and 10s"), "{error}");
        }
        assert!(
            super::memory_interval("often")
                .unwrap_err()
                .contains("500ms")
        );
    }

    #[test]
    fn rules_that_are_none_are_told_once_and_with_what_to_do() {
        use clap::Parser as _;
        let told = |path: &str| {
            let words = ["oomtrace", "replay", "--rules", path, "file"];
            match super::Cli::try_parse_from(words).unwrap().command {
                super::Command::Replay(args) => {
                    format!("{:#}", args.deaths.rules().unwrap_err())
                }
                other => panic!("{other:?}"),
            }
        };
        let missing = told("/nonexistent/rules.toml");
        assert!(
            missing.contains("cannot be read") && missing.contains("\ndo: "),
            "{missing}"
        );
        let wrong = told(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        assert_eq!(wrong.matches("unknown field").count(), 1, "{wrong}");
        assert!(wrong.contains("\ndo: "), "{wrong}");
    }

    #[test]
    fn a_stop_window_is_a_duration() {
        assert_eq!(super::stop_window("90s"), Ok(Duration::from_secs(90)));
        assert!(super::stop_window("soon").unwrap_err().contains("30m"));
    }
}
