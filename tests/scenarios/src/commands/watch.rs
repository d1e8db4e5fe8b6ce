//! A tracer of which only what a storm is measured by is kept: all of its records would fill
//! the memory.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use oomtrace_fixtures::Report;
use serde::Deserialize;

use super::Skipped;
use crate::{cli::Options, fixture, output::say, run::Program};

/// A storm may take so long, on an emulated processor too.
pub(super) const STORM_LIMIT: Duration = Duration::from_secs(600);

/// What is kept of a record.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct Seen {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) revision: u32,
    #[serde(rename = "final")]
    pub(super) is_final: bool,
    pub(super) cause: String,
    pub(super) victim: SeenProcess,
    pub(super) sender: Option<SeenProcess>,
    pub(super) stop: Option<SeenStop>,
    pub(super) outcome: Option<SeenOutcome>,
    pub(super) oom: Option<SeenOom>,
    /// Of a gap.
    #[serde(rename = "kind")]
    pub(super) lost_kind: String,
    /// Of a gap, and of all at the end.
    pub(super) lost: u64,
    /// Of a gap: so many were lost, and not only may have been.
    pub(super) certain: bool,
    /// At the end.
    pub(super) deaths: u64,
}

impl Seen {
    /// What the victim of an OOM kill was; empty where it was none.
    pub(super) fn oom_role(&self) -> &str {
        self.oom.as_ref().map_or("", |oom| &oom.role)
    }

