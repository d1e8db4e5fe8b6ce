//! Processes in /proc.

use std::{fs, path::PathBuf};

use crate::event::{Group, entry::ProcessState, text};

/// What /proc says of a process that should be dead by now. One with the same id that
/// started at another time is another one.
#[must_use]
pub fn state(group: Group, boottime_ns: u64) -> ProcessState {
    let folder = PathBuf::from(format!("/proc/{}", group.tgid));
    let read = |file: &str| {
        fs::read(folder.join(file))
            .ok()
            .map(|bytes| text::utf8(&bytes))
    };
    let same = read("stat").is_some_and(|stat| started_then(&stat, group.start_ns));
    ProcessState {
        tgid: group.tgid,
        start_ns: group.start_ns,
        boottime_ns,
        state: read("status").filter(|_| same).and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("State:"))?;
            Some(line.trim().to_owned())
        }),
        wait_channel: read("wchan")
            .filter(|name| same && !name.is_empty() && name != "0")
            .map(|name| name.trim().to_owned()),
        is_hidden: false,
    }
}

/// Whether `/proc/PID/stat` is that of a process started at `start_ns`: it counts in ticks
/// of 10 ms (`USER_HZ` is 100 on every architecture that oomtrace builds for).
fn started_then(stat: &str, start_ns: u64) -> bool {
    const TICK_NS: u64 = 10_000_000;
    // The name may hold blanks and brackets; it ends at the last one. Start time is the
    // 22nd field, the 20th after it.
    let ticks: Option<u64> = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19)?.parse().ok());
    ticks.is_some_and(|ticks| ticks.abs_diff(start_ns / TICK_NS) <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let stat = "42 (a) b) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";
        assert!(started_then(stat, 123_450_000_000));
        assert!(!started_then(stat, 999_000_000_000));
        assert!(!started_then("nonsense", 1));
    }

    #[test]
    fn a_process_that_is_gone_has_no_state() {
        let gone = Group {
            tgid: u32::MAX,
            start_ns: 1,
        };
        assert_eq!(state(gone, 5).state, None);
    }
}
