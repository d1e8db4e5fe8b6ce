//! What `exec` says: the deaths among the command's own processes, and how it ended.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, IsTerminal as _, Write},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, Result};

use super::{
    super::{
        args::{ExecArgs, Format},
        output,
    },
    command::Status,
};
use crate::{
    event::text::printable,
    identity::host,
    provenance::record::{Death, Record},
    sinks::{Sink, json::Json, pretty::Pretty},
};

/// Where the report goes.
#[derive(Debug)]
enum Target {
    Stderr,
    File(File),
}

impl Target {
    fn open(args: &ExecArgs) -> Result<Self> {
        match &args.report {
            None => Ok(Self::Stderr),
            Some(path) => File::create(path)
                .map(Self::File)
                .with_context(|| format!("the report {} cannot be written", path.display())),
        }
    }

    fn try_clone(&self) -> Result<Self> {
        Ok(match self {
            Self::Stderr => Self::Stderr,
            Self::File(file) => Self::File(file.try_clone().context("the report")?),
        })
    }

    fn is_terminal(&self) -> bool {
        matches!(self, Self::Stderr) && io::stderr().is_terminal()
    }
}

impl Write for Target {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stderr => io::stderr().write(buffer),
            Self::File(file) => file.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stderr => Ok(()),
            Self::File(file) => file.flush(),
        }
    }
}

/// A sink that keeps to the command's own processes.
pub(super) struct Report {
    inner: Box<dyn Sink>,
    for_people: bool,
    /// The command; 0 before it is started.
    root: Arc<AtomicU32>,
    /// Ids here are not the node's: then nothing can be left out.
    foreign_ids: bool,
}

impl Report {
    /// Opens the report, and what writes its last line.
    pub(super) fn open(
        args: &ExecArgs,
        quiet: bool,
        root: Arc<AtomicU32>,
    ) -> Result<(Self, Summary)> {
        let target = Target::open(args)?;
        let for_people = args.trace.deaths.output == Format::Pretty;
        let summary = if for_people && !quiet {
            Summary(Some(target.try_clone()?))
        } else {
            Summary(None)
        };
        let inner: Box<dyn Sink> = if for_people {
            let colour = output::colour(target.is_terminal());
            Box::new(Pretty::new(io::BufWriter::new(target), colour))
        } else {
            Box::new(Json(target))
        };
        let foreign_ids = host::in_pid_namespace();
        if foreign_ids && !quiet {
            output::complain(
                "this PID namespace is not the node's: the command's processes cannot be told from others, and every death on the node is reported (do: run it with the host's PID namespace)",
            );
        }
        let report = Self {
            inner,
            for_people,
            root,
            foreign_ids,
        };
        Ok((report, summary))
    }

    /// The command itself, or one that descends from it: this process is the parent of
    /// those that it left behind. Only so many ancestors are kept; what lies deeper is
    /// known by its process group, which all have that do not leave it.
    fn is_ours(&self, death: &Death) -> bool {
        if self.foreign_ids {
            return true;
        }
        let root = self.root.load(Ordering::Relaxed);
        let own = std::process::id();
        // SAFETY: no arguments, no failure.
        let group = unsafe { libc::getpgrp() }.unsigned_abs();
        death.victim.pid == root
            || death.victim.pgid == Some(group)
            || death
                .victim
                .ancestry
                .iter()
                .any(|ancestor| ancestor.pid == root || ancestor.pid == own)
    }
}

impl Sink for Report {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        let wanted = match record {
            Record::Death(death) => self.is_ours(death),
            Record::Gap(_) => true,
            Record::Started(_) | Record::Stopped(_) => !self.for_people,
            // What it runs are processes.
            Record::Restart(_) => false,
        };
        if wanted {
            self.inner.write(record)
        } else {
            Ok(())
        }
    }

    fn settle(&mut self, is_end: bool) -> io::Result<()> {
        self.inner.settle(is_end)
    }
}

/// The last line of a report for people.
pub(super) struct Summary(Option<Target>);

impl Summary {
    /// Says how the command ended.
    pub(super) fn write(self, program: &OsStr, pid: u32, status: Status) {
        let Some(mut target) = self.0 else { return };
        let program = printable(&program.to_string_lossy());
        let text = match status {
            Status::Exited(code) => format!("{program}[{pid}] ended with status {code}"),
            Status::Signal(libc::SIGKILL) => format!("{program}[{pid}] was killed: status 137"),
            Status::Signal(signal) => format!(
                "{program}[{pid}] was ended by signal {signal}, which is not SIGKILL: status {}",
                128 + signal
            ),
        };
        let _ = writeln!(target, "oomtrace: {text}");
    }
}
