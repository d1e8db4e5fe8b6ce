//! One case: all that is known of one thread group that got a SIGKILL, or that ended as if
//! it had; and what is remembered of those that have ended.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{oom, record::Cause};
use crate::event::{
    Exit, Group, Image, OomKill, Sigkill, SignalResult,
    entry::{OomLine, ProcessState},
    memory::{MemoryCurve, NodeMemory},
};

const MOST_KILLS: usize = 8;
/// Two programs see the same signal within this time.
const SAME_NS: u64 = 10_000_000;
/// How many ended thread groups are remembered, so that none is reported twice.
const MOST_ENDED: usize = 8192;

/// One thread group that got a SIGKILL, or that ended as if it had.
#[derive(Debug, Default)]
pub(super) struct Case {
    /// In the order in which they were generated. More than [`MOST_KILLS`] are counted
    /// only.
    pub(super) kills: Vec<Kill>,
    pub(super) more_kills: u64,
    pub(super) image: Option<Image>,
    pub(super) exit: Option<Arc<Exit>>,
    /// How many revisions were written.
    pub(super) revisions: u32,
    /// When its state was asked for last.
    pub(super) asked_ns: Option<u64>,
    pub(super) state: Option<ProcessState>,
    /// Memory of the cgroup whose limit was hit.
    pub(super) memory: Option<Arc<MemoryCurve>>,
    /// Who held the node's memory, where no cgroup's limit was hit.
    pub(super) node: Option<Arc<NodeMemory>>,
    /// Its end is not waited for any more, though it may be there still.
    pub(super) is_given_up: bool,
    /// When it was seen to be gone; its end was not.
    pub(super) gone_ns: Option<u64>,
}

/// A SIGKILL with what belongs to it.
#[derive(Clone, Debug)]
pub(super) struct Kill {
    pub(super) event: Arc<Sigkill>,
    pub(super) hook: Option<Arc<OomKill>>,
    pub(super) line: Option<OomLine>,
    pub(super) marked: bool,
    /// Counts of hit limits before this kill.
    pub(super) baseline: oom::Baseline,
    /// For a member of a group that the OOM killer takes whole (memory.oom.group): the kill of
    /// the one that it had chosen. Whose limit it was shows there; by now memory is free again.
    pub(super) chosen: Option<Arc<Kill>>,
}

/// A death to which another one is linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) id: String,
    pub(super) boottime_ns: u64,
    /// Who died.
    pub(super) who: String,
    /// The first of the chain, where each one passed on the status of the one before: who it
    /// was, and of what it died.
    pub(super) root: Option<(String, Cause)>,
    pub(super) cause: Cause,
}

impl Link {
    /// Who it was and why it died, down to where it began.
    pub(super) fn story(&self) -> String {
        match &self.root {
            Some((who, cause)) => {
                format!("{}, which began with {who} ({})", self.who, cause.name())
            }
            None => format!("{} ({})", self.who, self.cause.name()),
        }
    }
}

/// Thread groups that have ended, with their death where there was one.
#[derive(Debug, Default)]
pub(super) struct Ended {
    ids: HashMap<Group, Option<String>>,
    /// The latest death among each group's children.
    of_child: HashMap<Group, Link>,
    /// Group and parent, the oldest first.
    order: VecDeque<(Group, Option<Group>)>,
}

impl Ended {
    pub(super) fn insert(&mut self, group: Group, parent: Option<Group>, death: Option<Link>) {
        let id = death.as_ref().map(|death| death.id.clone());
        if let (Some(parent), Some(death)) = (parent, death) {
            self.of_child.insert(parent, death);
        }
        if self.ids.insert(group, id).is_none() {
            self.order.push_back((group, parent));
        }
        while self.order.len() > MOST_ENDED {
            if let Some((oldest, parent)) = self.order.pop_front() {
                let id = self.ids.remove(&oldest).flatten();
                // A later child's death may stand there by now.
                if let Some(parent) = parent
                    && self.of_child.get(&parent).map(|death| &death.id) == id.as_ref()
                {
                    self.of_child.remove(&parent);
                }
            }
        }
    }

