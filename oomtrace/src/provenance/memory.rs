//! The memory before an OOM kill: from what was looked up to what is written.

mod thinned;

use serde::{Deserialize, Serialize};

use self::thinned::thinned;
pub use super::curve::Reading;
use super::{
    case::Kill,
    curve::{self, Looks, Point},
    node,
    record::{Evidence, OomCgroup, OomRead},
    words,
};
use crate::event::{
    MemcgLevel, Process,
    memory::{MOST_RESIDENTS, MemoryCurve, MemorySample, NodeMemory, OomReport, Resident},
};

/// Another process held clearly more than the victim: so many times as much, and more by this
/// part of the limit, or of the node's memory.
const CLEARLY: f64 = 1.5;
const CLEARLY_OF_LIMIT: u64 = 20;

/// How the memory of the cgroup whose limit was hit was used before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OomMemory {
    /// Seconds before the kill, bytes in use, and bytes of the working set: usage less the
    /// page cache that the kernel could take back; `null` where that is not known.
    pub samples: Vec<(f64, u64, Option<u64>)>,
    pub limit_bytes: Option<u64>,
    pub split: Option<OomSplit>,
    /// The largest processes below that limit, or of the node, the largest first. Where the
    /// kernel's log does not say what they held at the kill, the victim stands with what it held
    /// then, and the others with what they held when they were looked at.
    pub largest: Vec<OomResident>,
    /// Where and when those are from; `null` where there are none.
    pub largest_read: Option<OomRead>,
    /// Where no cgroup's limit was hit: the largest cgroups of the node, by what each of them has
    /// in use itself. The victim's stands with what it had in use at the kill.
    #[serde(default)]
    pub cgroups: Vec<OomCgroup>,
    /// The same of those.
    pub cgroups_read: Option<OomRead>,
    /// What the curve looked like; `null` if like nothing that has a name.
    pub reading: Option<Reading>,
    /// Growth of the working set: over all that was seen, or within a burst.
    pub slope_bytes_per_s: Option<i64>,
    /// From when the cgroup was made, or where that was not seen the victim started, to the
    /// kill.
    pub from_start_ms: Option<u64>,
    /// The reading is `ramp`, and may as well be of a start-up that needs more than the limit: all
    /// that grew was younger than five minutes. `false` in records of older versions.
    #[serde(default)]
    pub may_be_start_up: bool,
    /// The reading in words, with its figures.
    pub why: String,
}

/// What memory was used for, in the cgroup whose limit was hit and those below it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OomSplit {
    /// When that was; 0 is the kill itself, as the kernel's log tells it. Less than 0: after
    /// it, when some memory may have been given back already.
    pub seconds_before: f64,
    pub anon_bytes: u64,
    /// Page cache, without tmpfs and shared memory.
    pub file_bytes: u64,
    pub shmem_bytes: u64,
    pub slab_bytes: Option<u64>,
    pub kernel_stack_bytes: Option<u64>,
    pub page_tables_bytes: Option<u64>,
    pub sock_bytes: Option<u64>,
    pub swap_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomResident {
    pub pid: u32,
    pub comm: String,
    pub rss_bytes: u64,
}

/// What is known of an OOM kill's memory.
pub(super) struct Known<'a> {
    pub(super) killer: &'a Kill,
    pub(super) curve: Option<&'a MemoryCurve>,
    pub(super) node: Option<&'a NodeMemory>,
    /// The level whose limit was hit; `None`: the node's memory.
    pub(super) limit: Option<&'a MemcgLevel>,
    /// The limit was written below what was in use.
    pub(super) limit_lowered: bool,
    /// The node itself ran out.
    pub(super) node_ran_out: bool,
    pub(super) page_bytes: u64,
}

