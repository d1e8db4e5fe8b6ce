//! The state machine itself: takes events, keeps cases, and closes them.

mod end;
mod restart;
mod write;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use super::{
    Config, Output,
    case::{Case, Ended, Kill},
    clock::Clock,
    containers::Containers,
    curves::Curves,
    late::Late,
    oom,
    record::{self, Gap, Record, SCHEMA, Started},
    related::Related,
    restarts::Runs,
    rules::Rules,
    scope::{Candidate, Scope},
};
use crate::event::{
    Event, Group, InfoKind, MarkVictim, OomKill, Sigkill,
    entry::{Attached, Lost, OomLine, Session, Tick},
};

/// How many losses are remembered for deaths of which no SIGKILL was seen.
const MOST_GAPS: usize = 1024;
/// `mark_victim` follows its SIGKILL within this time.
const SOON_NS: u64 = 100_000_000;
/// The OOM killer has sent its SIGKILLs within this time of choosing. It writes its report to
/// the console in between, which may be a slow one.
const SAME_OOM_NS: u64 = 30 * 1_000_000_000;
/// A SIGKILL that took no effect in this time never will.
const STALE_NS: u64 = 600 * 1_000_000_000;

/// The state machine.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    pub(super) rules: Rules,
    session: Option<Session>,
    pub(super) containers: Containers,
    /// Deaths that were written and may be written again.
    pub(super) late: HashMap<Group, Late>,
    related: Related,
    pub(super) runs: Runs,
    pub(super) scope: Scope,
    pub(super) candidates: Vec<Candidate>,
    attached_ns: Option<u64>,
    /// Since when this tracer has been there; its programs may have been before.
    pub(super) here_ns: u64,
    pub(super) clock: Clock,
    pub(super) now_ns: u64,
    pub(super) open: HashMap<Group, Case>,
    /// Those of the open cases that were killed, and not written yet.
    dying: HashSet<Group>,
    /// Whom the kernel killed last by itself in each task's context.
    latest_own: HashMap<u32, (Group, u64)>,
    /// Ended without a SIGKILL having been seen: judged at the next tick, when losses of
    /// the same stretch are known.
    waiting: Vec<Group>,
    ended: Ended,
    /// Whom the kernel killed last by itself in each task's context, but for members of a
    /// group: in an OOM, the one that was chosen.
    oom_chosen: HashMap<u32, Arc<Kill>>,
    /// The latest OOM kill in each task's context.
    oom_kills: HashMap<u32, Arc<OomKill>>,
    /// Lines of the kernel log, by victim.
    oom_lines: HashMap<u32, OomLine>,
    baseline: oom::Baseline,
    pub(super) memory: Curves,
    gaps: VecDeque<Lost>,
    lost: u64,
    maybe_lost: u64,
    deaths: u64,
}

impl Engine {
    /// A state machine before its first event.
    #[must_use]
    pub fn new(config: Config, rules: Rules) -> Self {
        Self {
            config,
            rules,
            session: None,
            containers: Containers::default(),
            late: HashMap::new(),
            related: Related::default(),
            runs: Runs::default(),
            scope: Scope::default(),
            candidates: Vec::new(),
            attached_ns: None,
            here_ns: 0,
            clock: Clock::default(),
            now_ns: 0,
            open: HashMap::new(),
            dying: HashSet::new(),
            latest_own: HashMap::new(),
            waiting: Vec::new(),
            ended: Ended::default(),
            oom_chosen: HashMap::new(),
            oom_kills: HashMap::new(),
            oom_lines: HashMap::new(),
            baseline: oom::Baseline::new(),
            memory: Curves::default(),
            gaps: VecDeque::new(),
            lost: 0,
            maybe_lost: 0,
            deaths: 0,
        }
    }

    /// From now on, senders are judged by these rules.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Takes an event; what follows from it is appended to `out`.
    pub fn handle(&mut self, event: Event, out: &mut Vec<Output>) {
        match event {
            Event::Session(session) => self.session = Some(session),
            Event::Attached(attached) => self.attached(attached, out),
            Event::Sigkill(kill) => self.sigkill(*kill, out),
            Event::MarkVictim(mark) => self.mark_victim(mark, out),
            Event::OomKill(oom) => {
                self.oom_kills.insert(oom.sender_tid, Arc::new(*oom));
            }
            Event::OomLine(line) => {
                self.oom_lines.insert(line.tgid, line);
            }
            Event::Image(image) => {
                if let Some(case) = self.open.get_mut(&image.victim) {
                    case.image = Some(image);
                }
            }
            Event::Exit(exit) => self.exit(*exit, out),
            Event::Lost(lost) => self.lost(lost, out),
            Event::ProcessState(state) => self.process_state(state, out),
            Event::Tick(tick) => self.tick(tick, out),
            Event::Cgroup(change) => self.cgroup(&change, out),
            Event::ContainerFacts(facts) => self.container_facts(*facts, out),
            Event::ContainerState(state) => self.container_state(state, out),
            Event::ContainerUnknown(unknown) => self.container_unknown(&unknown, out),
            Event::EndedRun(run) => self.runs.restore(*run),
            Event::MemoryCurve(curve) => self.memory_curve(*curve),
            Event::Unwatched(unwatched) => self.unwatched(unwatched, out),
            Event::Paused(tick) => self.paused(tick, out),
            Event::NodeMemory(node) => self.node_memory(*node),
            Event::Stopped(tick) => self.stopped(tick, out),
        }
    }

    /// Victims that were killed and are not written yet.
    #[must_use]
    pub fn dying(&self) -> usize {
        self.dying.len()
    }

