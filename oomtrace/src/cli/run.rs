//! `oomtrace run`: traces the node until it is told to end. `oomtrace record` does the same
//! with other sinks.

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    args::RunArgs,
    live::{self, Live, Tracing, Turn},
    output,
    shield::Shield,
};
use crate::sinks::Sink;

pub(super) fn run(args: &RunArgs, verbose: u8, started: Instant) -> Result<ExitCode> {
    let sinks = vec![output::stdout_sink(args.trace.deaths.output)];
    until_told(Tracing::of(&args.trace)?, sinks, verbose, started)
}

/// Traces until a signal says that it is enough.
pub(super) fn until_told(
    what: Tracing<'_>,
    sinks: Vec<Box<dyn Sink>>,
    verbose: u8,
    started: Instant,
) -> Result<ExitCode> {
    live::block_on(trace(what, sinks, verbose, started))
}

async fn trace(
    what: Tracing<'_>,
    sinks: Vec<Box<dyn Sink>>,
    verbose: u8,
    started: Instant,
) -> Result<ExitCode> {
    // Before anything else, so that a signal that comes during the start ends it cleanly.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut quit = signal(SignalKind::quit())?;
    // nohup(1) has it ignored, and it is to stay so.
    let mut hangup = if is_ignored(libc::SIGHUP) {
        None
    } else {
        Some(signal(SignalKind::hangup())?)
    };
    let shield = Shield::raise();
    if let Some(absent) = shield.absent() {
        log::warn!("{}: {}", absent.what, absent.why);
    }
    let mut live = Live::start(what, &shield, verbose > 1, sinks, started)?;
    let mut ticker = Live::ticker();
    loop {
        tokio::select! {
            turn = live.turn(&mut ticker) => {
                if turn? == Turn::Ended || output::reader_is_gone() {
                    break;
                }
            }
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = quit.recv() => break,
            Some(()) = async { hangup.as_mut()?.recv().await } => break,
        }
    }
    live.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// Whether this process was started with a signal ignored.
fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only; the pointer is to a `sigaction`, and all zeros is a valid one.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}
