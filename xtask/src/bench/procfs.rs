//! What the kernel says of a tool: its BPF programs and what they took, its memory.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The kernel's own measuring of BPF programs: 5.1 and later. It takes time itself, so it is
/// off while calls are timed. As it was when this is dropped.
#[derive(Debug)]
pub(super) struct Statistics {
    setting: File,
    before: String,
}

impl Statistics {
    pub(super) fn take_over() -> Result<Self> {
        let why = || format!("cannot have the kernel measure BPF programs: {STATISTICS}");
        let before = fs::read_to_string(STATISTICS).with_context(why)?;
        let setting = File::options().write(true).open(STATISTICS);
        Ok(Self {
            setting: setting.with_context(why)?,
            before,
        })
    }

    pub(super) fn switch(&self, on: bool) -> Result<()> {
        let value: &[u8] = if on { b"1" } else { b"0" };
        self.setting
            .write_all_at(value, 0)
            .with_context(|| format!("cannot write {STATISTICS}"))
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        let _ = self.setting.write_all_at(self.before.trim().as_bytes(), 0);
    }
}

/// What programs did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs {
    pub(super) time_ns: u64,
    pub(super) count: u64,
}

impl Runs {
    /// What they did since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            time_ns: self.time_ns.saturating_sub(before.time_ns),
            count: self.count.saturating_sub(before.count),
        }
    }
}

/// What all BPF programs did that a process holds, each counted once.
pub(super) fn runs(pid: u32) -> Result<Runs> {
    let mut seen = Vec::new();
    let mut total = Runs::default();
    for info in fd_infos(pid)? {
        if let Some((id, runs)) = program(&info)
            && !seen.contains(&id)
        {
            seen.push(id);
            total.time_ns += runs.time_ns;
            total.count += runs.count;
        }
    }
    Ok(total)
}

fn fd_infos(pid: u32) -> Result<Vec<String>> {
    let folder = PathBuf::from(format!("/proc/{pid}/fdinfo"));
    let files =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    // A descriptor may be closed meanwhile.
    let texts = files
        .flatten()
        .filter_map(|file| fs::read_to_string(file.path()).ok());
    Ok(texts.collect())
}

/// `bpf_prog_show_fdinfo` of kernel/bpf/syscall.c; the times since 5.1.
fn program(info: &str) -> Option<(u64, Runs)> {
    let runs = Runs {
        time_ns: number(info, "run_time_ns:")?,
        count: number(info, "run_cnt:")?,
    };
    Some((number(info, "prog_id:")?, runs))
}

fn number(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

/// Resident memory of a process in KiB, and how much of it is buffers that are shared with
/// the kernel.
pub(super) fn memory_kib(pid: u32) -> Result<(u64, u64)> {
    let read = |name: &str| {
        let path = Path::new("/proc").join(pid.to_string()).join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let resident = number(&read("status")?, "VmRSS:").context("no VmRSS in /proc")?;
    Ok((resident, shared_buffers_kib(&read("smaps")?)))
}

fn shared_buffers_kib(smaps: &str) -> u64 {
    let mut is_buffer = false;
    let mut total = 0;
    for line in smaps.lines() {
        // A mapping's first line begins with its addresses.
        if line
            .split_once('-')
            .is_some_and(|(from, _)| u64::from_str_radix(from, 16).is_ok())
        {
            is_buffer = line.contains("anon_inode:");
        } else if is_buffer && line.starts_with("Rss:") {
            total += number(line, "Rss:").unwrap_or(0);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_told_from_its_link() {
        let info = "pos:\t0\nprog_type:\t5\nprog_id:\t50\nrun_time_ns:\t700\nrun_cnt:\t7\n";
        let runs = Runs {
            time_ns: 700,
            count: 7,
        };
        assert_eq!(program(info), Some((50, runs)));
        assert_eq!(program("link_type:\tperf\nprog_id:\t50\n"), None);
    }

    #[test]
    fn only_what_is_shared_with_the_kernel_is_a_buffer() {
        let smaps = "7f00-7f10 rw-s 0 00:0f 5 anon_inode:bpf-map\nRss:  8192 kB\nPss: 1 kB\n\
            7f20-7f30 rw-p 0 00:00 0 [heap]\nRss:   100 kB\n";
        assert_eq!(shared_buffers_kib(smaps), 8192);
    }
}
