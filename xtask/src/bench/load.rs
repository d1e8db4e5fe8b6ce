//! The load: `oomtrace-load` of tests/fixtures, which times its own calls.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result};

use crate::command::{self, Guard};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// One that asks nobody to end.
    Urg,
    /// One that can ask for an end: oomtrace remembers who sent it.
    Usr1,
    Kill,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Urg => "urg",
            Self::Usr1 => "usr1",
            Self::Kill => "kill",
        }
    }
}

/// What a load measured: medians.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Took {
    /// The process that sent the signals.
    pub(super) pid: u32,
    pub(super) sent: u64,
    /// A call of kill(2).
    pub(super) kill_ns: u64,
    /// A fork, a kill and a wait.
    pub(super) cycle_ns: u64,
}

#[derive(Debug)]
pub(super) struct Load(pub(super) PathBuf);

impl Load {
    pub(super) fn run(&self, signal: Signal, count: u32) -> Result<Took> {
        let mut load = command::clean(&self.0);
        let said = command::output(load.args([signal.name(), &count.to_string()]))?;
        took(&said).with_context(|| format!("cannot read what the load said: {said}"))
    }

    /// A signal a millisecond, until it is dropped or a minute is over.
    pub(super) fn drip(&self) -> Result<Guard> {
        let child = command::clean(&self.0)
            .args(["drip", "60000"])
            .stdin(Stdio::null())
            .spawn();
        let name = || format!("cannot start {}", Path::new(&self.0).display());
        Ok(Guard(child.with_context(name)?))
    }
}

fn took(said: &str) -> Option<Took> {
    let number = |name: &str| -> Option<u64> {
        let mut words = said.split_whitespace();
        words.find_map(|word| word.strip_prefix(name)?.parse().ok())
    };
    Some(Took {
        pid: u32::try_from(number("pid=")?).ok()?,
        sent: number("sent=")?,
        kill_ns: number("kill_ns=")?,
        cycle_ns: number("cycle_ns=")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_says_what_it_measured() {
        let took = took("pid=12 sent=1000 kill_ns=650 cycle_ns=0\n").unwrap();
        assert_eq!((took.pid, took.sent, took.kill_ns), (12, 1000, 650));
        assert_eq!(super::took("pid=12 sent=x"), None);
    }
}