    fn attached(&mut self, attached: Attached, out: &mut Vec<Output>) {
        self.attached_ns = Some(attached.resumed_since_ns.unwrap_or(attached.boottime_ns));
        self.here_ns = attached.boottime_ns;
        self.now_ns = attached.boottime_ns;
        self.clock.set(Tick {
            boottime_ns: attached.boottime_ns,
            realtime_ns: attached.realtime_ns,
        });
        let Some(session) = &self.session else { return };
        out.push(Output::record(Record::Started(Started {
            schema: SCHEMA,
            version: session.version.clone(),
            node: session.node.clone(),
            boot_id: session.boot_id.clone(),
            kernel: session.kernel.clone(),
            time: self.clock.format(attached.boottime_ns),
            boottime_ns: attached.boottime_ns,
            hooks: record::Hooks {
                signal: "raw_tracepoint".into(),
                oom: attached.oom_hook,
                symbols: attached.symbols,
            },
            absent: attached.absent,
            ring_bytes: attached.ring_bytes,
            attach_ms: attached.attach_us as f64 / 1_000.0,
            tracing_since: attached
                .resumed_since_ns
                .map(|since| self.clock.format(since)),
        })));
    }

    fn sigkill(&mut self, kill: Sigkill, out: &mut Vec<Output>) {
        let group = kill.victim.group;
        // A zombie, or one that has ended already: nothing is left to kill.
        if self.ended.contains(&group) || kill.victim.live_threads == Some(0) {
            return;
        }
        let sender_tid = kill.sender.tid;
        let is_own = kill.info == InfoKind::Priv;
        let hook = self
            .oom_kills
            .get(&sender_tid)
            .filter(|hook| kill.boottime_ns.saturating_sub(hook.boottime_ns) < SAME_OOM_NS)
            .cloned();
        let line = self.oom_lines.get(&group.tgid).cloned();
        let case = self.open.entry(group).or_default();
        if case.is_seen_twice(&kill) {
            return;
        }
        let mut baseline = oom::Baseline::new();
        if is_own {
            self.latest_own
                .insert(sender_tid, (group, kill.boottime_ns));
            let seen = &self.baseline;
            baseline.extend(kill.victim.memcg.iter().filter_map(|level| {
                let count = seen.get(&level.address)?;
                Some((level.address, *count))
            }));
            oom::remember(&mut self.baseline, &kill);
        }
        let is_group = oom::is_of_group(&kill);
        let mut kill = Kill {
            event: Arc::new(kill),
            hook,
            line,
            marked: false,
            baseline,
            chosen: None,
        };
        if is_group {
            kill.chosen = self.oom_chosen.get(&sender_tid).cloned();
        } else if is_own {
            self.oom_chosen.insert(sender_tid, Arc::new(kill.clone()));
        }
        case.add(kill.clone());
        if case.revisions == 0 && case.killer().is_some() {
            self.dying.insert(group);
        }
        if is_own {
            self.ask_memory(group, &kill, out);
        }
    }

    fn mark_victim(&mut self, mark: MarkVictim, out: &mut Vec<Output>) {
        // It follows its SIGKILL in the same context within microseconds. The tid may be
        // that of any thread of the victim's.
        let Some((group, killed_ns)) = self.latest_own.get(&mark.sender_tid) else {
            return;
        };
        if mark.boottime_ns.saturating_sub(*killed_ns) >= SOON_NS {
            return;
        }
        let kills = self.open.get_mut(group).map(|case| &mut case.kills);
        let of_mark = |kill: &&mut Kill| kill.event.sender.tid == mark.sender_tid;
        if let Some(kill) = kills.and_then(|kills| kills.iter_mut().rfind(of_mark)) {
            kill.marked = true;
            let (group, kill) = (*group, kill.clone());
            self.ask_memory(group, &kill, out);
        }
    }

    fn lost(&mut self, lost: Lost, out: &mut Vec<Output>) {
        let sum = if lost.certain {
            &mut self.lost
        } else {
            &mut self.maybe_lost
        };
        *sum = sum.saturating_add(lost.count);
        out.push(Output::record(Record::Gap(Gap {
            schema: SCHEMA,
            lost: lost.count,
            kind: lost.kind.clone(),
            cpu: lost.cpu,
            from: self.clock.format(lost.from_ns),
            to: self.clock.format(lost.to_ns),
            from_boottime_ns: lost.from_ns,
            to_boottime_ns: lost.to_ns,
            certain: lost.certain,
            why: lost.why.clone(),
            inferred: Vec::new(),
        })));
        self.gaps.push_back(lost);
        while self.gaps.len() > MOST_GAPS {
            self.gaps.pop_front();
        }
    }

    fn tick(&mut self, tick: Tick, out: &mut Vec<Output>) {
        self.clock.set(tick);
        self.now_ns = self.now_ns.max(tick.boottime_ns);
        self.close_waiting(out);
        self.revise_due(out);
        self.decide(out);
        self.look_after(out);
        let now_ns = self.now_ns;
        // What never took effect and never will is forgotten, and so are old look-ups.
        self.open.retain(|_, case| {
            case.killer().is_some()
                || case.exit.is_some()
                || case
                    .kills
                    .last()
                    .is_some_and(|kill| now_ns.saturating_sub(kill.event.boottime_ns) < STALE_NS)
        });
        self.latest_own
            .retain(|_, (_, killed_ns)| now_ns.saturating_sub(*killed_ns) < SOON_NS);
        self.oom_chosen
            .retain(|_, kill| now_ns.saturating_sub(kill.event.boottime_ns) < SAME_OOM_NS);
        self.oom_kills
            .retain(|_, oom| now_ns.saturating_sub(oom.boottime_ns) < STALE_NS);
        if self.oom_lines.len() > MOST_GAPS {
            self.oom_lines.clear();
        }
        self.memory.forget(now_ns);
    }
}
