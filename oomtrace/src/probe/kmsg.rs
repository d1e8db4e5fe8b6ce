//! What the kernel's log says of OOM kills. The line is written before the SIGKILL, so
//! that reading on demand, after a SIGKILL of the kernel's, finds it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
};

use oomtrace_common::wire::COMM_BYTES;

use super::{oom_report::Collector, support::Availability};
use crate::{
    event::{
        entry::{InferredKill, OomLine},
        text,
    },
    identity::host,
};

const KMSG: &str = "/dev/kmsg";

/// The log from now on.
#[derive(Debug)]
pub struct KernelLog {
    file: File,
    /// What was written before is passed over: microseconds of the log's own clock.
    since_us: u64,
    /// What stands before the next line about an OOM kill.
    report: Collector,
}

impl KernelLog {
    /// Opens the log at its end.
    pub fn open() -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(KMSG)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self::of(file, 0))
    }

    /// Opens the log at what was written from a moment on: `CLOCK_BOOTTIME`. The log's own clock
    /// stands still while the machine sleeps: it is taken to have slept before that moment, if at
    /// all.
    pub fn open_since(boottime_ns: u64) -> io::Result<Self> {
        let log = Self::open()?;
        let mut file = log.file;
        // The oldest record that is kept.
        file.rewind()?;
        let since_us = boottime_ns.saturating_sub(host::slept_ns()) / 1_000;
        Ok(Self::of(file, since_us))
    }

    /// OOM kills that the log tells of, from one moment to another: see [`Self::open_since`].
    pub fn kills_between(from_ns: u64, to_ns: u64) -> io::Result<Vec<InferredKill>> {
        let mut log = Self::open_since(from_ns)?;
        let until_us = to_ns.saturating_sub(host::slept_ns()) / 1_000;
        let mut kills = Vec::new();
        log.each(&mut |record| {
            if written_us(record).is_some_and(|us| us > until_us) {
                return;
            }
            if let Some(line) = parse(record) {
                kills.push(InferredKill {
                    source: "kernel_log".to_owned(),
                    cgroup: line.task_memcg,
                    kills: 1,
                    pid: Some(line.tgid),
                    comm: task(record),
                    limit_cgroup: line.oom_memcg,
                });
            }
        });
        Ok(kills)
    }

    fn of(file: File, since_us: u64) -> Self {
        Self {
            file,
            since_us,
            report: Collector::new(host::page_bytes()),
        }
    }

    /// Lines about OOM kills since the last call.
    pub fn drain(&mut self) -> Vec<OomLine> {
        let mut lines = Vec::new();
        let mut report = std::mem::replace(&mut self.report, Collector::new(host::page_bytes()));
        let is_whole = self.each(&mut |record| match parse(record) {
            Some(line) => lines.push(OomLine {
                report: report.finish(),
                ..line
            }),
            None => report.take(&message(record)),
        });
        if is_whole {
            self.report = report;
        }
        lines
    }

    /// Hands over each record since the last call. False: some were overwritten before they were
    /// read, and what was gathered may belong to another kill.
    fn each(&mut self, take: &mut dyn FnMut(&[u8])) -> bool {
        let mut is_whole = true;
        // One record a read, at most 8 KiB (kernel/printk: CONSOLE_EXT_LOG_MAX).
        let mut buffer = [0; 8192];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => {
                    let record = buffer.get(..len).unwrap_or_default();
                    if self.since_us == 0 || written_us(record).is_none_or(|us| us >= self.since_us)
                    {
                        take(record);
                    }
                }
                // The next read goes on after what was overwritten.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => is_whole = false,
                Err(_) => break,
            }
        }
        is_whole
    }
}

/// When a record of the log was written: the third field of its head
/// (Documentation/ABI/testing/dev-kmsg).
fn written_us(record: &[u8]) -> Option<u64> {
    let head = record.split(|byte| *byte == b';').next()?;
    let time = head.split(|byte| *byte == b',').nth(2)?;
    std::str::from_utf8(time).ok()?.parse().ok()
}

/// Whether the log can be read.
#[must_use]
pub fn availability() -> Availability {
    match KernelLog::open() {
        Ok(_) => Availability::Yes,
        Err(error) => Availability::No(error.to_string()),
    }
}

/// A record of the log, as a read gives it: `6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,
/// nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=/a/b,task=python3,pid=12,
/// uid=0`: `dump_oom_victim` and `dump_header` of `mm/oom_kill.c` and
/// `mem_cgroup_print_oom_context` of mm/memcontrol.c, 5.0 and later.
#[must_use]
pub fn parse(record: &[u8]) -> Option<OomLine> {
    // The log escapes what is not ASCII. Should that ever change, nothing is lost here.
    let record = text::utf8(record);
    let (_, message) = record.split_once(';')?;
    let fields = message.lines().next()?.strip_prefix("oom-kill:")?;
    let constraint = fields.strip_prefix("constraint=")?.split(',').next()?;
    // The task's name is its own choice and may hold anything; what follows it is searched
    // from the end.
    let (before, pid) = fields.rsplit_once(",pid=")?;
    let tgid = pid.split(',').next()?.parse().ok()?;
    let before = without_task(before)?;
    let (before, task_memcg) = match before.rsplit_once(",task_memcg=") {
        Some((before, path)) => (before, Some(unescaped(path))),
        None => (before, None),
    };
    let oom_memcg = before
        .split_once(",oom_memcg=")
        .map(|(_, path)| unescaped(path));
    Some(OomLine {
        constraint: constraint.to_owned(),
        oom_memcg,
        task_memcg,
        tgid,
        report: None,
    })
}

