//! What the second thread can ask of the node.

use oomtrace_common::maps::CgroupKey;

use super::super::{args::LookupArgs, scope::Awaited};
use crate::{
    event::{
        Group,
        container::{Ask, CgroupChange},
        entry::{Absent, OomLine, ProcessState, Symbol},
        memory::{MemoryAsk, MemoryCurve, NodeMemory},
    },
    identity::{
        host,
        memory::{Curves, Hierarchy, NodeLook, Sampler},
        process,
        resolver::Asker,
    },
    pipeline::Lookups,
    privileges::Keep,
    probe::{kallsyms, kmsg::KernelLog, namer::Namer, scope::ScopeMap},
};

/// Look-ups on this node.
pub(super) struct Node {
    pub(super) log: Option<KernelLog>,
    pub(super) namer: Option<Namer>,
    pub(super) scope: Option<ScopeMap>,
    pub(super) awaited: Option<Awaited>,
    pub(super) asker: Option<Asker>,
    pub(super) curves: Option<Curves>,
    pub(super) holders: Option<NodeLook>,
}

impl Lookups for Node {
    fn symbols(&mut self, addresses: &[u64]) -> Vec<Symbol> {
        match &self.namer {
            Some(namer) => namer.resolve(addresses),
            None => kallsyms::resolve(addresses),
        }
    }

    fn oom_lines(&mut self) -> Vec<OomLine> {
        self.log.as_mut().map(KernelLog::drain).unwrap_or_default()
    }

    fn process_state(&mut self, group: Group) -> ProcessState {
        let now_ns = host::now().boottime_ns;
        if host::in_pid_namespace() {
            // The kernel's ids are not those of /proc here.
            return ProcessState {
                tgid: group.tgid,
                start_ns: group.start_ns,
                boottime_ns: now_ns,
                state: None,
                wait_channel: None,
                is_hidden: true,
            };
        }
        process::state(group, now_ns)
    }

    fn ask_container(&mut self, ask: Ask) {
        if let Some(asker) = &self.asker {
            asker.ask(ask);
        }
    }

    fn scope(&mut self, cgroup: CgroupKey, held: bool) {
        if let Some(map) = &mut self.scope {
            map.decide(cgroup, held);
        }
        if let Some(awaited) = &mut self.awaited
            && awaited.decided(cgroup, held)
        {
            self.awaited = None;
        }
    }

    fn cgroup(&mut self, change: &CgroupChange) {
        if let Some(curves) = &self.curves {
            curves.told(change);
        }
    }

    fn memory(&mut self, ask: &MemoryAsk) -> Option<MemoryCurve> {
        self.curves.as_ref().map(|curves| curves.curve(ask))
    }

    fn node_memory(&mut self) -> Option<NodeMemory> {
        self.holders.as_ref().and_then(NodeLook::look)
    }
}

/// Gets ready to look at who holds the node's memory. Where cgroups cannot be looked at,
/// processes are all the same.
pub(super) fn node_look(args: LookupArgs, keep: Keep) -> Option<NodeLook> {
    let keep = args.memory(keep)?.keep;
    let page_bytes = host::page_bytes();
    NodeLook::start(Hierarchy::find(page_bytes).ok(), page_bytes, keep)
        .inspect_err(|error| {
            log::warn!("who holds the node's memory cannot be looked up: no thread: {error}");
        })
        .ok()
}

/// Starts to watch the memory of cgroups; where that cannot be, says so.
pub(super) fn watch_memory(args: LookupArgs, keep: Keep) -> (Option<Sampler>, Option<Absent>) {
    let Some(options) = args.memory(keep) else {
        return (None, None);
    };
    let started = Hierarchy::find(host::page_bytes())
        .map_err(anyhow::Error::from)
        .and_then(|hierarchy| Ok(Sampler::start(hierarchy, options)?));
    match started {
        Ok(sampler) => (Some(sampler), None),
        Err(error) => {
            let absent = Absent {
                what: "memory before an OOM kill".to_owned(),
                why: format!("{error:#}"),
            };
            (None, Some(absent))
        }
    }
}
