//! Where records and messages go.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Write as _},
    os::fd::AsFd as _,
    process::ExitCode,
};

use anyhow::Result;

use super::args::Format;
use crate::sinks::{
    Sink,
    json::Json,
    pretty::Pretty,
    stdout::{Lines, Policy, cannot_write},
};

/// Sets up the log of oomtrace's own work. `OOMTRACE_LOG` overrides; `RUST_LOG` is left to
/// what `exec` runs.
pub(super) fn init_log(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "info",
        _ => "debug",
    };
    let env = env_logger::Env::new().filter_or("OOMTRACE_LOG", level);
    env_logger::Builder::from_env(env)
        .format_target(false)
        .format_timestamp(None)
        // It would log all that Docker says of a container: environment, secrets and all.
        .filter_module("bollard", log::LevelFilter::Off)
        .init();
}

/// A complaint to the user.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "oomtrace: {text}");
}

/// Something that the user should know, unless nothing but records and errors is wanted.
pub(super) fn remark(text: &str) {
    if log::log_enabled!(log::Level::Warn) {
        complain(text);
    }
}

/// Writes to stdout, and ends well.
pub(super) fn print(text: &[u8]) -> Result<ExitCode> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text)
        .and_then(|()| stdout.flush())
        .map_err(|error| cannot_write(&error))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether colour is wanted on a stream: on a terminal, and never with `NO_COLOR`
/// (no-color.org: set and not empty) or on a dumb one.
pub(super) fn colour(is_terminal: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    is_terminal && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// A sink for records on stdout.
pub(super) fn stdout_sink(format: Format, policy: Policy) -> Result<Box<dyn Sink>> {
    let stdout = io::stdout();
    let is_terminal = stdout.is_terminal();
    // Not the standard library's: that keeps what it could not write, and glues it to the next.
    let descriptor = stdout
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| cannot_write(&error))?;
    let lines = Lines::new(File::from(descriptor), policy);
    Ok(match format {
        Format::Json => Box::new(Json(lines)),
        Format::Pretty => {
            // -v: with what is of no interest to most.
            let helpers = log::log_enabled!(log::Level::Info);
            Box::new(Pretty::new(lines, colour(is_terminal)).with_helpers(helpers))
        }
    })
}

/// What an error of stdout means to a tracer; `is_stored`: deaths are kept elsewhere, too.
pub(super) fn policy(is_stored: bool) -> Policy {
    if is_stored {
        Policy::GoOn(Box::new(|text| log::error!("{text}")))
    } else {
        Policy::End
    }
}

/// How many columns there are to write into: what `COLUMNS` says, as for other tools, else those
/// of the terminal on stdout. `None`: it is none.
pub(super) fn width() -> Option<usize> {
    let said = std::env::var("COLUMNS").ok();
    columns(said.as_deref()).or_else(terminal_width)
}

fn columns(said: Option<&str>) -> Option<usize> {
    said?.parse().ok().filter(|columns| *columns > 0)
}

fn terminal_width() -> Option<usize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the pointer is to a `winsize`, which is what the request fills.
    let done = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// Whether stdout is a pipe that nobody reads any more. Writing would tell, but on a quiet
/// node nothing is written for hours.
pub(super) fn reader_is_gone() -> bool {
    let mut stdout = libc::pollfd {
        fd: libc::STDOUT_FILENO,
        events: 0,
        revents: 0,
    };
    // SAFETY: one entry, as is said; it does not wait.
    let ready = unsafe { libc::poll(&raw mut stdout, 1, 0) };
    ready == 1 && stdout.revents & libc::POLLERR != 0
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn columns_are_a_number_or_nobody_has_said_how_many() {
        assert_eq!(columns(Some("80")), Some(80));
        for nothing in [None, Some(""), Some("0"), Some("-1"), Some("wide")] {
            assert_eq!(columns(nothing), None, "{nothing:?}");
        }
    }
}
