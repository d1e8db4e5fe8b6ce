//! What can be typed.
//!
//! | module | what it owns |
//! |---|---|
//! | `commands` | each command that traces, tells of a recording, or looks at the kernel |
//! | `stored` | each command that asks the store |
//! | `trace` | options about tracing |
//! | `death` | options about what deaths are put down to, and how they are written |

mod commands;
mod death;
mod stored;
mod trace;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(super) use self::{
    commands::{DetachArgs, DoctorArgs, ExecArgs, RecordArgs, ReplayArgs, RunArgs},
    death::DeathArgs,
    stored::{ListArgs, ShowArgs, WhyArgs},
    trace::{LookupArgs, ProbeArgs, ScopeArgs, TraceArgs},
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