    /// A gap in which events were lost.
    pub(super) fn is_loss(&self) -> bool {
        self.kind == "gap" && self.certain
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct SeenProcess {
    pub(super) pid: i32,
    pub(super) comm: Option<String>,
    /// Of a victim.
    pub(super) role: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct SeenStop {
    pub(super) signal: String,
    pub(super) count: u64,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct SeenOom {
    pub(super) role: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct SeenOutcome {
    pub(super) exit_code: i32,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Vec<Seen>,
    garbage: Vec<String>,
    ended: bool,
}

pub(super) struct Watch {
    program: Program,
    shared: Arc<Mutex<Shared>>,
}

/// What the tracer used up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) cpu: Duration,
    pub(super) peak_rss_kib: u64,
}

impl Watch {
    /// A tracer that keeps nothing on disk.
    pub(super) fn start(options: &Options, args: &[&str]) -> Result<Self> {
        Self::start_as(options, &[&["--no-store"], args].concat())
    }

    /// One that does what it is told to.
    pub(super) fn start_as(options: &Options, args: &[&str]) -> Result<Self> {
        let mut command = Command::new(&options.tracer);
        command
            .args(["run", "--output", "json"])
            .args(args)
            .stdout(Stdio::piped());
        let mut program = Program::start_with_stdout(&mut command)?;
        let stdout = program.take_stdout().context("the tracer's output")?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let to = Arc::clone(&shared);
        thread::spawn(move || {
            let mut stdout = BufReader::with_capacity(1 << 18, stdout);
            let mut line = Vec::new();
            while let Ok(1..) = stdout.read_until(b'\n', &mut line) {
                let seen = serde_json::from_slice(&line);
                let mut shared = lock(&to);
                match seen {
                    Ok(seen) => shared.seen.push(seen),
                    Err(_) => shared
                        .garbage
                        .push(String::from_utf8_lossy(&line).into_owned()),
                }
                drop(shared);
                line.clear();
            }
            lock(&to).ended = true;
        });
        let watch = Self { program, shared };
        if !watch.wait_until(options.program_limit(), |seen| !seen.is_empty()) {
            bail!("the tracer cannot run here");
        }
        Ok(watch)
    }

    pub(super) fn id(&self) -> u32 {
        self.program.id()
    }

    pub(super) fn signal(&self, signal: i32) {
        self.program.signal(signal);
    }

    /// Whether what was seen became as wanted in time.
    pub(super) fn wait_until(&self, limit: Duration, wanted: impl Fn(&[Seen]) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            let shared = lock(&self.shared);
            if wanted(&shared.seen) {
                return true;
            }
            if shared.ended || Instant::now() > deadline {
                return false;
            }
            drop(shared);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What was seen so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        lock(&self.shared).seen.clone()
    }

    /// Processor time and memory so far, as proc(5) counts them.
    pub(super) fn used(&self) -> Result<Used> {
        let folder = format!("/proc/{}", self.program.id());
        let stat = fs::read_to_string(format!("{folder}/stat"))?;
        let (_, fields) = stat.rsplit_once(')').context("a comm in stat")?;
        // utime and stime are the 14th and 15th; the first one behind the comm is the third.
        let ticks: u64 = fields
            .split_whitespace()
            .skip(14 - 3)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        let status = fs::read_to_string(format!("{folder}/status"))?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        Ok(Used {
            cpu: Duration::from_millis(ticks * 10), // USER_HZ is 100
            peak_rss_kib: peak.context("VmHWM in status")?,
        })
    }

    /// Ends the tracer; returns all that was seen, and what is wrong with how it ended.
    pub(super) fn finish(self, options: &Options) -> Result<(Vec<Seen>, Vec<String>)> {
        self.signal(libc::SIGTERM);
        let limit = options.program_limit();
        if !self.wait_until(limit, |seen| {
            seen.last().is_some_and(|last| last.kind == "stopped")
        }) {
            say(format_args!("    the tracer did not say that it stopped"));
        }
        let ended = self.program.wait(limit).context("the tracer")?;
        let mut shared = lock(&self.shared);
        let mut problems = Vec::new();
        if ended.status.code() != Some(0) {
            problems.push(format!("the tracer: {ended}"));
        }
        for line in &shared.garbage {
            problems.push(format!("not a record: {line}"));
        }
        if shared.seen.last().is_none_or(|last| last.kind != "stopped") {
            problems.push(format!("the last record: {:?}", shared.seen.last()));
        }
        Ok((std::mem::take(&mut shared.seen), problems))
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a fixture, which may take its time.
pub(super) fn storm(options: &Options, name: &str, args: &[&str]) -> Result<Report> {
    let report = fixture::run_within(options, name, args, STORM_LIMIT)?;
    match report.skipped {
        Some(reason) => Err(Skipped(reason).into()),
        None => Ok(report),
    }
}

/// Who killed in a storm.
pub(super) fn sender(report: &Report) -> Result<i32> {
    Ok(report.sender.as_ref().context("the storm's sender")?.pid)
}

/// Deaths by this sender.
pub(super) fn of(seen: &[Seen], sender: i32) -> impl Iterator<Item = &Seen> {
    seen.iter().filter(move |seen| {
        seen.kind == "death" && seen.sender.as_ref().is_some_and(|by| by.pid == sender)
    })
}

/// How often each number is there: pids come again when all have been given away.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Numbers(BTreeMap<i32, usize>);

impl Numbers {
    pub(super) fn of(numbers: impl IntoIterator<Item = i32>) -> Self {
        let mut counts = Self::default();
        for number in numbers {
            *counts.0.entry(number).or_default() += 1;
        }
        counts
    }

    pub(super) fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Numbers that are here more often than there.
    pub(super) fn beyond(&self, there: &Self) -> Option<String> {
        let more: Vec<i32> = self
            .0
            .iter()
            .filter(|(number, count)| **count > there.0.get(number).copied().unwrap_or(0))
            .map(|(number, _)| *number)
            .collect();
        (!more.is_empty()).then(|| format!("{} pids too many: {:?}", more.len(), more.first()))
    }

    pub(super) fn differ(&self, found: &Self) -> Vec<String> {
        let missing = self.beyond(found).map(|what| format!("missing: {what}"));
        missing.into_iter().chain(found.beyond(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_kept() -> Result<()> {
        let death = r#"{"type":"death","id":"a","revision":1,"x":[{"y":null}],"victim":{"pid":7,
                       "comm":"fx","z":1},"sender":null,"outcome":{"exit_code":137},"kernel_stack":null}"#;
        let seen: Seen = serde_json::from_str(death)?;
        assert_eq!((seen.kind.as_str(), seen.victim.pid), ("death", 7));
        assert_eq!(seen.outcome, Some(SeenOutcome { exit_code: 137 }));
        let gap: Seen = serde_json::from_str(r#"{"type":"gap","kind":"exit","lost":3}"#)?;
        assert_eq!((gap.lost_kind.as_str(), gap.lost), ("exit", 3));
        Ok(())
    }

    #[test]
    fn numbers_are_compared_with_their_counts() {
        let killed = Numbers::of([7, 8, 7]);
        assert_eq!(killed.total(), 3);
        assert!(killed.differ(&Numbers::of([8, 7, 7])).is_empty());
        assert_eq!(killed.differ(&Numbers::of([7, 8])).len(), 1);
        assert_eq!(killed.differ(&Numbers::of([7, 7, 9])).len(), 2);
    }
}
