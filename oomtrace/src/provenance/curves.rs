//! What is looked up of memory after an OOM kill: the curve of the cgroup whose limit was hit,
//! or who held the node's. Who needs one, and what came.

use std::{collections::HashMap, sync::Arc};

use super::{
    Output,
    case::{Case, Kill},
    engine::Engine,
    mechanism, memory, oom,
    record::Mechanism,
};
use crate::event::{
    Constraint, Group,
    memory::{MemoryAsk, MemoryCurve, NodeMemory},
};

/// What was looked up so long ago serves the next kill below the same limit, or on the same
/// node, as well: the sampler has seen no more than one point since.
const SAME_NS: u64 = 1_000_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Curves {
    latest: HashMap<String, Arc<MemoryCurve>>,
    /// Asked for, and answered at once or never.
    asked: Vec<(Group, String)>,
    latest_node: Option<Arc<NodeMemory>>,
    /// The same of the node.
    asked_node: Vec<Group>,
}

impl Curves {
    /// Time goes on.
    pub(super) fn forget(&mut self, now_ns: u64) {
        self.asked.clear();
        self.asked_node.clear();
        let is_recent = |node: &Arc<NodeMemory>| is_recent(node.boottime_ns, now_ns);
        self.latest_node = self.latest_node.take().filter(is_recent);
        self.latest
            .retain(|_, curve| self::is_recent(curve.boottime_ns, now_ns));
    }
}

fn is_recent(boottime_ns: u64, now_ns: u64) -> bool {
    now_ns.saturating_sub(boottime_ns) < SAME_NS
}

impl Engine {
    /// Asks how memory was used before a kill, if the OOM killer sent it.
    pub(super) fn ask_memory(&mut self, group: Group, kill: &Kill, out: &mut Vec<Output>) {
        // Nobody could look then, and what is there now is another matter.
        if kill.event.boottime_ns < self.here_ns {
            return;
        }
        let found = mechanism::find(&kill.event, kill.marked, &self.rules);
        if !matches!(found.mechanism, Mechanism::OomKiller | Mechanism::OomGroup) {
            return;
        }
        let found = oom::of_kill(kill);
        if found.constraint != Some(Constraint::Memcg) {
            self.ask_node(group, kill, out);
            return;
        }
        let Some(cgroup) = found.limit.and_then(|level| level.path) else {
            return;
        };
        let Some(case) = self
            .open
            .get_mut(&group)
            .filter(|case| case.memory.is_none())
        else {
            return;
        };
        let is_recent =
            |curve: &&Arc<MemoryCurve>| is_recent(curve.boottime_ns, kill.event.boottime_ns);
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

    fn ask_node(&mut self, group: Group, kill: &Kill, out: &mut Vec<Output>) {
        let is_needed = |case: &&mut Case| case.node.is_none();
        let Some(case) = self.open.get_mut(&group).filter(is_needed) else {
            return;
        };
        let is_recent =
            |node: &&Arc<NodeMemory>| is_recent(node.boottime_ns, kill.event.boottime_ns);
        if let Some(node) = self.memory.latest_node.as_ref().filter(is_recent) {
            case.node = Some(Arc::clone(node));
            return;
        }
        self.memory.asked_node.push(group);
        out.push(Output::AskNodeMemory);
    }

    pub(super) fn node_memory(&mut self, node: NodeMemory) {
        let node = Arc::new(node);
        for group in std::mem::take(&mut self.memory.asked_node) {
            if let Some(case) = self.open.get_mut(&group) {
                case.node = Some(Arc::clone(&node));
            }
        }
        self.memory.latest_node = Some(node);
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