impl Known<'_> {
    /// What is written; `None` if nobody watched and the log said nothing.
    pub(super) fn before(&self) -> Option<OomMemory> {
        let report = report(self.killer);
        if self.curve.is_none() && self.node.is_none() && report.is_none() {
            return None;
        }
        let killed_ns = self.killed_ns();
        let samples = self.samples(report);
        let limit_bytes = self.limit_bytes();
        let mut found = self.read(&samples, limit_bytes);
        let may_be_start_up = limit_bytes
            .and_then(|limit_bytes| self.grown_since_ns(limit_bytes))
            .is_some_and(|start_ns| {
                let life_s = killed_ns.saturating_sub(start_ns) as f64 / 1e9;
                curve::may_be_start_up(found.reading, life_s)
            });
        if may_be_start_up {
            let less = "; it did not live long enough to tell a leak from a start-up that needs more than its limit";
            found.why.push_str(less);
        }
        let start_ns = self
            .curve
            .and_then(|curve| curve.made_ns)
            .or(Some(self.killer.event.victim.group.start_ns).filter(|start_ns| *start_ns > 0));
        Some(OomMemory {
            samples: thinned(&samples)
                .into_iter()
                .map(|MemorySample(at_ns, usage, working)| {
                    (seconds_before(killed_ns, at_ns), usage, working)
                })
                .collect(),
            limit_bytes,
            split: self.split(report),
            largest: self.largest(report),
            largest_read: self.largest_read(report),
            cgroups: self
                .node
                .map(|node| node::cgroups(node, self.killer, self.page_bytes))
                .unwrap_or_default(),
            cgroups_read: self
                .node
                .filter(|node| !node.cgroups.is_empty())
                .map(|node| node::cgroups_read(node, killed_ns)),
            reading: found.reading,
            slope_bytes_per_s: found.slope_bytes_per_s,
            from_start_ms: start_ns
                .and_then(|start_ns| killed_ns.checked_sub(start_ns))
                .map(|from_start_ns| from_start_ns / 1_000_000),
            may_be_start_up,
            why: found.why,
        })
    }

    /// Whether another process than the victim held most.
    pub(super) fn evidence(&self, memory: &OomMemory) -> Option<Evidence> {
        let least = self.all_bytes()? / CLEARLY_OF_LIMIT;
        let victim = &self.killer.event.victim;
        let is_victim = |other: &&OomResident| other.pid == victim.group.tgid;
        let listed = memory.largest.iter().find(is_victim).cloned();
        let own = listed.or_else(|| self.resident(victim))?.rss_bytes;
        let largest = memory.largest.iter().find(|other| !is_victim(other))?;
        let more = largest.rss_bytes.saturating_sub(own);
        let is_clear = largest.rss_bytes as f64 >= CLEARLY * own as f64 && more > least;
        is_clear.then(|| Evidence {
            code: "largest_other".into(),
            text: format!(
                "{}[{}] held {}, more than the {} of {}, which was killed: look there first",
                largest.comm,
                largest.pid,
                words::bytes(largest.rss_bytes),
                words::bytes(own),
                words::label(victim)
            ),
            source: if report(self.killer).is_some_and(|report| !report.largest.is_empty()) {
                "kernel log".into()
            } else {
                "/proc".into()
            },
        })
    }

    /// A group goes for one that was chosen: what led to that counts.
    fn killed_ns(&self) -> u64 {
        let chosen = self.killer.chosen.as_deref();
        chosen.unwrap_or(self.killer).event.boottime_ns
    }

    fn bytes(&self, pages: u64) -> u64 {
        pages.saturating_mul(self.page_bytes)
    }

    fn limit_bytes(&self) -> Option<u64> {
        Some(self.bytes(self.limit?.max_pages?))
    }

    /// All the memory that there was to be had: the limit, or the node's. `None`: it was not that
    /// which ran out, or it is not known how much that is.
    fn all_bytes(&self) -> Option<u64> {
        if self.limit.is_some() || !self.node_ran_out {
            return self.limit_bytes();
        }
        let told = self.node.and_then(|node| node.total_bytes);
        // With swap, where there is some.
        let counted = self.killer.hook.as_ref().and_then(|hook| hook.total_pages);
        told.or_else(|| Some(self.bytes(counted?)))
    }

    /// The samples before the kill, and the kill itself.
    fn samples(&self, report: Option<&OomReport>) -> Vec<MemorySample> {
        let killed_ns = self.killed_ns();
        let seen = self.curve.map_or(&[][..], |curve| &curve.samples);
        let mut samples: Vec<MemorySample> = seen
            .iter()
            .copied()
            .filter(|sample| sample.0 < killed_ns)
            .collect();
        // The kernel has tried to make room before: what page cache is left could not go.
        if let Some(usage_pages) = self.limit.and_then(|level| level.usage_pages) {
            let usage = self.bytes(usage_pages);
            let cache = report
                .and_then(|report| report.split)
                .map_or(0, |split| split.reclaimable_bytes);
            let working = usage.saturating_sub(cache);
            samples.push(MemorySample(killed_ns, usage, Some(working)));
        }
        samples
    }

    fn read(&self, samples: &[MemorySample], limit_bytes: Option<u64>) -> curve::Found {
        let none = |why: &str| curve::Found {
            reading: None,
            slope_bytes_per_s: None,
            why: why.to_owned(),
        };
        if self.limit_lowered {
            return none(
                "the limit was lowered below what was in use: what came before is no reason",
            );
        }
        let (Some(_), Some(limit_bytes)) = (self.limit, limit_bytes) else {
            return none("no cgroup's limit was hit, and only cgroups that have one are watched");
        };
        let life_ns = self.life_ns(limit_bytes);
        let began_ns = samples.first().map_or(0, |first| first.0).max(life_ns);
        let points: Vec<Point> = samples
            .iter()
            .filter(|sample| sample.0 >= life_ns)
            .filter_map(|MemorySample(at_ns, _, working)| {
                Some(Point {
                    at_s: at_ns.saturating_sub(began_ns) as f64 / 1e9,
                    bytes: (*working)? as f64,
                })
            })
            .collect();
        let mut found = curve::read(&points, limit_bytes as f64, self.looks());
        let absent = match self.curve {
            None => Some("nobody watched it"),
            Some(curve) => curve.absent.as_deref(),
        };
        if let Some(absent) = absent {
            found.why = format!("what came before was not seen: {absent}");
        }
        found
    }

    /// How often it was looked at.
    fn looks(&self) -> Looks {
        let interval_ns = self.curve.and_then(|curve| curve.interval_ns);
        Looks::every(interval_ns.map_or(1.0, |interval_ns| interval_ns as f64 / 1e9))
    }

    /// When what is read begins: with the one that was chosen, where the memory was its own. In a
    /// cgroup that outlives its processes, what others held before is another story.
    fn life_ns(&self, limit_bytes: u64) -> u64 {
        let chosen = self.killer.chosen.as_deref().unwrap_or(self.killer);
        let victim = &chosen.event.victim;
        let is_its_own = self
            .resident(victim)
            .is_some_and(|held| held.rss_bytes >= limit_bytes / 2);
        if is_its_own { victim.group.start_ns } else { 0 }
    }

    /// When what grew had its start: the one that was chosen, where the memory was its own, else
    /// the cgroup. Where nobody saw that being made it is as old as the victim, or older.
    fn grown_since_ns(&self, limit_bytes: u64) -> Option<u64> {
        let chosen = self.killer.chosen.as_deref().unwrap_or(self.killer);
        let own_ns = chosen.event.victim.group.start_ns;
        let life_ns = Some(self.life_ns(limit_bytes)).filter(|life_ns| *life_ns > 0);
        life_ns
            .or_else(|| self.curve?.made_ns)
            .or(Some(own_ns))
            .filter(|start_ns| *start_ns > 0)
    }

    fn split(&self, report: Option<&OomReport>) -> Option<OomSplit> {
        let killed_ns = self.killed_ns();
        let told = report.and_then(|report| report.split);
        let looked_up = self.curve.and_then(|curve| curve.split);
        let (at_ns, split) = told
            .map(|split| (killed_ns, split))
            .or_else(|| looked_up.map(|at| (at.boottime_ns, at.split)))?;
        // Of v1 only the log, and of v2 only its file, tells of swap at the kill.
        let swap_bytes = split.swap_bytes.or_else(|| looked_up?.split.swap_bytes);
        Some(OomSplit {
            seconds_before: seconds_before(killed_ns, at_ns),
            anon_bytes: split.anon_bytes,
            file_bytes: split.file_bytes,
            shmem_bytes: split.shmem_bytes,
            slab_bytes: split.slab_bytes,
            kernel_stack_bytes: split.kernel_stack_bytes,
            page_tables_bytes: split.page_tables_bytes,
            sock_bytes: split.sock_bytes,
            swap_bytes,
        })
    }

    fn largest(&self, report: Option<&OomReport>) -> Vec<OomResident> {
        let told = report.map_or(&[][..], |report| &report.largest);
        if !told.is_empty() {
            return told.iter().map(resident).collect();
        }
        // Those that are looked at after the kill lack the victim, or some of what it held.
        let victim = self.resident(&self.killer.event.victim);
        let others = self.looked_at().map_or(&[][..], |(others, ..)| others);
        let mut all: Vec<OomResident> = others
            .iter()
            .map(resident)
            .filter(|other| victim.as_ref().is_none_or(|victim| victim.pid != other.pid))
            .collect();
        all.extend(victim);
        all.sort_by(|a, b| b.rss_bytes.cmp(&a.rss_bytes).then(a.pid.cmp(&b.pid)));
        all.truncate(MOST_RESIDENTS);
        all
    }

    /// The processes that were looked up, when, and whether those are all.
    fn looked_at(&self) -> Option<(&[Resident], u64, Option<bool>)> {
        let of_node = || {
            let node = self.node?;
            Some((
                &node.largest[..],
                node.boottime_ns,
                Some(!node.processes_cut),
            ))
        };
        self.curve
            .map(|curve| (&curve.largest[..], curve.boottime_ns, None))
            .or_else(of_node)
            .filter(|(others, ..)| !others.is_empty())
    }

    fn largest_read(&self, report: Option<&OomReport>) -> Option<OomRead> {
        let killed_ns = self.killed_ns();
        if report.is_some_and(|report| !report.largest.is_empty()) {
            return Some(OomRead {
                source: "kernel_log".into(),
                seconds_before: 0.0,
                complete: Some(true),
            });
        }
        let (_, at_ns, complete) = self.looked_at()?;
        Some(OomRead {
            source: "proc".into(),
            seconds_before: seconds_before(killed_ns, at_ns),
            complete,
        })
    }

    fn resident(&self, victim: &Process) -> Option<OomResident> {
        let rss = victim.rss?;
        let pages = [rss.anon_pages, rss.file_pages, rss.shmem_pages];
        Some(OomResident {
            pid: victim.group.tgid,
            comm: victim.comm.clone().unwrap_or_default(),
            rss_bytes: self.bytes(pages.into_iter().fold(0, u64::saturating_add)),
        })
    }
}

fn resident(from: &Resident) -> OomResident {
    OomResident {
        pid: from.pid,
        comm: from.comm.clone(),
        rss_bytes: from.rss_bytes,
    }
}

/// What the kernel's log said of this kill, or of the one that a group went for.
pub(super) fn report(kill: &Kill) -> Option<&OomReport> {
    let kill = kill.chosen.as_deref().unwrap_or(kill);
    kill.line.as_ref()?.report.as_deref()
}

pub(super) fn seconds_before(killed_ns: u64, at_ns: u64) -> f64 {
    let ms = (i128::from(killed_ns) - i128::from(at_ns)) / 1_000_000;
    ms as f64 / 1e3
}
