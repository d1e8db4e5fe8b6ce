//! Who holds the node's memory: the largest processes and cgroups, looked up when the node ran
//! out. A node without memory is slow, and what a read needs may have to be swapped out first:
//! the look-up has a thread of its own, is bounded in time, and is waited for no longer than
//! [`PATIENCE`].

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use super::{Hierarchy, gauge::number, largest, walk::Walk};
use crate::{
    event::memory::{
        CgroupUse, MOST_RESIDENTS, MemorySplit, NodeMemory, Resident, largest_cgroups,
    },
    identity::host,
    privileges::Keep,
};

/// All processes are looked at in so long, and then all cgroups.
const TIME: Duration = Duration::from_millis(100);
/// The thread that judges waits so long, which is more than what is left of such a node needs to
/// let another thread run: a node runs out of memory seldom, and what held it is gone soon.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks for look-ups. The thread ends with it.
#[derive(Debug)]
pub struct NodeLook {
    asks: SyncSender<SyncSender<NodeMemory>>,
    /// An answer did not come in time, and has not come yet.
    is_slow: Arc<AtomicBool>,
}

/// What is looked at.
#[derive(Clone, Debug)]
struct Sight {
    /// `None`: the ids there are not the kernel's.
    proc: Option<PathBuf>,
    /// `None`: no cgroups of the memory controller are mounted.
    hierarchy: Option<Hierarchy>,
    page_bytes: u64,
}

impl NodeLook {
    /// Starts the thread. `keep`: of its privileges, what it keeps.
    pub fn start(hierarchy: Option<Hierarchy>, page_bytes: u64, keep: Keep) -> io::Result<Self> {
        let sight = Sight {
            proc: (!host::in_pid_namespace()).then(|| PathBuf::from("/proc")),
            hierarchy,
            page_bytes,
        };
        let (asks, asked) = sync_channel(1);
        let is_slow = Arc::new(AtomicBool::new(false));
        let slow = Arc::clone(&is_slow);
        std::thread::Builder::new()
            .name("oomtrace-node".to_owned())
            .spawn(move || {
                keep.here();
                answer(&sight, &asked, &slow);
            })?;
        Ok(Self { asks, is_slow })
    }

    /// Who holds the node's memory now; `None` if that does not come in time.
    #[must_use]
    pub fn look(&self) -> Option<NodeMemory> {
        if self.is_slow.load(Ordering::Acquire) {
            return None;
        }
        let (answer, answered) = sync_channel(1);
        self.asks.try_send(answer).ok()?;
        match answered.recv_timeout(PATIENCE) {
            Ok(node) => Some(node),
            Err(RecvTimeoutError::Timeout) => {
                self.is_slow.store(true, Ordering::Release);
                None
            }
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }
}

fn answer(sight: &Sight, asked: &Receiver<SyncSender<NodeMemory>>, slow: &AtomicBool) {
    for answer in asked {
        let _ = answer.try_send(sight.look(TIME));
        slow.store(false, Ordering::Release);
    }
}

impl Sight {
    fn look(&self, time: Duration) -> NodeMemory {
        let boottime_ns = host::now().boottime_ns;
        let (largest, processes_cut) = self.processes(Instant::now() + time);
        let (cgroups, cgroups_cut) = self.cgroups(Instant::now() + time);
        NodeMemory {
            boottime_ns,
            total_bytes: fs::read_to_string("/proc/meminfo")
                .ok()
                .and_then(|text| total_bytes(&text)),
            largest,
            cgroups,
            processes_cut,
            cgroups_cut,
        }
    }

