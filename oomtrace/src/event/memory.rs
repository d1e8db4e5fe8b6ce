//! Memory of a cgroup over time, as it comes into the stream beside the kernel's records:
//! what was used before its limit was hit, of what kinds, and by whom.

use serde::{Deserialize, Serialize};

/// What is wanted to be known of the cgroup whose limit was hit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemoryAsk {
    /// Its path, from the root of the hierarchy.
    pub cgroup: String,
    /// Nothing says yet what the memory was used for and by whom: it is to be looked at now.
    pub look: bool,
}

/// At one moment: `CLOCK_BOOTTIME`, bytes in use, and bytes of the working set; `None` where
/// the page cache of that moment is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemorySample(pub u64, pub u64, pub Option<u64>);

/// What a cgroup's memory was used for, those below it included. `None`: this kernel does not
/// say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemorySplit {
    /// Memory of programs that no file stands behind: heaps and stacks.
    pub anon_bytes: u64,
    /// Page cache of files, without [`Self::shmem_bytes`].
    pub file_bytes: u64,
    /// tmpfs, shared memory.
    pub shmem_bytes: u64,
    pub slab_bytes: Option<u64>,
    pub kernel_stack_bytes: Option<u64>,
    pub page_tables_bytes: Option<u64>,
    pub sock_bytes: Option<u64>,
    pub swap_bytes: Option<u64>,
    /// Page cache on the LRU lists, which the kernel takes back before it kills.
    pub reclaimable_bytes: u64,
}

/// The split of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitAt {
    pub boottime_ns: u64,
    pub split: MemorySplit,
}

/// A process and what it had in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resident {
    pub pid: u32,
    pub comm: String,
    pub rss_bytes: u64,
}

/// So many of the largest processes are told.
pub const MOST_RESIDENTS: usize = 10;

/// What the kernel's log says of an OOM kill beside its one line: the state just before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomReport {
    /// Of the cgroup whose limit was hit.
    pub split: Option<MemorySplit>,
    /// The largest processes that might have been chosen, the largest first.
    pub largest: Vec<Resident>,
}

/// What was looked up of a cgroup whose limit was hit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryCurve {
    /// When it was looked up.
    pub boottime_ns: u64,
    pub cgroup: String,
    /// The oldest first.
    pub samples: Vec<MemorySample>,
    /// From one look to the next, as far as they were made; those that saw no news between two
    /// others are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ns: Option<u64>,
    /// When the cgroup was made, if that was seen.
    pub made_ns: Option<u64>,
    /// The last that was read before it was looked up.
    pub split: Option<SplitAt>,
    /// The largest processes that were there when it was looked up.
    pub largest: Vec<Resident>,
    /// Why there are no samples.
    pub absent: Option<String>,
}

/// A cgroup and the memory that is charged to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupUse {
    /// Its path, from the root of the hierarchy.
    pub cgroup: String,
    /// With all cgroups below it.
    pub usage_bytes: u64,
    /// Without them, so that the figures of several add up.
    pub own_bytes: u64,
}

/// So many of the largest cgroups are told.
pub const MOST_CGROUPS: usize = 10;

/// Who held the node's memory, as it was looked up after an OOM kill that no cgroup's limit
/// stood behind. By then the victim may have given some of its own back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeMemory {
    /// When the look-up began.
    pub boottime_ns: u64,
    /// What the node has in all, without swap.
    pub total_bytes: Option<u64>,
    /// The largest processes, the largest first.
    pub largest: Vec<Resident>,
    /// The cgroups with the largest use of their own, the largest first.
    pub cgroups: Vec<CgroupUse>,
    /// Not all processes, or not all cgroups, could be looked at in the time that there is.
    pub processes_cut: bool,
    pub cgroups_cut: bool,
}

/// The largest by what they use themselves, the largest first.
#[must_use]
pub fn largest_cgroups(mut cgroups: Vec<CgroupUse>) -> Vec<CgroupUse> {
    cgroups.retain(|one| one.own_bytes > 0);
    cgroups.sort_by(|a, b| {
        let by_size = b.own_bytes.cmp(&a.own_bytes);
        by_size.then_with(|| a.cgroup.cmp(&b.cgroup))
    });
    cgroups.truncate(MOST_CGROUPS);
    cgroups
}

/// The largest of them, the largest first.
#[must_use]
pub fn largest(mut residents: Vec<Resident>) -> Vec<Resident> {
    residents.sort_by(|a, b| b.rss_bytes.cmp(&a.rss_bytes).then(a.pid.cmp(&b.pid)));
    residents.truncate(MOST_RESIDENTS);
    residents
}

