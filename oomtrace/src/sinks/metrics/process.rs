//! Figures of oomtrace's own process, under the names that Prometheus' own clients use.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use super::current::gauge;
use crate::identity::host;

/// Fields of `/proc/PID/stat` (proc(5) counts from 1), behind the comm: the third is the first.
mod field {
    const FIRST: usize = 3;
    pub(super) const USER_TICKS: usize = 14 - FIRST;
    pub(super) const SYSTEM_TICKS: usize = 15 - FIRST;
    pub(super) const THREADS: usize = 20 - FIRST;
    pub(super) const START_TICKS: usize = 22 - FIRST;
    pub(super) const VIRTUAL_BYTES: usize = 23 - FIRST;
    pub(super) const RESIDENT_PAGES: usize = 24 - FIRST;
}

/// See the module.
#[derive(Debug)]
pub(super) struct Process {
    ticks_per_second: f64,
    page_bytes: u64,
    /// Seconds since 1970. Asked for once: the clocks drift.
    started: Option<f64>,
}

#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The comm may hold anything, parentheses too.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: number(field::USER_TICKS)? + number(field::SYSTEM_TICKS)?,
            threads: number(field::THREADS)?,
            start_ticks: number(field::START_TICKS)?,
            virtual_bytes: number(field::VIRTUAL_BYTES)?,
            resident_pages: number(field::RESIDENT_PAGES)?,
        })
    }
}

/// Files that are open, and how many may be.
fn files() -> Option<(u64, u64)> {
    // One of them is the folder that is read here.
    let open = fs::read_dir("/proc/self/fd")
        .ok()?
        .count()
        .saturating_sub(1);
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to an `rlimit`.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0;
    (!failed).then_some((open as u64, limit.rlim_cur))
}

impl Process {
    pub(super) fn of_self() -> Self {
        // SAFETY: no pointers are passed.
        let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        let ticks_per_second = if ticks > 0 { ticks as f64 } else { 100.0 };
        let now = host::now();
        Self {
            ticks_per_second,
            page_bytes: host::page_bytes(),
            started: Stat::read().map(|stat| {
                let boot = (now.realtime_ns as f64 - now.boottime_ns as f64) / 1e9;
                boot + stat.start_ticks as f64 / ticks_per_second
            }),
        }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        if let Some(stat) = Stat::read() {
            let seconds = stat.cpu_ticks as f64 / self.ticks_per_second;
            ConstCounter::new(seconds).encode(to.encode_descriptor(
                "process_cpu",
                "Processor time that oomtrace itself has used.",
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?)?;
            gauge(
                to,
                "process_resident_memory_bytes",
                "Memory that oomtrace itself holds.",
                stat.resident_pages.saturating_mul(self.page_bytes),
            )?;
            gauge(
                to,
                "process_virtual_memory_bytes",
                "Address space of oomtrace itself.",
                stat.virtual_bytes,
            )?;
            gauge(
                to,
                "process_threads",
                "Threads of oomtrace itself.",
                stat.threads,
            )?;
        }
        if let Some(started) = self.started {
            ConstGauge::new(started).encode(to.encode_descriptor(
                "process_start_time",
                "When oomtrace was started, in seconds since 1970.",
                Some(&Unit::Seconds),
                MetricType::Gauge,
            )?)?;
        }
        if let Some((open, most)) = files() {
            gauge(
                to,
                "process_open_fds",
                "Files that oomtrace itself has open.",
                open,
            )?;
            gauge(
                to,
                "process_max_fds",
                "Files that oomtrace itself may have open.",
                most,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comm_may_look_like_fields() {
        let stat =
            "7 (a) R 1 2) S 1 7 7 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 3 0 5000 4096000 512 1844";
        assert_eq!(
            Stat::parse(stat),
            Some(Stat {
                cpu_ticks: 42,
                threads: 3,
                start_ticks: 5000,
                virtual_bytes: 4_096_000,
                resident_pages: 512,
            })
        );
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_there_and_started_a_while_ago() {
        let process = Process::of_self();
        let now = host::now().realtime_ns as f64 / 1e9;
        let age = now - process.started.unwrap();
        assert!((-1.0..86_400.0).contains(&age), "{age}");
        let (open, most) = files().unwrap();
        assert!(open >= 3 && open <= most, "{open} of {most}");
    }
}
