//! `oomtrace exec`: runs a command, traces it and all that it starts, and says why they
//! ended. It behaves like env(1) and sudo: the command's own output is untouched, signals
//! are passed on, and its own status is the exit status.

mod command;
mod report;
mod signals;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, Result};
use tokio::io::{Interest, unix::AsyncFd};

use self::{
    command::{SpawnError, Status, Tree},
    report::Report,
    signals::{Received, Signals},
};
use super::{
    args::ExecArgs,
    live::{self, Live, Tracing, Turn},
    output,
    privileges::{self, Privileges},
    scope::ScopeArg,
    shield::Shield,
};
use crate::event::text::printable;

/// `exec`'s own failures, as env(1) has them: it failed itself, the command cannot be run,
/// there is no such command.
pub(super) const OWN_FAILURE: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

pub(super) fn run(args: &ExecArgs, verbose: u8, quiet: bool, started: Instant) -> Result<ExitCode> {
    live::block_on(trace(args, verbose, quiet, started))
}

async fn trace(args: &ExecArgs, verbose: u8, quiet: bool, started: Instant) -> Result<ExitCode> {
    let program = args.command.first().cloned().unwrap_or_default();
    if let Some(notice) = command::client_notice(&args.command).filter(|_| !quiet) {
        output::complain(&notice);
    }
    let privileges = Privileges::of(args.trace.lookups, &ScopeArg::Node)
        .passes_signals_on()
        .decide();
    let what = Tracing::of(&args.trace, privileges.clone())?;
    let limits = command::memlock_limit();
    // Blocked before any thread is started, so that every thread leaves them to us.
    let signals = Signals::block().context("signals cannot be caught")?;
    let mask = signals.mask_before();
    // SAFETY: the descriptor is owned by `signals` and stays the same for as long as it
    // lives.
    let signals = unsafe { AsyncFd::register_with_interest(signals, Interest::READABLE) }
        .map_err(|error| error.into_parts().1)
        .context("signals cannot be waited for")?;
    let shield = Shield::raise();
    command::adopt_orphans();

    let root = Arc::new(AtomicU32::new(0));
    let (report, summary) = Report::open(args, quiet, Arc::clone(&root))?;
    let mut live = Live::start(what, &shield, verbose > 1, vec![Box::new(report)], started)?;

    // Who pressed Ctrl-C while this was starting does not want the command any more.
    if let Some(signal) = signals
        .get_ref()
        .read()
        .into_iter()
        .find_map(Received::ends)
    {
        let _ = live.finish();
        return Ok(ExitCode::from(Status::Signal(signal).exit_code()));
    }
    let tree = match Tree::spawn(&args.command, args.as_root, &shield, mask, limits) {
        Ok(tree) => tree,
        Err(error) => {
            let _ = live.finish();
            let program = printable(&program.to_string_lossy());
            output::complain(&format!("{program}: {error}"));
            return Ok(ExitCode::from(match error {
                SpawnError::NotFound | SpawnError::NoInterpreter => NOT_FOUND,
                SpawnError::NotExecutable(_) => NOT_EXECUTABLE,
            }));
        }
    };
    // Not before: the command has the privileges of whoever called.
    privileges::let_go(&privileges);
    root.store(tree.root(), Ordering::Relaxed);

    let mut ticker = Live::ticker();
    let mut tracing = true;
    let status = loop {
        tokio::select! {
            turn = live.turn(&mut ticker), if tracing => if turn? == Turn::Ended {
                // The report cannot be written any more; the command goes on all the same.
                tracing = false;
            },
            ready = signals.readable() => {
                let mut ready = ready.context("signals cannot be waited for")?;
                for signal in signals.get_ref().read() {
                    tree.pass_on(signal);
                }
                ready.clear_ready();
                if let Some(status) = tree.reap() {
                    break status;
                }
            }
        }
    };
    // A process's end reaches the ring buffer before its parent can wait for it: all that
    // is to be known of the command is there now.
    if let Err(error) = live.finish() {
        log::warn!("the report is not complete: {error:#}");
    }
    summary.write(&program, tree.root(), status);
    Ok(ExitCode::from(status.exit_code()))
}
