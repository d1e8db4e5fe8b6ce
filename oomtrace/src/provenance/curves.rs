//! Curves of the cgroups whose limits were hit: who needs one, and what came.

use std::{collections::HashMap, sync::Arc};

use super::{Output, case::Kill, engine::Engine, mechanism, memory, oom, record::Mechanism};
use crate::event::{
    Group,
    memory::{MemoryAsk, MemoryCurve},
};

/// A curve that was looked up so long ago serves the next kill below the same limit as well:
/// the sampler has seen no more than one point since.
const SAME_NS: u64 = 1_000_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Curves {
    latest: HashMap<String, Arc<MemoryCurve>>,
    /// Asked for, and answered at once or never.
    asked: Vec<(Group, String)>,
}

impl Curves {
    /// Time goes on.
    pub(super) fn forget(&mut self, now_ns: u64) {
        self.asked.clear();
        self.latest
            .retain(|_, curve| now_ns.saturating_sub(curve.boottime_ns) < SAME_NS);
    }
}

impl Engine {
    /// Asks how memory was used before a kill, if the OOM killer sent it for a cgroup.
    pub(super) fn ask_memory(&mut self, group: Group, kill: &Kill, out: &mut Vec<Output>) {
        let found = mechanism::find(&kill.event, kill.marked, &self.rules);
        if !matches!(found.mechanism, Mechanism::OomKiller | Mechanism::OomGroup) {
            return;
        }
        let Some(cgroup) = oom::of_kill(kill).limit.and_then(|level| level.path) else {
            return;
        };
        let Some(case) = self
            .open
            .get_mut(&group)
            .filter(|case| case.memory.is_none())
        else {
            return;
        };
        let is_recent = |curve: &&Arc<MemoryCurve>| {
            kill.event.boottime_ns.saturating_sub(curve.boottime_ns) < SAME_NS
        };
        if let Some(curve) = self.memory.latest.get(&cgroup).filter(is_recent) {
            case.memory = Some(Arc::clone(curve));
            return;
        }
        let is_told = memory::report(kill).is_some_and(|report| !report.largest.is_empty());
        self.memory.asked.push((group, cgroup.clone()));
        out.push(Output::AskMemory(MemoryAsk {
            cgroup,
            look: !is_told,
        }));
    }

    pub(super) fn memory_curve(&mut self, curve: MemoryCurve) {
        let curve = Arc::new(curve);
        for (group, cgroup) in std::mem::take(&mut self.memory.asked) {
            if cgroup != curve.cgroup {
                self.memory.asked.push((group, cgroup));
            } else if let Some(case) = self.open.get_mut(&group) {
                case.memory = Some(Arc::clone(&curve));
            }
        }
        self.memory.latest.insert(curve.cgroup.clone(), curve);
    }
}
