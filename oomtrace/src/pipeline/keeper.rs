//! The journal's part in the pipeline: entries go into it as they are taken, and out of it when
//! oomtrace is started again.

mod needed;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use self::needed::Needed;
use crate::{
    event::{
        Group,
        container::{Ask, What},
        decode::Decoder,
        entry::{Entry, Tick},
    },
    journal::{Journal, OomCounts},
    provenance::{
        Engine,
        record::{Death, Record, Restart},
    },
    store::{AskProgress, Progress},
};

/// So many symbols make an entry.
const SYMBOLS: usize = 2048;
/// It is cut when so much has come to it.
const CUT_BYTES: u64 = 1 << 20;

/// See the module. Without a journal it does nothing.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    journal: Option<Arc<Journal>>,
    /// How far records are stored.
    stored: Option<Stored>,
    /// Whose deaths were written and may not be stored yet, each with the number of the latest
    /// record by then.
    unstored: VecDeque<(u64, Group)>,
    /// The kernel's records in the journal that were taken.
    taken: u64,
    /// What is taken comes from the journal.
    pub(super) is_again: bool,
    /// Records that may have been written before.
    held: Option<Held>,
    /// Questions that the tracer before had asked, without their answers: by whom they are about,
    /// and whether by its end.
    asked: BTreeMap<(String, bool), Ask>,
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
    pub(super) deaths: BTreeMap<String, Death>,
    /// Each with whether it was told of what nobody had taken yet.
    pub(super) restarts: Vec<(Restart, bool)>,
    pub(super) others: Vec<Record>,
}

/// Whom to ask how far records are stored.
struct Stored(AskProgress);

impl std::fmt::Debug for Stored {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Stored")
    }
}

/// How often OOM kills have been counted is noted as often.
const COUNT_NS: u64 = 60_000_000_000;

impl Keeper {
    pub(super) fn new(journal: Arc<Journal>, stored: AskProgress) -> Self {
        Self {
            journal: Some(journal),
            stored: Some(Stored(stored)),
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
                held.deaths.insert(death.id.clone(), (**death).clone());
            }
            Record::Restart(restart) => held.restarts.push((restart.clone(), !self.is_again)),
            // That it has ended nobody has written who was killed: it is no news that it is gone.
            Record::Stopped(_) => {}
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
            let is_end = matches!(ask.what, What::End { .. });
            self.asked.insert((ask.id.clone(), is_end), ask);
        }
    }

    pub(super) fn take_asked(&mut self) -> impl Iterator<Item = Ask> + use<> {
        std::mem::take(&mut self.asked).into_values()
    }

    fn answered(&mut self, entry: &Entry) {
        let (id, of_end) = match entry {
            Entry::ContainerFacts(facts) => (&facts.id, false),
            Entry::ContainerState(state) => (&state.id, true),
            Entry::ContainerUnknown(unknown) => (&unknown.id, unknown.of_end),
            _ => return,
        };
        self.asked.remove(&(id.clone(), of_end));
    }

    /// A death was written.
    pub(super) fn wrote(&mut self, death: &Death) {
        if let (Some(Stored(stored)), Some(group)) = (&self.stored, Group::of_id(&death.id)) {
            self.unstored.push_back((stored().came, group));
        }
    }

    /// See [`super::Pipeline::tidy`].
    pub(super) fn tidy(
        &mut self,
        engine: &Engine,
        decoder: &mut Decoder,
        is_end: bool,
        counts: &mut dyn FnMut() -> Option<OomCounts>,
    ) {
        let (Some(journal), Some(Stored(stored))) = (&self.journal, &self.stored) else {
            return;
        };
        let progress: Progress = stored();
        let of_stored = |(came, _): &(u64, Group)| *came <= progress.stored;
        let count = self
            .unstored
            .iter()
            .take_while(|one| of_stored(one))
            .count();
        self.unstored.drain(..count);

        let now_ns = self.now.boottime_ns;
        let is_due = self
            .counted_ns
            .is_none_or(|counted| now_ns.saturating_sub(counted) >= COUNT_NS);
        let has_grown = journal.settled_bytes() >= self.cut_bytes.saturating_add(CUT_BYTES);
        let is_wanted = is_end || has_grown || is_due || journal.is_broken();
        if is_wanted && engine.is_settled() && progress.is_all() {
            let mut begin: Vec<Entry> = self.begin.iter().flatten().cloned().collect();
            let containers = engine.live_containers();
            begin.extend(containers.map(|facts| Entry::ContainerFacts(Box::new(facts.clone()))));
            let runs = engine.ended_runs();
            begin.extend(runs.map(|run| Entry::EndedRun(Box::new(run))));
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
        if !journal.is_large() {
            return;
        }
        let unstored = self.unstored.iter().map(|(_, group)| *group);
        let mut needed = Needed::new(engine, decoder, unstored, now_ns);
        if let Some(left) = journal.shrink(self.taken, |entry, came_ns| needed.is(entry, came_ns)) {
            self.taken = left;
        }
    }
}
