//! From one tracer to the next: what is not settled, and what nobody has seen in between.

use super::Engine;
use crate::{
    event::{
        Group,
        container::{ContainerFacts, EndedRun},
        entry::{InferredKill, Tick, Unwatched},
    },
    provenance::{
        Output,
        case::Case,
        late::Late,
        record::{Gap, Inferred, Record, SCHEMA, Stopped, UNKEPT},
    },
};

impl Engine {
    /// Every death is written, with all that will be known of it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.open.is_empty() && self.late.is_empty()
    }

    /// Something of this thread group is still to be written.
    #[must_use]
    pub fn is_unsettled(&self, group: &Group) -> bool {
        self.open.contains_key(group) || self.late.contains_key(group)
    }

    /// When those died, or were killed, of whom something is still to be written.
    pub fn unsettled_ns(&self) -> impl Iterator<Item = u64> {
        let open = self.open.values().flat_map(Case::times_ns);
        open.chain(self.late.values().map(Late::died_ns))
    }

    /// What is known of the containers that are there.
    pub fn live_containers(&self) -> impl Iterator<Item = &ContainerFacts> {
        self.containers.live()
    }

    /// Runs that a death has ended, and on which none has followed yet: the latest of them.
    pub fn ended_runs(&self) -> impl Iterator<Item = EndedRun> {
        self.runs.open()
    }

    /// What was written so far is another tracer's: only these deaths are to be counted as this
    /// one's.
    pub fn count_from(&mut self, deaths: u64) {
        self.deaths = deaths;
        self.lost = 0;
        self.maybe_lost = 0;
    }

    /// Forgets all that was seen.
    pub fn begin_anew(&mut self) {
        let scope = self.scope.clone();
        *self = Self::new(self.config, self.rules.clone());
        self.scope = scope;
    }

    /// The tracer ends, and what is open stays so for the next one.
    pub(super) fn paused(&mut self, tick: Tick, out: &mut Vec<Output>) {
        self.clock.set(tick);
        self.now_ns = self.now_ns.max(tick.boottime_ns);
        out.push(self.end(tick, true));
    }

    /// The last record. `pinned`: what is dying is written by the next tracer.
    pub(super) fn end(&self, tick: Tick, pinned: bool) -> Output {
        Output::record(Record::Stopped(Stopped {
            schema: SCHEMA,
            time: self.clock.format(tick.boottime_ns),
            boottime_ns: tick.boottime_ns,
            deaths: self.deaths,
            lost: self.lost,
            maybe_lost: self.maybe_lost,
            pinned,
            open: self.dying.len(),
        }))
    }

    pub(super) fn unwatched(&mut self, unwatched: Unwatched, out: &mut Vec<Output>) {
        out.push(Output::record(Record::Gap(Gap {
            schema: SCHEMA,
            lost: 0,
            kind: if unwatched.was_traced {
                UNKEPT.to_owned()
            } else {
                "any".to_owned()
            },
            cpu: None,
            from: self.clock.format(unwatched.from_ns),
            to: self.clock.format(unwatched.to_ns),
            from_boottime_ns: unwatched.from_ns,
            to_boottime_ns: unwatched.to_ns,
            certain: false,
            why: unwatched.why,
            inferred: unwatched.kills.into_iter().map(inferred).collect(),
        })));
    }
}

fn inferred(kill: InferredKill) -> Inferred {
    let cgroup = kill
        .cgroup
        .as_deref()
        .unwrap_or("a cgroup that is not named");
    let (code, what) = if let Some(pid) = kill.pid {
        let comm = kill.comm.as_deref().unwrap_or("a process");
        let limit = match &kill.limit_cgroup {
            Some(limit) => format!("the memory limit on {limit} was hit"),
            None => "the node ran out of memory".to_owned(),
        };
        let what = format!("{comm}[{pid}] in {cgroup} was chosen by the OOM killer: {limit}");
        ("oom_kill_logged", what)
    } else {
        let who = match kill.kills {
            1 => "one process".to_owned(),
            kills => format!("{kills} processes"),
        };
        let what = format!("the OOM killer took {who} in {cgroup}, which nobody names");
        ("oom_kills_counted", what)
    };
    let text = format!("inferred, not seen: {what}");
    Inferred {
        code: code.into(),
        cgroup: kill.cgroup,
        kills: kill.kills,
        pid: kill.pid,
        comm: kill.comm,
        limit_cgroup: kill.limit_cgroup,
        text,
        source: kill.source,
    }
}
