//! The tools that are compared: how each is started, and what it says of a SIGKILL.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::procfs;
use crate::command::{self, Guard};

/// The slowest of them takes a second or two.
const ATTACH_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// What is on its way is written then.
const DRAIN: Duration = Duration::from_millis(500);
/// Who sent which signal to whom.
const BPFTRACE: &str = "tracepoint:signal:signal_generate /args->sig == 9/ \
    { printf(\"%s %d %d %d\\n\", comm, pid, args->sig, args->pid); }";
/// Tools that ask tracefs for the tracepoint's number do not mount it themselves. In a mount
/// namespace of its own, so that nothing stays behind.
const WITH_TRACEFS: &str = "test -e /sys/kernel/tracing/events || \
    mount -t tracefs tracefs /sys/kernel/tracing; exec \"$@\"";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    Oomtrace,
    Bpftrace,
    Sigsnoop,
    /// Nothing traces: what the calls take by themselves.
    Nothing,
}

impl Tool {
    pub(super) const ALL: [Self; 4] = [
        Self::Oomtrace,
        Self::Bpftrace,
        Self::Sigsnoop,
        Self::Nothing,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Oomtrace => "oomtrace",
            Self::Bpftrace => "bpftrace",
            Self::Sigsnoop => "sigsnoop",
            Self::Nothing => "nothing",
        }
    }

    /// What to install where it is not here.
    pub(super) fn package(self) -> &'static str {
        match self {
            Self::Sigsnoop => "libbpf-tools",
            _ => self.name(),
        }
    }

    /// Where its program is; `None` where it is not installed.
    fn find(self, oomtrace: &Path) -> Option<PathBuf> {
        match self {
            Self::Oomtrace => Some(oomtrace.to_owned()),
            _ => command::find(self.name())
                // Not on everybody's search path.
                .or_else(|| Some(Path::new("/usr/sbin").join(self.name())).filter(|p| p.is_file())),
        }
    }

    pub(super) fn is_here(self, oomtrace: &Path) -> bool {
        self == Self::Nothing || self.find(oomtrace).is_some()
    }

    /// What it calls itself.
    pub(super) fn version(self, oomtrace: &Path) -> Option<String> {
        let mut ask = command::clean(self.find(oomtrace)?);
        let said = command::output(ask.arg("--version")).ok()?;
        said.lines().next().map(|line| line.trim().to_owned())
    }

    fn command(self, oomtrace: &Path) -> Result<Command> {
        let program = self.find(oomtrace).context("not installed")?;
        if self == Self::Oomtrace {
            let mut command = command::clean(program);
            command.args(["run", "--no-store", "--output", "json"]);
            return Ok(command);
        }
        let mut command = command::clean("unshare");
        command.args(["--mount", "sh", "-c", WITH_TRACEFS, "sh"]);
        command.arg(program);
        match self {
            Self::Bpftrace => command.args(["-e", BPFTRACE]),
            _ => command.args(["-s", "9"]),
        };
        Ok(command)
    }

    /// Whether a line says that the process `sender` sent a SIGKILL.
    fn tells(self, line: &str, sender: u32) -> bool {
        let words: Vec<&str> = line.split_whitespace().collect();
        let sender_id = sender.to_string();
        match self {
            Self::Oomtrace => {
                // A death that is written again is the same one.
                line.starts_with(r#"{"type":"death""#)
                    && line.contains(r#""revision":1,"#)
                    && line.contains(&format!(r#""sender":{{"pid":{sender},"#))
            }
            Self::Bpftrace => matches!(&words[..], [_, pid, "9", _] if *pid == sender_id),
            Self::Sigsnoop => matches!(&words[..], [_, pid, _, "9", ..] if *pid == sender_id),
            Self::Nothing => false,
        }
    }
}

/// A tool at work.
#[derive(Debug)]
pub(super) struct Running {
    tool: Tool,
    process: Guard,
    said: PathBuf,
    /// From its start to the first signal that its program saw.
    pub(super) attached: Duration,
}

impl Running {
    /// Starts a tool and waits until it is attached: until its program has run, so something
    /// has to send signals, and the kernel's statistics have to be on.
    pub(super) fn start(tool: Tool, oomtrace: &Path, logs: &Path) -> Result<Self> {
        let said = logs.join(format!("{}.out", tool.name()));
        let errors = logs.join(format!("{}.err", tool.name()));
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("cannot write {}", path.display()))
        };
        let mut command = tool.command(oomtrace)?;
        command.stdin(Stdio::null());
        command.stdout(create(&said)?).stderr(create(&errors)?);
        let started = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", tool.name()))?;
        let mut process = Guard(child);
        while procfs::runs(process.0.id()).map_or(0, |runs| runs.count) == 0 {
            if let Some(status) = process.0.try_wait().context("cannot wait")? {
                bail!("{} ended ({status}): see {}", tool.name(), errors.display());
            }
            if started.elapsed() > ATTACH_LIMIT {
                bail!("{} did not attach: see {}", tool.name(), errors.display());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Self {
            tool,
            process,
            said,
            attached: started.elapsed(),
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Ends it as Ctrl-C does, and counts what it said of SIGKILLs by these senders.
    pub(super) fn stop(mut self, senders: &[u32]) -> Result<usize> {
        thread::sleep(DRAIN);
        command::check(command::clean("kill").args(["-INT", &self.pid().to_string()]))?;
        let asked = Instant::now();
        while self.process.0.try_wait().context("cannot wait")?.is_none() {
            if asked.elapsed() > STOP_LIMIT {
                bail!("{} does not end", self.tool.name());
            }
            thread::sleep(Duration::from_millis(10));
        }
        let said =
            fs::read(&self.said).with_context(|| format!("cannot read {}", self.said.display()))?;
        let said = String::from_utf8_lossy(&said);
        let tells = |line: &&str| senders.iter().any(|sender| self.tool.tells(line, *sender));
        Ok(said.lines().filter(tells).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sigkill_is_read_from_what_each_tool_says() {
        let lines = [
            (
                Tool::Oomtrace,
                r#"{"type":"death","schema":1,"revision":1,"final":true,"sender":{"pid":7,"tid":7}}"#,
            ),
            (Tool::Bpftrace, "oomtrace-load 7 9 1234"),
            (
                Tool::Sigsnoop,
                "10:55:35 7       oomtrace-load    9         1234   0",
            ),
        ];
        for (tool, line) in lines {
            assert!(tool.tells(line, 7), "{line}");
            assert!(!tool.tells(line, 9), "{line}");
            assert!(!Tool::Nothing.tells(line, 7));
        }
        let again = lines[0].1.replace(r#""revision":1"#, r#""revision":2"#);
        assert!(!Tool::Oomtrace.tells(&again, 7));
    }
}