    /// The largest processes, and whether time was up before all were looked at.
    fn processes(&self, until: Instant) -> (Vec<Resident>, bool) {
        let Some(proc) = &self.proc else {
            return (Vec::new(), false);
        };
        let (mut sizes, mut is_cut) = (Vec::new(), false);
        for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            if Instant::now() >= until {
                is_cut = true;
                break;
            }
            // It costs a tenth of `status`, which is read of the largest only.
            let statm = fs::read_to_string(entry.path().join("statm"));
            if let Some(pages) = statm.ok().as_deref().and_then(resident_pages) {
                sizes.push((pages.saturating_mul(self.page_bytes), pid));
            }
        }
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let found = sizes
            .iter()
            .filter_map(|(_, pid)| largest::resident(*pid))
            .take(MOST_RESIDENTS);
        (crate::event::memory::largest(found.collect()), is_cut)
    }

    /// The largest cgroups by their own use, and whether time was up before all were looked at.
    fn cgroups(&self, until: Instant) -> (Vec<CgroupUse>, bool) {
        let Some(hierarchy) = &self.hierarchy else {
            return (Vec::new(), false);
        };
        let mut usages: Vec<(PathBuf, u64)> = Vec::new();
        let mut below: HashMap<PathBuf, u64> = HashMap::new();
        let mut walk = Walk::from(hierarchy.top());
        while Instant::now() < until
            && let Some(folder) = walk.next_folder()
        {
            let Some(usage) = usage(hierarchy, &folder) else {
                continue;
            };
            if let Some(above) = folder.parent().filter(|_| folder != hierarchy.top()) {
                let sum = below.entry(above.to_path_buf()).or_default();
                *sum = sum.saturating_add(usage);
            }
            usages.push((folder, usage));
        }
        // Of one with others below it that were not looked at, its own part is not known.
        let unknown: Vec<&Path> = walk.waiting().filter_map(Path::parent).collect();
        let of = |(folder, usage_bytes): (PathBuf, u64)| {
            let below = below.get(&folder).copied().unwrap_or_default();
            Some(CgroupUse {
                cgroup: hierarchy.path(&folder)?,
                usage_bytes,
                own_bytes: if counts_below(hierarchy, &folder) {
                    usage_bytes.saturating_sub(below)
                } else {
                    usage_bytes
                },
            })
        };
        let known = usages
            .into_iter()
            .filter(|(folder, _)| !unknown.contains(&folder.as_path()))
            .filter_map(of);
        (largest_cgroups(known.collect()), !walk.is_over())
    }
}

/// Bytes in use. The root of v2 has no such file: what its `memory.stat` accounts for.
fn usage(hierarchy: &Hierarchy, folder: &Path) -> Option<u64> {
    let files = hierarchy.files();
    match fs::read(folder.join(files.usage)) {
        Ok(text) => number(&text),
        Err(_) if folder == hierarchy.top() => {
            let text = fs::read_to_string(folder.join(files.stat)).ok()?;
            Some(MemorySplit::parse(&text)?.total_bytes())
        }
        Err(_) => None,
    }
}

/// Whether the use of those below is a part of its own. Of v1 that can be switched off (up to
/// 5.10: `memory.use_hierarchy`).
fn counts_below(hierarchy: &Hierarchy, folder: &Path) -> bool {
    hierarchy.is_unified()
        || fs::read(folder.join("memory.use_hierarchy"))
            .ok()
            .and_then(|text| number(&text))
            != Some(0)
}

/// The second number of `/proc/PID/statm`; `None` for a kernel thread.
fn resident_pages(statm: &str) -> Option<u64> {
    let pages = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    (pages > 0).then_some(pages)
}