/// What a record of the log says, as it was written. What follows its first line are the
/// log's own words.
fn message(record: &[u8]) -> String {
    let record = text::utf8(record);
    let message = record.split_once(';').map_or("", |(_, message)| message);
    unescaped(message.lines().next().unwrap_or_default())
}

/// The victim's name in a record that [`parse`] has read.
fn task(record: &[u8]) -> Option<String> {
    let record = text::utf8(record);
    let (_, message) = record.split_once(';')?;
    let (before, _) = message.lines().next()?.rsplit_once(",pid=")?;
    let others = without_task(before)?;
    Some(unescaped(before.get(others.len() + ",task=".len()..)?))
}

/// What stands before the task's name. The name may look like this field, too, but only so
/// far back as it is long.
fn without_task(fields: &str) -> Option<&str> {
    const TASK: &str = ",task=";
    let mut found = fields.match_indices(TASK).filter(|(at, _)| {
        let name = fields.get(at + TASK.len()..).unwrap_or_default();
        unescaped_bytes(name).len() < COMM_BYTES
    });
    found.next().and_then(|(at, _)| fields.get(..at))
}

/// Text that the log has escaped, as it was.
fn unescaped(text: &str) -> String {
    text::utf8(&unescaped_bytes(text))
}

/// `msg_print_ext_body` of `kernel/printk/printk.c`: a backslash, and each byte that is not
/// printable ASCII, is written `\xNN`.
fn unescaped_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escape = after
            .split_at_checked(3)
            .filter(|_| first == b'\\')
            .and_then(|(code, after)| Some((hex_byte(code.strip_prefix(b"x")?)?, after)));
        let (byte, after) = escape.unwrap_or((first, after));
        bytes.push(byte);
        rest = after;
    }
    bytes
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0, |byte: u8, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(byte << 4 | digit as u8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_when_it_was_written() {
        assert_eq!(
            written_us(b"6,339,5140900,-;oom-kill:x,9,9"),
            Some(5_140_900)
        );
        assert_eq!(written_us(b"6,339;5,5,5"), None);
        assert_eq!(written_us(b""), None);
    }

    #[test]
    fn a_memcg_kill_names_both_cgroups() {
        let line = parse(b"6,339,5140900,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/kubepods,task_memcg=/kubepods/pod1,task=python3,pid=4242,uid=0\n").unwrap();
        assert_eq!(line.constraint, "CONSTRAINT_MEMCG");
        assert_eq!(line.oom_memcg.as_deref(), Some("/kubepods"));
        assert_eq!(line.task_memcg.as_deref(), Some("/kubepods/pod1"));
        assert_eq!(line.tgid, 4242);
    }

    #[test]
    fn the_victims_name_is_told() {
        let task = |record: &[u8]| task(record).unwrap();
        assert_eq!(task(b"6,3,5,-;oom-kill:constraint=X,oom_memcg=/a,task_memcg=/a,task=python3,pid=7,uid=0\n"), "python3");
        assert_eq!(task(br"6,3,5,-;oom-kill:constraint=X,global_oom,task_memcg=/a,task=a\x5cb,pid=1,pid=7,uid=0"), "a\\b,pid=1");
    }

    #[test]
    fn a_kill_of_the_node_names_none() {
        let line = parse(b"6,1,2,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/,task=hog,pid=7,uid=0").unwrap();
        assert_eq!(line.constraint, "CONSTRAINT_NONE");
        assert_eq!(line.oom_memcg, None);
    }

    #[test]
    fn a_name_that_looks_like_fields_does_not_mislead() {
        let line = parse(b"6,1,2,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),global_oom,task_memcg=/,task=x,pid=1,uid,pid=7,uid=0").unwrap();
        assert_eq!(line.tgid, 7);
        assert!(parse(b"6,1,2,-;something else").is_none());
        assert!(parse(b"").is_none());
        let line = parse(b"6,1,2,-;oom-kill:constraint=CONSTRAINT_NONE,global_oom,task_memcg=/a,task=,task=x,pid=7,uid=0").unwrap();
        assert_eq!(line.task_memcg.as_deref(), Some("/a"));
    }

    #[test]
    fn what_the_log_has_escaped_is_as_it_was() {
        let line = parse(br"6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/zo\xc3\xab,task_memcg=/a\x5cx0a\xff,task=\xc3\xa4\xc3\xa4\xc3\xa4,pid=7,uid=0").unwrap();
        assert_eq!(line.oom_memcg.as_deref(), Some("/zo\u{eb}"));
        assert_eq!(line.task_memcg.as_deref(), Some(r"/a\x0a\xff"));
        assert_eq!(line.tgid, 7);
    }
}
