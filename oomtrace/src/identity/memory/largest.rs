//! The largest processes of a cgroup and of those below it, from /proc, bounded in number and
//! in time.

use std::{
    fs::File,
    io::Read as _,
    path::Path,
    time::{Duration, Instant},
};

use super::walk::Walk;
use crate::event::{
    memory::{Resident, largest},
    text,
};

/// So many processes are looked at, in so long.
const MOST: usize = 2000;
const TIME: Duration = Duration::from_millis(20);
/// `/proc/PID/status` names what is wanted well within this.
const STATUS_BYTES: usize = 4096;

/// The processes that hold most memory, the largest first.
pub(super) fn of(folder: &Path) -> Vec<Resident> {
    let began = Instant::now();
    let mut found = Vec::new();
    let mut looked_at = 0;
    let mut walk = Walk::from(folder);
    while let Some(folder) = walk.next_folder() {
        let Ok(processes) = std::fs::read_to_string(folder.join("cgroup.procs")) else {
            continue;
        };
        // Of a PID namespace that is not ours the file has zeros.
        for pid in processes.lines().filter_map(|pid| pid.parse().ok()) {
            if looked_at >= MOST || began.elapsed() >= TIME {
                return largest(found);
            }
            looked_at += 1;
            found.extend(resident(pid));
        }
    }
    largest(found)
}

pub(super) fn resident(pid: u32) -> Option<Resident> {
    let mut status = Vec::new();
    File::open(format!("/proc/{pid}/status"))
        .ok()?
        .take(STATUS_BYTES as u64)
        .read_to_end(&mut status)
        .ok()?;
    parse(pid, &text::utf8(&status))
}

/// The kernel escapes a name's line breaks in this file (`proc_task_name` of fs/proc/array.c).
fn parse(pid: u32, status: &str) -> Option<Resident> {
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
    };
    let kib: u64 = field("VmRSS")?
        .trim()
        .strip_suffix(" kB")?
        .trim()
        .parse()
        .ok()?;
    Some(Resident {
        pid,
        comm: field("Name")?.to_owned(),
        rss_bytes: kib.saturating_mul(1024),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_this_process() {
        let own = resident(std::process::id()).unwrap();
        assert!(own.rss_bytes > 100_000, "{own:?}");
        assert!(!own.comm.is_empty());
    }

    #[test]
    fn one_without_memory_is_none() {
        assert_eq!(parse(2, "Name:\tkthreadd\nUmask:\t0000\n"), None);
        let of = parse(7, "Name:\ta b\nVmRSS:\t    1234 kB\n").unwrap();
        assert_eq!((of.comm.as_str(), of.rss_bytes), ("a b", 1234 * 1024));
    }
}
