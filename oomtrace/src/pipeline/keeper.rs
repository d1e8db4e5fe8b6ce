//! The journal's part in the pipeline: entries go into it as they are taken, and out of it when
//! oomtrace is started again.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    event::{
        Event, Group,
        container::{Ask, What},
        decode::Decoder,
        entry::{Entry, Tick},
    },
    journal::{Journal, OomCounts},
    provenance::{Engine, record::Record},
};

/// So many symbols make an entry.
const SYMBOLS: usize = 2048;
/// It is cut when so much has come to it.
const CUT_BYTES: u64 = 1 << 20;

/// See the module. Without a journal it does nothing.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    journal: Option<Arc<Journal>>,
    /// All records are stored.
    is_stored: Option<Stored>,
    /// The kernel's records in the journal that were taken.
    taken: u64,
    /// What is taken comes from the journal.
    pub(super) is_again: bool,
    /// Records that may have been written before.
    held: Option<Held>,
    /// Questions that the tracer before had asked, without their answers.
    asked: Vec<Ask>,
    /// What a journal begins with.
    begin: [Option<Entry>; 2],
    /// Its size when it was cut last.
    cut_bytes: u64,
    /// When OOM kills were counted last.
    counted_ns: Option<u64>,
    now: Tick,
}

/// Records that are held back.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Of each death the last word, by its id.
    pub(super) deaths: BTreeMap<String, Record>,
    pub(super) others: Vec<Record>,
}

/// Tells whether all records are stored.
struct Stored(Arc<dyn Fn() -> bool + Send + Sync>);

impl std::fmt::Debug for Stored {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Stored")
    }
}

/// How often OOM kills have been counted is noted as often.
const COUNT_NS: u64 = 60_000_000_000;

impl Keeper {
    pub(super) fn new(
        journal: Arc<Journal>,
        is_stored: Arc<dyn Fn() -> bool + Send + Sync>,
    ) -> Self {
        Self {
            journal: Some(journal),
            is_stored: Some(Stored(is_stored)),
            ..Self::default()
        }
    }

    /// What comes now is another boot's, though the journal still holds what was before.
    pub(super) fn of_another_boot(&mut self) {
        self.begin = [None, None];
        self.asked.clear();
    }

    pub(super) fn begin_again(&mut self) {
        self.is_again = true;
        self.held = Some(Held::default());
    }

    pub(super) fn end_again(&mut self) -> Held {
        self.is_again = false;
        self.held.take().unwrap_or_default()
    }

    pub(super) fn holds_back(&self) -> bool {
        self.held.is_some()
    }

    /// Keeps a record back, while it is not known who has it.
    pub(super) fn hold_back(&mut self, record: &Record) -> bool {
        let Some(held) = &mut self.held else {
            return false;
        };
        match record {
            Record::Death(death) => {
                held.deaths.insert(death.id.clone(), record.clone());
            }
            _ => held.others.push(record.clone()),
        }
        true
    }

    /// An entry is taken.
    pub(super) fn take(&mut self, entry: &Entry) {
        if self.journal.is_none() {
            return;
        }
        match entry {
            // Written down by whoever has read it.
            Entry::Kernel(_) => self.taken += 1,
            Entry::Tick(_) => {}
            _ if self.is_again => self.answered(entry),
            _ => {
                if let Some(journal) = &self.journal {
                    journal.entry(self.taken, entry);
                }
            }
        }
        match entry {
            Entry::Session(_) => self.begin[0] = Some(entry.clone()),
            Entry::Attached(_) => self.begin[1] = Some(entry.clone()),
            Entry::Tick(tick) | Entry::Paused(tick) | Entry::Stopped(tick) => self.now = *tick,
            _ => {}
        }
    }

    /// Time has passed.
    pub(super) fn tick(&self, tick: &Tick, is_idle: bool) {
        match &self.journal {
            Some(_) if self.is_again => {}
            Some(journal) if is_idle => journal.idle(self.taken, tick),
            Some(journal) => journal.entry(self.taken, &Entry::Tick(*tick)),
            None => {}
        }
    }

    pub(super) fn asked(&mut self, ask: Ask) {
        if self.is_again {
            self.asked.push(ask);
        }
    }

    pub(super) fn take_asked(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asked)
    }

    fn answered(&mut self, entry: &Entry) {
        let (id, of_end) = match entry {
            Entry::ContainerFacts(facts) => (&facts.id, false),
            Entry::ContainerState(state) => (&state.id, true),
            Entry::ContainerUnknown(unknown) => (&unknown.id, unknown.of_end),
            _ => return,
        };
        let is_end = |ask: &Ask| matches!(ask.what, What::End { .. });
        self.asked
            .retain(|ask| ask.id != *id || is_end(ask) != of_end);
    }

    /// See [`super::Pipeline::tidy`].
    pub(super) fn tidy(
        &mut self,
        engine: &Engine,
        decoder: &mut Decoder,
        is_end: bool,
        counts: &mut dyn FnMut() -> Option<OomCounts>,
    ) {
        let (Some(journal), Some(Stored(is_stored))) = (&self.journal, &self.is_stored) else {
            return;
        };
        let now_ns = self.now.boottime_ns;
        let settled_bytes = journal.settled_bytes();
        let is_due = self
            .counted_ns
            .is_none_or(|counted| now_ns.saturating_sub(counted) >= COUNT_NS);
        let has_grown = settled_bytes >= self.cut_bytes.saturating_add(CUT_BYTES);
        let is_wanted = is_end || has_grown || is_due;
        if is_wanted && engine.is_settled() && is_stored() {
            let mut begin: Vec<Entry> = self.begin.iter().flatten().cloned().collect();
            let containers = engine.live_containers();
            begin.extend(containers.map(|facts| Entry::ContainerFacts(Box::new(facts.clone()))));
            begin.extend(decoder.known(SYMBOLS));
            begin.push(Entry::Tick(self.now));
            let counts = counts();
            if journal.cut(self.taken, &begin, counts.as_ref()) {
                self.taken = 0;
                self.cut_bytes = journal.settled_bytes();
                self.counted_ns = Some(now_ns);
            }
            return;
        }
        // What is not stored yet is needed as much as what is open.
        if !is_stored() {
            return;
        }
        let needed =
            |entry: &Entry| match entry {
                Entry::Kernel(_) => decoder.decode(entry).ok().flatten().is_none_or(|event| {
                    group(&event).is_none_or(|group| engine.is_unsettled(&group))
                }),
                _ => true,
            };
        if let Some(left) = journal.shrink(self.taken, needed) {
            self.taken = left;
        }
    }
}

/// Whom a record of the kernel's is about, where that is one thread group.
fn group(event: &Event) -> Option<Group> {
    match event {
        Event::Sigkill(kill) => Some(kill.victim.group),
        Event::Exit(exit) => Some(exit.victim.group),
        Event::Image(image) => Some(image.victim),
        _ => None,
    }
}
