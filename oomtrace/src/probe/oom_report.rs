//! What the kernel's log says of an OOM kill before its `oom-kill:` line: `dump_header` of
//! mm/oom_kill.c. The state at that very moment, of which nothing can be read any more a
//! millisecond later: the cgroup's `memory.stat`, and a table of the processes that might have
//! been chosen (unless `vm.oom_dump_tasks` is 0). One OOM kill goes on at a time, so that
//! reports do not mix; other lines may stand in between.

use crate::event::memory::{MemorySplit, OomReport, Resident, largest};

/// Bytes of `memory.stat` that are kept: it has no more than a hundred short lines.
const MOST_STAT_BYTES: usize = 16 * 1024;
/// So many processes are kept before the small ones among them are dropped.
const MOST_TASKS: usize = 4096;

/// Gathers a report, line by line.
#[derive(Debug)]
pub(super) struct Collector {
    page_bytes: u64,
    part: Part,
    stat: String,
    columns: Option<Columns>,
    tasks: Vec<Resident>,
}

/// What the lines that come now belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    None,
    Stat,
    Tasks,
}

/// Where what is wanted stands in the table, counted after the bracket with the pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Columns {
    tgid: usize,
    rss: usize,
    name: usize,
}

impl Columns {
    /// `[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name`; 6.8
    /// and later have the kinds of `rss` behind it.
    fn of(header: &str) -> Option<Self> {
        let (_, names) = header.split_once(']')?;
        let names: Vec<&str> = names.split_ascii_whitespace().collect();
        let at = |wanted: &str| names.iter().position(|name| *name == wanted);
        let name = at("name")?;
        (name + 1 == names.len()).then_some(())?;
        Some(Self {
            tgid: at("tgid")?,
            rss: at("rss")?,
            name,
        })
    }

    fn read(self, row: &str, page_bytes: u64) -> Option<Resident> {
        let (_, mut rest) = row.strip_prefix('[')?.split_once(']')?;
        let mut tgid = None;
        let mut rss_pages: u64 = 0;
        for column in 0..self.name {
            rest = rest.trim_start();
            let (value, after) = rest.split_once(' ')?;
            if column == self.tgid {
                tgid = value.parse().ok();
            } else if column == self.rss {
                rss_pages = value.parse().ok()?;
            }
            rest = after;
        }
        Some(Resident {
            pid: tgid?,
            comm: rest.trim_start().to_owned(),
            rss_bytes: rss_pages.saturating_mul(page_bytes),
        })
    }
}

impl Collector {
    pub(super) fn new(page_bytes: u64) -> Self {
        Self {
            page_bytes,
            part: Part::None,
            stat: String::new(),
            columns: None,
            tasks: Vec::new(),
        }
    }

    /// Takes a message, as it was written. Up to 5.x the whole of `memory.stat` is one.
    pub(super) fn take(&mut self, message: &str) {
        if message.contains(" invoked oom-killer: ") {
            *self = Self::new(self.page_bytes);
            return;
        }
        for line in message.lines() {
            self.line(line);
        }
    }

    fn line(&mut self, line: &str) {
        if line.starts_with("Memory cgroup stats for ") {
            self.part = Part::Stat;
        } else if line.starts_with("Tasks state (memory values in pages):") {
            self.part = Part::Tasks;
        } else if self.part == Part::Tasks && self.columns.is_none() {
            self.columns = Columns::of(line);
        } else if self.part == Part::Tasks {
            if let Some(task) = self
                .columns
                .and_then(|columns| columns.read(line, self.page_bytes))
            {
                self.tasks.push(task);
                if self.tasks.len() >= MOST_TASKS {
                    self.tasks = largest(std::mem::take(&mut self.tasks));
                }
            }
        } else if self.part == Part::Stat && self.stat.len() < MOST_STAT_BYTES {
            self.stat.push_str(line);
            self.stat.push('\n');
        }
    }

    /// The report that the `oom-kill:` line ends; `None` if there was none.
    pub(super) fn finish(&mut self) -> Option<Box<OomReport>> {
        let Self { stat, tasks, .. } = std::mem::replace(self, Self::new(self.page_bytes));
        let report = OomReport {
            split: MemorySplit::parse(&stat),
            largest: largest(tasks),
        };
        (report != OomReport::default()).then(|| Box::new(report))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of Linux 6.18 with cgroup v1; what is between is left out.
    const LINES: &[&str] = &[
        "python3 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
        "CPU: 1 UID: 0 PID: 15025 Comm: python3 Not tainted 6.18.44 #1",
        "memory: usage 51200kB, limit 51200kB, failcnt 936",
        "Memory cgroup stats for /sct:",
        "cache 20480",
        "rss 52105216",
        "inactive_file 8192",
        "total_cache 20480",
        "total_rss 52105216",
        "total_shmem 0",
        "total_inactive_file 8192",
        "Tasks state (memory values in pages):",
        "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name",
        "[  15025]     0 15025    55342    14208    12672     1536         0   176128        0             0 python3",
        "e1000: something else is up",
        "[  15026]     0 15026      730      425        0      425         0    40960        0           -10 a b ] c",
    ];

    fn collect(lines: &[&str]) -> Option<Box<OomReport>> {
        let mut collector = Collector::new(4096);
        for line in lines {
            collector.take(line);
        }
        collector.finish()
    }

    #[test]
    fn figures_and_processes_of_one_kill() {
        let report = collect(LINES).unwrap();
        assert_eq!(report.split.unwrap().anon_bytes, 52_105_216);
        let [first, second] = &report.largest[..] else {
            panic!("{:?}", report.largest);
        };
        assert_eq!((first.pid, first.comm.as_str()), (15025, "python3"));
        assert_eq!(first.rss_bytes, 14_208 * 4096);
        assert_eq!((second.pid, second.comm.as_str()), (15026, "a b ] c"));
    }

    #[test]
    fn the_table_of_older_kernels_and_figures_in_one_message() {
        let report = collect(&[
            "hog invoked oom-killer: gfp_mask=0xcc0",
            "Memory cgroup stats for /a:",
            "anon 4096\nfile 8192\nkernel_stack 16384\nshmem 8192\ninactive_file 0",
            "Tasks state (memory values in pages):",
            "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
            "[    77]     0    77   254      100    40960        0             0 hog",
        ])
        .unwrap();
        assert_eq!(report.split.unwrap().shmem_bytes, 8192);
        assert_eq!(report.split.unwrap().kernel_stack_bytes, Some(16_384));
        assert_eq!(report.largest[0].rss_bytes, 409_600);
    }

    #[test]
    fn a_report_is_of_one_kill() {
        let mut collector = Collector::new(4096);
        for line in LINES {
            collector.take(line);
        }
        assert!(collector.finish().is_some());
        assert_eq!(
            collector.finish(),
            None,
            "the next kill has its own, or none"
        );
        for line in LINES {
            collector.take(line);
        }
        // The end of that one was lost.
        collector.take("next invoked oom-killer: gfp_mask=0");
        assert_eq!(collector.finish(), None);
    }

    #[test]
    fn a_table_without_end_is_bounded() {
        let mut collector = Collector::new(4096);
        for line in &LINES[..13] {
            collector.take(line);
        }
        for pid in 0..3 * MOST_TASKS {
            collector.take(&format!("[ {pid}] 0 {pid} 1 {pid} 0 0 0 0 0 0 x"));
            assert!(collector.tasks.len() <= MOST_TASKS);
        }
        let report = collector.finish().unwrap();
        assert_eq!(report.largest[0].pid as usize, 3 * MOST_TASKS - 1);
    }
}
