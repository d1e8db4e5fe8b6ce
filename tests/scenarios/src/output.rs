//! The only place that prints. A reader that went away is no error.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

/// A line on standard output.
pub fn say(line: impl Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Lines of a case's detail, told apart from the protocol by their indent.
pub fn detail(text: impl Display) {
    for line in text.to_string().lines() {
        say(format_args!("    {line}"));
    }
}

/// A line on standard error.
pub fn warn(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
