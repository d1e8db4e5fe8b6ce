//! `oomtrace run`: traces the node until it is told to end. `oomtrace record` does the same
//! with other sinks.

use std::{
    fs::File,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    args::{DeathArgs, RunArgs},
    live::{self, Live, Tracing, Turn},
    metrics,
    notify::Manager,
    output,
    privileges::{self, Privileges},
    shield::Shield,
};
use crate::{
    privileges::Thread,
    probe::pins,
    sinks::{Sink, metrics::StoreFigures},
};

pub(super) fn run(args: &RunArgs, verbose: u8, started: Instant) -> Result<ExitCode> {
    let trace = &args.trace;
    let privileges = Privileges::of(trace.lookups, &args.scope.scope)
        .store(args.store.path())
        .rereads_rules(&trace.deaths)
        .decide();
    let store_keeps = privileges.of(Thread::Store);
    let http_keeps = privileges.of(Thread::Http);
    let mut what = Tracing {
        scope: args.scope.scope.clone(),
        ..Tracing::of(trace, privileges)?
    };
    what.keeping.pins.clone_from(&args.pin);
    if args.pin.is_none() && pins::are_left() {
        log::warn!(
            "programs that another run has left in {} are attached, and what they see is not told by this one\n\
             do: run with --pin, which takes them over, or remove them (oomtrace detach)",
            pins::DEFAULT_FOLDER
        );
    }
    let mut sinks = Vec::new();
    // First: what goes wrong with stdout does not keep a death from being stored.
    let mut figures = None;
    if let Some(store) = args.store.sink(&what.vitals, store_keeps)? {
        let path = args.store.path().map(Path::to_path_buf);
        what.keeping.store = path.map(|path| (path, store.progress()));
        figures = Some(store.stats() as Arc<dyn StoreFigures>);
        sinks.push(Box::new(store) as Box<dyn Sink>);
    }
    let policy = output::policy(what.keeping.store.is_some());
    sinks.push(output::stdout_sink(trace.deaths.output, policy)?);
    // It serves until all is written.
    let mut server = None;
    if let Some(at) = args.listen {
        let (serving, sink) = metrics::serve(at, &what.vitals, figures, http_keeps)?;
        sinks.push(sink);
        server = Some(serving);
    }
    let ended = until_told(what, sinks, verbose, started);
    drop(server);
    ended
}

/// How often a sidecar that was asked to end looks whether the others are gone.
const LOOK: Duration = Duration::from_millis(100);

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
    let vitals = Arc::clone(&what.vitals);
    let mut manager = Manager::of_environment();
    let reread = what.reread;
    let privileges = what.privileges.clone();
    let mut live = Live::start(what, &shield, verbose > 1, sinks, started)?;
    privileges::let_go(&privileges);
    manager.ready(&vitals);
    let has_terminal = File::open("/dev/tty").is_ok();
    let mut ticker = Live::ticker();
    let mut leaving: Option<Instant> = None;
    loop {
        manager.turn(&vitals);
        tokio::select! {
            turn = live.turn(&mut ticker) => {
                if turn? == Turn::Ended || output::reader_is_gone() {
                    break;
                }
                if let Some(looked) = leaving
                    && looked.elapsed() >= LOOK
                {
                    if live.others_in_pod().is_none_or(|others| others == 0) {
                        break;
                    }
                    leaving = Some(Instant::now());
                }
            }
            _ = interrupt.recv() => break,
            // A sidecar is asked to end together with those that it is there for.
            _ = terminate.recv() => match live.others_in_pod() {
                Some(others) if others > 0 && leaving.is_none() => {
                    log::warn!(
                        "asked to end, and staying until the pod's other containers ({others}) are gone; a second SIGTERM ends it at once\n\
                         but: at the end of the grace period the kubelet kills all containers of a pod at the same moment, this one too: what is killed then may not be told\n\
                         do: run oomtrace as a native sidecar (an init container with restartPolicy: Always), which is ended after the others"
                    );
                    leaving = Some(Instant::now());
                }
                _ => break,
            },
            _ = quit.recv() => break,
            Some(()) = async { hangup.as_mut()?.recv().await } => match reread {
                // Its terminal is gone, or somebody asks a daemon to read its files again.
                Some(rules) if !has_terminal => read_again(rules, &live),
                _ => break,
            },
        }
    }
    manager.stopping();
    live.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the rules again; those that cannot be used change nothing.
fn read_again(deaths: &DeathArgs, live: &Live) {
    match deaths.rules() {
        Ok(rules) => {
            live.set_rules(rules);
            output::remark("the rules were read again");
        }
        Err(error) => log::error!("the rules stay as they were: {error:#}"),
    }
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
