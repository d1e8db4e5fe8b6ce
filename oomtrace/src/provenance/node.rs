//! Who held the node's memory when it ran out: from what was looked up to what is written.

use serde::{Deserialize, Serialize};

use super::{
    case::Kill,
    memory::seconds_before,
    record::{ContainerName, Unit, Word},
};
use crate::event::memory::{CgroupUse, NodeMemory, largest_cgroups};

/// A cgroup, and what was charged to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OomCgroup {
    /// Its path, from the root of the hierarchy.
    pub cgroup: String,
    /// Without those below it, so that the figures of several add up.
    pub own_bytes: u64,
    /// With all below it.
    pub usage_bytes: u64,
    /// Whose it is, as far as its path and the runtimes tell.
    pub container: Option<ContainerName>,
    pub unit: Option<Unit>,
}

/// Where figures were read, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OomRead {
    /// `kernel_log`, which is of the kill itself; `proc` and `cgroup`, which are not.
    pub source: Word,
    /// 0 is the kill. Less than 0: after it, when its victim may have given back a part of its
    /// own already.
    pub seconds_before: f64,
    /// Whether all there are were looked at; `null` where that is not known.
    pub complete: Option<bool>,
}

impl OomCgroup {
    fn of(one: CgroupUse) -> Self {
        Self {
            cgroup: one.cgroup,
            own_bytes: one.own_bytes,
            usage_bytes: one.usage_bytes,
            container: None,
            unit: None,
        }
    }
}

/// The largest cgroups, the largest first. Of the victim's own it is known what it had in use at
/// the kill.
pub(super) fn cgroups(node: &NodeMemory, killer: &Kill, page_bytes: u64) -> Vec<OomCgroup> {
    let victim = &killer.event.victim;
    let mut all = node.cgroups.clone();
    if let Some(level) = victim.memcg.first()
        && let Some(path) = level.path.as_deref().or(victim.memory_cgroup.as_deref())
        && let Some(usage_pages) = level.usage_pages
    {
        let usage_bytes = usage_pages.saturating_mul(page_bytes);
        if let Some(own) = all.iter_mut().find(|one| one.cgroup == path) {
            let given_back = usage_bytes.saturating_sub(own.usage_bytes);
            own.own_bytes = own.own_bytes.saturating_add(given_back);
            own.usage_bytes = own.usage_bytes.saturating_add(given_back);
        } else if level.v1 == Some(false) && path != "/" {
            // Of v2 a cgroup with processes in it has none below it that has memory.
            all.push(CgroupUse {
                cgroup: path.to_owned(),
                usage_bytes,
                own_bytes: usage_bytes,
            });
        }
    }
    largest_cgroups(all)
        .into_iter()
        .map(OomCgroup::of)
        .collect()
}

/// When and where the largest cgroups were read.
pub(super) fn cgroups_read(node: &NodeMemory, killed_ns: u64) -> OomRead {
    OomRead {
        source: "cgroup".into(),
        seconds_before: seconds_before(killed_ns, node.boottime_ns),
        complete: Some(!node.cgroups_cut),
    }
}