    pub(super) fn contains(&self, group: &Group) -> bool {
        self.ids.contains_key(group)
    }

    pub(super) fn id(&self, group: &Group) -> Option<&str> {
        self.ids.get(group)?.as_deref()
    }

    /// The latest death among a group's children.
    pub(super) fn child(&self, group: &Group) -> Option<&Link> {
        self.of_child.get(group)
    }
}

/// Why a death by signal 9 has no SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unseen {
    /// So many were lost while the victim lived.
    Lost(u64),
    /// One was waiting for it: it had been sent, and was not seen.
    Waited,
    /// It may have been sent before the tracer started.
    StartedLater,
    /// None was sent.
    NotGenerated,
}

/// How a process ended, from the status that the kernel keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Signal(i32),
    Exited(i32),
    Unknown,
}

impl Status {
    pub(super) fn of(code: Option<i32>) -> Self {
        match code {
            Some(code) if code & 0x7f != 0 => Self::Signal(code & 0x7f),
            Some(code) => Self::Exited((code >> 8) & 0xff),
            None => Self::Unknown,
        }
    }
}

impl Case {
    /// When it was killed, and when it ended.
    pub(super) fn times_ns(&self) -> impl Iterator<Item = u64> {
        let killed = self.kills.iter().map(|kill| kill.event.boottime_ns);
        killed.chain(self.exit.as_ref().map(|exit| exit.boottime_ns))
    }

    /// The SIGKILL that killed: the first that was delivered. None, if the process chose its
    /// own status: the status decides what it died of.
    pub(super) fn killer(&self) -> Option<&Kill> {
        if let Some(exit) = &self.exit
            && Status::of(exit.victim.exit_code) == Status::Exited(137)
        {
            return None;
        }
        self.kills
            .iter()
            .find(|kill| kill.event.result == SignalResult::Delivered)
    }

    /// The victim's arguments as it had them.
    pub(super) fn argv(&self) -> Option<&[String]> {
        let image = self.image.as_ref().and_then(|image| image.argv.as_ref());
        let killed = self.kills.first().map(|kill| &kill.event.victim);
        let ended = self.exit.as_ref().map(|exit| &exit.victim);
        let argv = image.or_else(|| killed.or(ended)?.argv.as_ref())?;
        Some(&argv.args)
    }

    /// While programs hand over to others, for a moment both see the same signal. One task cannot
    /// send two that are delivered to a thread group so soon: the first ends it.
    pub(super) fn is_seen_twice(&self, kill: &Sigkill) -> bool {
        self.kills.iter().any(|before| {
            let before = &before.event;
            before.result == kill.result
                && kill.result == SignalResult::Delivered
                && before.sender.tid == kill.sender.tid
                && before.sender.group == kill.sender.group
                && before.boottime_ns.abs_diff(kill.boottime_ns) < SAME_NS
        })
    }

    /// Keeps a SIGKILL. Beyond [`MOST_KILLS`] one without effect gives way to the first that
    /// was delivered; all others are counted.
    pub(super) fn add(&mut self, kill: Kill) {
        if self.kills.len() < MOST_KILLS {
            self.kills.push(kill);
            return;
        }
        self.more_kills = self.more_kills.saturating_add(1);
        if kill.event.result == SignalResult::Delivered && self.killer().is_none() {
            self.kills.pop();
            self.kills.push(kill);
        }
    }

    /// The victim's parent, as it was when it was killed: at its end it may have another.
    pub(super) fn parent(&self) -> Option<Group> {
        let killed = self.kills.first().map(|kill| &kill.event.victim);
        let ended = self.exit.as_ref().map(|exit| &exit.victim);
        let victim = killed.or(ended)?;
        victim.ancestry.first().map(|parent| parent.group)
    }
}