/// `MemTotal` of `/proc/meminfo`.
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A node of files: v1's names, for the root of v2 has no file of its own use.
    struct Made(TempDir);

    impl Made {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn cgroup(&self, path: &str, mib: u64) -> &Self {
            let folder = self.0.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            let bytes = (mib << 20).to_string();
            fs::write(folder.join("memory.usage_in_bytes"), bytes).unwrap();
            self
        }

        fn look(&self, time: Duration) -> NodeMemory {
            let top = self.0.path().display();
            let mounts = format!("35 31 0:32 /part {top} rw - cgroup cgroup rw,memory");
            let sight = Sight {
                proc: None,
                hierarchy: Some(Hierarchy::among(&mounts, 4096).unwrap()),
                page_bytes: 4096,
            };
            sight.look(time)
        }
    }

    fn own(node: &NodeMemory) -> Vec<(&str, u64, u64)> {
        node.cgroups
            .iter()
            .map(|one| {
                (
                    one.cgroup.as_str(),
                    one.usage_bytes >> 20,
                    one.own_bytes >> 20,
                )
            })
            .collect()
    }

    #[test]
    fn what_stands_below_counts_once() {
        let made = Made::new();
        made.cgroup("", 1000)
            .cgroup("pods", 900)
            .cgroup("pods/a", 600)
            .cgroup("pods/b", 300)
            .cgroup("system", 60);
        let node = made.look(Duration::from_secs(60));
        assert_eq!(
            own(&node),
            [
                ("/part/pods/a", 600, 600),
                ("/part/pods/b", 300, 300),
                ("/part/system", 60, 60),
                ("/part", 1000, 40),
            ]
        );
        assert!(!node.cgroups_cut);
    }

    /// Up to 5.10 a cgroup of v1 may count itself alone.
    #[test]
    fn what_is_not_counted_above_is_not_taken_off_there() {
        let made = Made::new();
        made.cgroup("", 100).cgroup("a", 300);
        fs::write(made.0.path().join("memory.use_hierarchy"), "0\n").unwrap();
        let node = made.look(Duration::from_secs(60));
        assert_eq!(own(&node), [("/part/a", 300, 300), ("/part", 100, 100)]);
    }

    #[test]
    fn what_finds_no_time_is_said() {
        let made = Made::new();
        made.cgroup("", 1000).cgroup("a", 600);
        let node = made.look(Duration::ZERO);
        assert!(node.cgroups_cut);
        assert_eq!(own(&node), []);
        let sight = Sight {
            proc: Some(PathBuf::from("/proc")),
            hierarchy: None,
            page_bytes: host::page_bytes(),
        };
        let node = sight.look(Duration::ZERO);
        assert!(node.processes_cut && node.largest.is_empty());
        assert!(!node.cgroups_cut, "there are none to look at");
    }

    #[test]
    fn the_largest_processes_of_this_machine() {
        let look = NodeLook::start(None, host::page_bytes(), Keep::all()).unwrap();
        // The thread is new: the first answer may be late on a busy machine.
        let node = (0..50).find_map(|_| {
            look.look().or_else(|| {
                std::thread::sleep(Duration::from_millis(100));
                None
            })
        });
        let node = node.unwrap();
        if host::in_pid_namespace() {
            assert!(node.largest.is_empty());
            return;
        }
        assert!(!node.largest.is_empty() && node.largest.len() <= MOST_RESIDENTS);
        let sizes = node.largest.iter().map(|one| one.rss_bytes);
        assert!(sizes.clone().is_sorted_by(|a, b| a >= b));
        let total = node.total_bytes.unwrap();
        assert!(sizes.max().unwrap() < total, "{node:?}");
        if !node.processes_cut {
            let smallest = node.largest.last().unwrap().rss_bytes;
            let own = largest::resident(std::process::id()).unwrap().rss_bytes;
            let is_listed = node.largest.iter().any(|one| one.pid == std::process::id());
            assert!(is_listed || own <= smallest + (1 << 20), "{node:?}");
        }
    }

    #[test]
    fn files_of_the_kernel_are_read() {
        assert_eq!(
            resident_pages("55342 14208 384 1 0 13000 0\n"),
            Some(14_208)
        );
        assert_eq!(resident_pages("0 0 0 0 0 0 0\n"), None, "a kernel thread");
        assert_eq!(resident_pages(""), None);
        let meminfo = "MemFree:  10 kB\nMemTotal:        8068652 kB\n";
        assert_eq!(total_bytes(meminfo), Some(8_068_652 * 1024));
        assert_eq!(total_bytes("MemFree: 10 kB\n"), None);
    }
}
