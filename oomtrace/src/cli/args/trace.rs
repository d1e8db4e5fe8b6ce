//! Options about tracing, which several commands have in common: what hangs in the kernel, whose
//! deaths are told, what is looked up beside the kernel.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::DeathArgs;
use crate::{
    cli::scope::ScopeArg,
    identity::{memory, resolver},
    privileges::{Keep, facts::Task},
    probe::{attach::check_ring_bytes, plan::OomHook},
};

/// Options about tracing.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct TraceArgs {
    #[command(flatten)]
    pub(in crate::cli) deaths: DeathArgs,
    #[command(flatten)]
    pub(in crate::cli) probe: ProbeArgs,
    #[command(flatten)]
    pub(in crate::cli) lookups: LookupArgs,
    /// Also write the stream of events to a file, for `oomtrace replay`
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) record: Option<PathBuf>,
}

/// Options about what hangs in the kernel.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct ProbeArgs {
    /// Size of the ring buffer, bytes: a power of two, one page at least
    #[arg(long, value_name = "BYTES", default_value_t = 8 * 1024 * 1024, value_parser = ring_bytes)]
    pub(in crate::cli) ring_bytes: u32,
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
    pub(in crate::cli) fn hook(&self) -> Option<OomHook> {
        match self.hooks {
            Hooks::Auto => None,
            Hooks::Fentry => Some(OomHook::Fentry),
            Hooks::Kprobe => Some(OomHook::Kprobe),
            Hooks::Tracepoint => Some(OomHook::Tracepoint),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Hooks {
    /// The best that the kernel gives
    Auto,
    Fentry,
    Kprobe,
    /// No hook on the OOM killer itself
    Tracepoint,
}

/// Options about whose deaths are told.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct ScopeArgs {
    /// Whose deaths: node; pod (the one that oomtrace runs in, as a sidecar does);
    /// container:NAME, pod:[NAMESPACE/]NAME, unit:NAME or cgroup:PATH
    #[arg(long, value_name = "SCOPE", default_value = "node", value_parser = ScopeArg::parse)]
    pub(in crate::cli) scope: ScopeArg,
}

/// Options about what is looked up beside the kernel.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct LookupArgs {
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
    pub(in crate::cli) fn resolver(&self, keep: Keep) -> resolver::Options {
        let options = if self.no_runtimes {
            resolver::Options::nobody()
        } else {
            resolver::Options::of_node()
        };
        resolver::Options { keep, ..options }
    }

    /// The same. `None`: it is not to be looked at.
    pub(in crate::cli) fn memory(&self, keep: Keep) -> Option<memory::Options> {
        (!self.no_memory).then_some(memory::Options {
            interval: self.memory_interval,
            keep,
        })
    }

    /// What of this goes on when every hook is attached.
    pub(in crate::cli) fn tasks(&self) -> impl Iterator<Item = Task> {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
}