impl MemorySplit {
    /// What is accounted for in the first place; the kernel's own part is small beside it.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.anon_bytes
            .saturating_add(self.file_bytes)
            .saturating_add(self.shmem_bytes)
    }

    /// From the text of `memory.stat`, of cgroup v1 or v2; `None` if that is neither. v1 counts
    /// a cgroup by itself first, and then (`total_`) with all below it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut stat = Stat::default();
        for line in text.lines() {
            if let Some((name, value)) = line.split_once(' ')
                && let Ok(bytes) = value.trim().parse()
            {
                stat.set(name, bytes);
            }
        }
        let anon = stat.anon?;
        let shmem = stat.shmem.unwrap_or_default();
        Some(Self {
            anon_bytes: anon,
            file_bytes: stat.file?.saturating_sub(shmem),
            shmem_bytes: shmem,
            slab_bytes: stat.slab,
            kernel_stack_bytes: stat.kernel_stack,
            page_tables_bytes: stat.page_tables,
            sock_bytes: stat.sock,
            swap_bytes: stat.swap,
            reclaimable_bytes: stat
                .inactive_file
                .unwrap_or_default()
                .saturating_add(stat.active_file.unwrap_or_default()),
        })
    }
}

#[derive(Default)]
struct Stat {
    anon: Option<u64>,
    file: Option<u64>,
    shmem: Option<u64>,
    slab: Option<u64>,
    kernel_stack: Option<u64>,
    page_tables: Option<u64>,
    sock: Option<u64>,
    swap: Option<u64>,
    inactive_file: Option<u64>,
    active_file: Option<u64>,
}

impl Stat {
    /// The names of `memory_stats` and of `memcg1_stat_names` in mm/memcontrol*.c, 5.8 to 7.2.
    fn set(&mut self, name: &str, bytes: u64) {
        let (name, is_total) = match name.strip_prefix("total_") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let field = match name {
            "anon" | "rss" => &mut self.anon,
            "file" | "cache" => &mut self.file,
            "shmem" => &mut self.shmem,
            "slab" => &mut self.slab,
            "kernel_stack" => &mut self.kernel_stack,
            "pagetables" => &mut self.page_tables,
            "sock" => &mut self.sock,
            "swap" => &mut self.swap,
            "inactive_file" => &mut self.inactive_file,
            "active_file" => &mut self.active_file,
            _ => return,
        };
        if is_total || field.is_none() {
            *field = Some(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of Linux 6.18, in the order in which it stands there.
    const V1: &str = "cache 20480\nrss 12288\nshmem 4096\nswap 0\ninactive_file 1\nactive_file 2\n\
        hierarchical_memory_limit 52428800\ntotal_cache 20480\ntotal_rss 52105216\n\
        total_shmem 4096\ntotal_swap 8192\ntotal_inactive_anon 52097024\n\
        total_inactive_file 8192\ntotal_active_file 12288\ntotal_unevictable 0\n";
    const V2: &str = "anon 40960\nfile 1048576\nkernel 90112\nkernel_stack 16384\n\
        pagetables 49152\nsec_pagetables 0\npercpu 0\nsock 4096\nvmalloc 0\nshmem 524288\n\
        file_mapped 0\ninactive_anon 565248\nactive_anon 0\ninactive_file 524288\n\
        active_file 4096\nunevictable 0\nslab_reclaimable 1000\nslab_unreclaimable 234\n\
        slab 1234\nworkingset_refault_anon 0\n";

    #[test]
    fn v1_counts_what_is_below_as_well() {
        let split = MemorySplit::parse(V1).unwrap();
        assert_eq!(split.anon_bytes, 52_105_216);
        assert_eq!(split.file_bytes, 16_384, "without tmpfs");
        assert_eq!(split.reclaimable_bytes, 20_480);
        assert_eq!(split.swap_bytes, Some(8192));
        assert_eq!(split.slab_bytes, None, "v1 does not say");
    }

    #[test]
    fn v2_tells_the_kernels_part_too() {
        let split = MemorySplit::parse(V2).unwrap();
        assert_eq!(split.anon_bytes, 40_960);
        assert_eq!(split.file_bytes, 524_288);
        assert_eq!(split.shmem_bytes, 524_288);
        assert_eq!(split.slab_bytes, Some(1234));
        assert_eq!(split.page_tables_bytes, Some(49_152));
        assert_eq!(split.sock_bytes, Some(4096));
        assert_eq!(split.reclaimable_bytes, 528_384);
        assert_eq!(split.swap_bytes, None, "it stands in another file");
    }

    #[test]
    fn anything_else_is_no_split() {
        for text in ["", "anon x\nfile 1", "file 1", "\n\n \n"] {
            assert_eq!(MemorySplit::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_largest_come_first_and_not_all() {
        let of = |pid: u32| Resident {
            pid,
            comm: "x".to_owned(),
            rss_bytes: u64::from(pid % 20),
        };
        let few = largest((0..40).map(of).collect());
        assert_eq!(few.len(), MOST_RESIDENTS);
        assert_eq!((few[0].pid, few[1].pid, few[2].pid), (19, 39, 18));
    }
}
