//! The thread that looks: at usage each interval, at `memory.stat` where that tells something
//! and may be afforded, and for new cgroups when it is told of one and by walking.

use std::{
    collections::HashMap,
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use super::{
    Hierarchy, Options, Shared,
    gauge::{Descriptors, Gauge, STAT_BYTES, is_gone},
    largest,
    purse::Purse,
    ring::Need,
    walk::Walk,
    young::Nursery,
};
use crate::{
    event::memory::{Resident, SplitAt},
    identity::host,
};

/// What was seen of a cgroup is kept so long after it went: its deaths are told by then.
const GONE_NS: u64 = 30_000_000_000;
/// What the thread is told and asked.
#[derive(Debug)]
pub(super) enum Message {
    Made {
        path: String,
        made_ns: Option<u64>,
        unified: bool,
    },
    Look {
        cgroup: String,
        answer: SyncSender<Look>,
    },
    Stop,
}

/// A cgroup as it is now.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) split: Option<SplitAt>,
    pub(super) largest: Vec<Resident>,
}

/// A cgroup that is watched; what was seen of it is with [`Shared`].
pub(super) struct Watch {
    pub(super) gauge: Gauge,
    pub(super) began_ns: u64,
    /// Since when it cannot be read.
    pub(super) gone_ns: Option<u64>,
}

/// The state of the thread.
pub(super) struct Rounds<'a> {
    pub(super) hierarchy: Hierarchy,
    pub(super) interval: Duration,
    pub(super) shared: &'a Shared,
    pub(super) watches: HashMap<String, Watch>,
    pub(super) young: Nursery,
    pub(super) descriptors: Descriptors,
    pub(super) purse: Purse,
    pub(super) walk: Walk,
    pub(super) walked: usize,
    pub(super) walk_at: Instant,
    /// Those that have a limit and were not watched when they were looked at, in this walk.
    pub(super) passed_over: Vec<String>,
    pub(super) most_passed_over: usize,
    pub(super) buffer: Vec<u8>,
    pub(super) knows_pids: bool,
}

/// Looks until it is told to stop.
pub(super) fn run(
    hierarchy: Hierarchy,
    options: Options,
    shared: &Shared,
    messages: &Receiver<Message>,
) {
    let mut rounds = Rounds::new(hierarchy, options, shared);
    rounds.walk_all();
    let mut next = Instant::now();
    let mut last_ns = host::now().boottime_ns;
    loop {
        match messages.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(Message::Made {
                path,
                made_ns,
                unified,
            }) => rounds.made(path, made_ns, unified),
            Ok(Message::Look { cgroup, answer }) => {
                let _ = answer.try_send(rounds.look(&cgroup));
                shared.is_slow.store(false, Ordering::Release);
            }
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let now_ns = host::now().boottime_ns;
                rounds.round(now_ns, now_ns.saturating_sub(last_ns));
                last_ns = now_ns;
                next = Instant::now() + options.interval;
                shared.is_slow.store(false, Ordering::Release);
            }
        }
    }
}

impl<'a> Rounds<'a> {
    pub(super) fn new(hierarchy: Hierarchy, options: Options, shared: &'a Shared) -> Self {
        Self {
            hierarchy,
            interval: options.interval,
            shared,
            watches: HashMap::new(),
            young: Nursery::default(),
            descriptors: Descriptors::of_process(),
            purse: Purse::new(),
            walk: Walk::default(),
            walked: 0,
            walk_at: Instant::now(),
            passed_over: Vec::new(),
            most_passed_over: 0,
            buffer: vec![0; STAT_BYTES],
            knows_pids: !host::in_pid_namespace(),
        }
    }

    /// One look at everything; `elapsed_ns` since the last.
    fn round(&mut self, now_ns: u64, elapsed_ns: u64) {
        let cpu_ns = host::thread_cpu_ns();
        self.purse.earn(elapsed_ns, self.watches.len());
        let (looks, looks_ns) = self.look_at_all(now_ns);
        self.grow_up(now_ns);
        self.walk_on(now_ns);
        let spent_ns = host::thread_cpu_ns().saturating_sub(cpu_ns);
        self.purse.spend(spent_ns, looks, looks_ns);
    }

    /// The number of looks at `memory.stat`, and what they cost.
    fn look_at_all(&mut self, now_ns: u64) -> (usize, u64) {
        let mut usages: Vec<(&str, &mut Watch, u64)> = Vec::with_capacity(self.watches.len());
        for (path, watch) in &mut self.watches {
            match watch.gauge.usage() {
                Ok(usage) => usages.push((path, watch, usage)),
                // One that cannot be read for another reason is looked at again.
                Err(error) if !is_gone(&error) => {}
                Err(_) => {
                    watch.gone_ns.get_or_insert(now_ns);
                }
            }
        }
        let needs = self.shared.with_series(|all| {
            let need = |(path, _, usage): &(&str, &mut Watch, u64)| {
                all.get(*path)
                    .map_or(Need::None, |series| series.need(now_ns, *usage))
            };
            usages.iter().map(need).collect::<Vec<Need>>()
        });
        let mut wanted: Vec<usize> = (0..usages.len())
            .filter(|at| needs.get(*at).is_some_and(|need| *need > Need::None))
            .collect();
        wanted.sort_by_key(|at| std::cmp::Reverse(needs.get(*at).copied()));
        wanted.truncate(self.purse.looks());
        let cpu_ns = host::thread_cpu_ns();
        let mut splits = Vec::with_capacity(wanted.len());
        for at in &wanted {
            if let Some((path, watch, usage)) = usages.get_mut(*at)
                && let Ok(split) = watch.gauge.split(&mut self.buffer)
            {
                splits.push((*path, *usage, split));
            }
        }
        let looks_ns = host::thread_cpu_ns().saturating_sub(cpu_ns);
        self.shared.with_series(|all| {
            for (path, usage, split) in splits {
                if let Some(series) = all.get_mut(path) {
                    series.set_split(now_ns, usage, split);
                }
            }
            for (path, _, usage) in &usages {
                if let Some(series) = all.get_mut(*path) {
                    series.push(now_ns, *usage);
                }
            }
        });
        let is_over = |watch: &Watch| {
            watch
                .gone_ns
                .is_some_and(|gone_ns| now_ns.saturating_sub(gone_ns) > GONE_NS)
        };
        let over: Vec<String> = self
            .watches
            .iter()
            .filter(|(_, watch)| is_over(watch))
            .map(|(path, _)| path.clone())
            .collect();
        for path in over {
            self.forget(&path);
        }
        (wanted.len(), looks_ns)
    }

    pub(super) fn forget(&mut self, path: &str) {
        self.watches.remove(path);
        self.shared.with_series(|all| all.remove(path));
    }

    /// A cgroup as it is now.
    fn look(&mut self, path: &str) -> Look {
        let now_ns = host::now().boottime_ns;
        let files = self.hierarchy.files();
        let folder = self.hierarchy.folder(path);
        let split = if let Some(watch) = self.watches.get_mut(path) {
            watch.gauge.split(&mut self.buffer).ok()
        } else {
            folder.as_deref().and_then(|folder| {
                let mut gauge = Gauge::new(folder, files, &self.descriptors);
                gauge.split(&mut self.buffer).ok()
            })
        };
        Look {
            split: split.map(|split| SplitAt {
                boottime_ns: now_ns,
                split,
            }),
            largest: folder
                .filter(|_| self.knows_pids)
                .map(|folder| largest::of(&folder))
                .unwrap_or_default(),
        }
    }
}
