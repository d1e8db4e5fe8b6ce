//! What can be typed to each command that traces, tells of a recording, or looks at the kernel.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::Args;

use super::{DeathArgs, Format, LookupArgs, ProbeArgs, ScopeArgs, TraceArgs};
use crate::{
    cli::{metrics, store::StoreArgs},
    probe::pins,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct RunArgs {
    #[command(flatten)]
    pub(in crate::cli) trace: TraceArgs,
    #[command(flatten)]
    pub(in crate::cli) scope: ScopeArgs,
    /// Serve metrics (/metrics) and health (/healthz) over HTTP, by default at 127.0.0.1:9737.
    /// Without an address, a port is on this machine only; port 0 is any that is free
    #[arg(long, value_name = "ADDR:PORT", num_args = 0..=1, default_missing_value = metrics::DEFAULT, value_parser = metrics::address)]
    pub(in crate::cli) listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(in crate::cli) store: StoreArgs,
    /// Leave programs and maps attached when oomtrace ends, in this folder of the BPF file system:
    /// the next start tells what died meanwhile. `oomtrace detach` removes them
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = pins::DEFAULT_FOLDER, conflicts_with = "scope")]
    pub(in crate::cli) pin: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExecArgs {
    #[command(flatten)]
    pub(in crate::cli) trace: TraceArgs,
    /// Write the report to a file instead of stderr
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) report: Option<PathBuf>,
    /// Run the command as root, even if sudo was called by somebody else
    #[arg(long)]
    pub(in crate::cli) as_root: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(in crate::cli) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RecordArgs {
    #[command(flatten)]
    pub(in crate::cli) probe: ProbeArgs,
    #[command(flatten)]
    pub(in crate::cli) scope: ScopeArgs,
    #[command(flatten)]
    pub(in crate::cli) lookups: LookupArgs,
    /// The file to write
    pub(in crate::cli) file: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ReplayArgs {
    #[command(flatten)]
    pub(in crate::cli) deaths: DeathArgs,
    #[command(flatten)]
    pub(in crate::cli) scope: ScopeArgs,
    /// A file written by `oomtrace record`, or with `--record`
    pub(in crate::cli) file: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DetachArgs {
    /// Where `run --pin` has pinned them
    #[arg(default_value = pins::DEFAULT_FOLDER)]
    pub(in crate::cli) folder: PathBuf,
}

#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct DoctorArgs {
    /// How the findings look
    #[arg(short, long, value_enum, default_value_t)]
    pub(in crate::cli) output: Format,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};

    #[test]
    fn metrics_are_served_when_asked_for() {
        let listens = |words: &[&str]| {
            let words = ["oomtrace", "run"].iter().chain(words);
            match Cli::try_parse_from(words).unwrap().command {
                Command::Run(args) => args.listen.map(|at| at.to_string()),
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
}
