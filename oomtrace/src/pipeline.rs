//! One entry after the other through decoder, state machine and sinks. Live tracing and
//! replay are the same pipeline; they differ only in whether look-ups can be asked for.

mod keeper;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter},
    sync::Arc,
};

use oomtrace_common::maps::CgroupKey;
use thiserror::Error;

use self::keeper::Keeper;
use crate::{
    event::{
        Event, Group,
        container::{Ask, CgroupChange},
        decode::Decoder,
        entry::{Entry, OomLine, ProcessState, Symbol, Tick},
        memory::{MemoryAsk, MemoryCurve, NodeMemory},
        recording::Writer,
    },
    journal::{Journal, OomCounts},
    provenance::{
        Config, Engine, Output,
        record::{Death, Record, Restart},
        rules::Rules,
        scope::Scope,
    },
    sinks::Sink,
    store::{AskProgress, says_as_much},
};

/// Look-ups outside the stream. Their answers become entries of it.
pub trait Lookups {
    /// Names of kernel functions.
    fn symbols(&mut self, addresses: &[u64]) -> Vec<Symbol>;
    /// Lines of the kernel's log about OOM kills since the last call.
    fn oom_lines(&mut self) -> Vec<OomLine>;
    /// The state of a process that should be dead by now.
    fn process_state(&mut self, group: Group) -> ProcessState;
    /// Asks about a container. The answer comes later, as an entry.
    fn ask_container(&mut self, ask: Ask);
    /// Tells the programs whether a cgroup is in scope.
    fn scope(&mut self, cgroup: CgroupKey, held: bool);
    /// A cgroup came or went.
    fn cgroup(&mut self, change: &CgroupChange);
    /// How a cgroup's memory was used before its limit was hit. `None`: nobody watches.
    fn memory(&mut self, ask: &MemoryAsk) -> Option<MemoryCurve>;
    /// Who holds the node's memory now. `None`: nobody looks, or not in time.
    fn node_memory(&mut self) -> Option<NodeMemory>;
}

/// No look-ups: what a recording holds is all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLookups;

impl Lookups for NoLookups {
    fn symbols(&mut self, _: &[u64]) -> Vec<Symbol> {
        Vec::new()
    }

    fn oom_lines(&mut self) -> Vec<OomLine> {
        Vec::new()
    }

    fn process_state(&mut self, group: Group) -> ProcessState {
        ProcessState {
            tgid: group.tgid,
            start_ns: group.start_ns,
            boottime_ns: 0,
            state: None,
            wait_channel: None,
            is_hidden: false,
        }
    }

    fn ask_container(&mut self, _: Ask) {}

    fn scope(&mut self, _: CgroupKey, _: bool) {}

    fn cgroup(&mut self, _: &CgroupChange) {}

    fn memory(&mut self, _: &MemoryAsk) -> Option<MemoryCurve> {
        None
    }

    fn node_memory(&mut self) -> Option<NodeMemory> {
        None
    }
}

/// What stops the pipeline.
#[derive(Debug, Error)]
pub enum PipelineError {
    #[error("a record cannot be written")]
    Sink(#[source] io::Error),
    #[error("the recording is not complete: it could not be written to the end")]
    Recording(#[source] io::Error),
}

/// Whether look-ups are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Live,
    Recorded,
}

/// Of a death's id: which revision of it is stored, and whether that is the last. `None`: it is
/// not there.
pub type StoredRevision<'a> = dyn FnMut(&str) -> Option<(u32, bool)> + 'a;

/// See the module.
pub struct Pipeline<L: Lookups> {
    source: Source,
    lookups: L,
    decoder: Decoder,
    engine: Engine,
    recorder: Option<Writer<BufWriter<File>>>,
    /// Why the recording is not complete.
    recording_failed: Option<io::Error>,
    sinks: Vec<Box<dyn Sink>>,
    keeper: Keeper,
    /// Deaths that the tracer before had no time to write.
    untold: Vec<Death>,
    /// The same of what ran again.
    untold_restarts: Vec<Restart>,
}

impl<L: Lookups> Pipeline<L> {
    /// A pipeline before its first entry.
    pub fn new(
        source: Source,
        lookups: L,
        config: Config,
        rules: Rules,
        sinks: Vec<Box<dyn Sink>>,
    ) -> Self {
        Self {
            source,
            lookups,
            decoder: Decoder::default(),
            engine: Engine::new(config, rules),
            recorder: None,
            recording_failed: None,
            sinks,
            keeper: Keeper::default(),
            untold: Vec::new(),
            untold_restarts: Vec::new(),
        }
    }

    /// Also writes every entry to a file.
    pub fn record_to(&mut self, recorder: Writer<BufWriter<File>>) {
        self.recorder = Some(recorder);
    }

    /// From now on, senders are judged by these rules.
    pub fn set_rules(&mut self, rules: Rules) {
        self.engine.set_rules(rules);
    }

    /// Limits what is told.
    pub fn set_scope(&mut self, scope: Scope) {
        self.engine.set_scope(scope);
    }

    /// Victims that were killed and are not written yet.
    #[must_use]
    pub fn dying(&self) -> usize {
        self.engine.dying()
    }

    /// Victims that were still there seconds after their SIGKILL, and have not ended since.
    #[must_use]
    pub fn hanging(&self) -> usize {
        self.engine.hanging()
    }

    /// Takes the next entry.
    pub fn push(&mut self, entry: &Entry) -> Result<(), PipelineError> {
        if let (Source::Live, Entry::Kernel(record)) = (self.source, entry) {
            let needs = self.decoder.needs(record);
            if !needs.symbols.is_empty() {
                let symbols = self.lookups.symbols(&needs.symbols);
                self.take(&Entry::Symbols(symbols))?;
            }
            // What the log says of an OOM kill stands there before the SIGKILL.
            if needs.kernel_log {
                for line in self.lookups.oom_lines() {
                    self.take(&Entry::OomLine(line))?;
                }
            }
        }
        self.take(entry)
    }

    /// Writes down all that is taken, but for the kernel's records: who reads those has written them
    /// down already. `stored` tells how far what was written is stored.
    pub fn keep_in(&mut self, journal: Arc<Journal>, stored: AskProgress) {
        self.keeper = Keeper::new(journal, stored);
    }

    /// Takes what the tracer before has left: what it had taken, as it had; what nobody has, as if
    /// it came now. Returns how many of each cgroup the OOM killer had taken. `beat` is called for
    /// each.
    pub fn resume(
        &mut self,
        taken: &[Entry],
        rest: impl IntoIterator<Item = Entry>,
        stored: &mut StoredRevision<'_>,
        beat: &mut dyn FnMut(),
    ) -> Result<BTreeMap<String, u64>, PipelineError> {
        let source = std::mem::replace(&mut self.source, Source::Recorded);
        self.keeper.begin_again();
        for entry in taken {
            self.take(entry)?;
            beat();
        }
        self.source = source;
        self.keeper.is_again = false;
        for entry in rest {
            self.push(&entry)?;
            beat();
        }
        let seen = self.sort_held(stored)?;
        // What had been asked, and was not answered in time.
        for ask in self.keeper.take_asked() {
            self.lookups.ask_container(ask);
        }
        Ok(seen)
    }

    /// Takes what a tracer has left that cannot be gone on with, for the node was started anew:
    /// its deaths are written as far as they are known.
    pub fn resume_ended(
        &mut self,
        entries: impl IntoIterator<Item = Entry>,
        end: Tick,
        stored: &mut StoredRevision<'_>,
        beat: &mut dyn FnMut(),
    ) -> Result<(), PipelineError> {
        let source = std::mem::replace(&mut self.source, Source::Recorded);
        // A recording is of one boot.
        let recorder = self.recorder.take();
        self.keeper.begin_again();
        let taken = entries
            .into_iter()
            .chain([Entry::Stopped(end)])
            .try_for_each(|entry| {
                beat();
                self.take(&entry)
            });
        self.recorder = recorder;
        self.source = source;
        self.keeper.of_another_boot();
        self.decoder = Decoder::default();
        self.engine.begin_anew();
        self.sort_held(stored)?;
        taken
    }

    /// What is taken happens now: of what happened before this tracer was there, memory tells nothing
    /// any more.
    fn looks_at_memory(&self) -> bool {
        self.source == Source::Live && !self.keeper.holds_back()
    }

    /// Sorts the records that were held back by who may not have them. Returns how many of each
    /// cgroup the OOM killer had taken.
    fn sort_held(
        &mut self,
        stored: &mut StoredRevision<'_>,
    ) -> Result<BTreeMap<String, u64>, PipelineError> {
        let held = self.keeper.end_again();
        for record in &held.others {
            self.write_again(record)?;
        }
        let mut ooms = BTreeMap::new();
        for mut death in held.deaths.into_values() {
            if let (Some(_), Some(cgroup)) = (&death.oom, &death.victim.cgroup) {
                *ooms.entry(cgroup.clone()).or_default() += 1;
            }
            match stored(&death.id) {
                Some(stored) if says_as_much(stored, death.revision, death.is_final) => continue,
                Some(_) => {}
                // Its first revisions nobody has: whoever counts deaths counts first ones.
                None => death.revision = 1,
            }
            self.untold.push(death);
        }
        // In the order in which they died.
        self.untold.sort_by_key(|death| death.boottime_ns);
        for (restart, is_new) in held.restarts {
            if is_new || self.untold.iter().any(|death| death.id == restart.of) {
                self.untold_restarts.push(restart);
                continue;
            }
            self.write_again(&Record::Restart(restart))?;
        }
        self.engine.count_from(self.untold.len() as u64);
        Ok(ooms)
    }

    /// Writes the deaths that the tracer before had no time to write, and what ran again: once this one has said that
    /// it is there.
    pub fn tell_resumed(&mut self) -> Result<(), PipelineError> {
        let deaths = std::mem::take(&mut self.untold).into_iter();
        let restarts = std::mem::take(&mut self.untold_restarts).into_iter();
        let mut records = deaths
            .map(|death| Record::Death(Box::new(death)))
            .chain(restarts.map(Record::Restart));
        records.try_for_each(|record| self.emit(&record))
    }

    /// Cuts the journal if all is settled, or makes it smaller if it has grown large. `counts`:
    /// how often OOM kills have been counted so far.
    pub fn tidy(&mut self, is_end: bool, counts: &mut dyn FnMut() -> Option<OomCounts>) {
        self.keeper
            .tidy(&self.engine, &mut self.decoder, is_end, counts);
    }

    /// Ends the recording, if there is one.
    pub fn finish(&mut self) -> Result<(), PipelineError> {
        if let Some(recorder) = self.recorder.take()
            && let Err(error) = recorder.finish()
        {
            self.recording_failed = Some(error);
        }
        match self.recording_failed.take() {
            Some(error) => Err(PipelineError::Recording(error)),
            None => Ok(()),
        }
    }

    fn take(&mut self, entry: &Entry) -> Result<(), PipelineError> {
        self.write_down(entry);
        self.keeper.take(entry);
        let event = match self.decoder.decode(entry) {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(()),
            Err(error) => {
                // One of our own programs wrote it: a defect, and not a reason to stop.
                log::error!("an event cannot be read and is left out: {error}");
                return Ok(());
            }
        };
        let tick = match &event {
            Event::Tick(tick) => Some(*tick),
            _ => None,
        };
        let settles = match &event {
            Event::Tick(_) => Some(false),
            Event::Stopped(_) | Event::Paused(_) => Some(true),
            Event::Cgroup(change) => {
                self.lookups.cgroup(change);
                None
            }
            _ => None,
        };
        let mut out = Vec::new();
        self.engine.handle(event, &mut out);
        if let Some(tick) = tick {
            self.keeper.tick(&tick, out.is_empty());
        }
        for output in out {
            match output {
                Output::Record(record) => self.emit(&record)?,
                Output::AskState(group) if self.source == Source::Live => {
                    let state = self.lookups.process_state(group);
                    self.take(&Entry::ProcessState(state))?;
                }
                Output::AskContainer(ask) if self.source == Source::Live => {
                    self.lookups.ask_container(ask);
                }
                Output::AskContainer(ask) => self.keeper.asked(ask),
                Output::AskMemory(ask) if self.looks_at_memory() => {
                    if let Some(curve) = self.lookups.memory(&ask) {
                        self.take(&Entry::MemoryCurve(Box::new(curve)))?;
                    }
                }
                Output::AskNodeMemory if self.looks_at_memory() => {
                    if let Some(node) = self.lookups.node_memory() {
                        self.take(&Entry::NodeMemory(Box::new(node)))?;
                    }
                }
                Output::Scope { cgroup, held } => self.lookups.scope(cgroup, held),
                Output::AskState(_) | Output::AskMemory(_) | Output::AskNodeMemory => {}
            }
        }
        if let Some(is_end) = settles
            && !self.keeper.holds_back()
        {
            for sink in &mut self.sinks {
                sink.settle(is_end).map_err(PipelineError::Sink)?;
            }
        }
        Ok(())
    }

    /// A recording that cannot be written ends; tracing goes on.
    fn write_down(&mut self, entry: &Entry) {
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.write(entry)
        {
            log::error!("the recording ends here, tracing goes on: {error}");
            self.recorder = None;
            self.recording_failed = Some(error);
        }
    }

    /// Writes what has been told before, for whoever may not have it.
    fn write_again(&mut self, record: &Record) -> Result<(), PipelineError> {
        let mut sinks = self.sinks.iter_mut();
        sinks
            .try_for_each(|sink| sink.write_again(record))
            .map_err(PipelineError::Sink)
    }

    fn emit(&mut self, record: &Record) -> Result<(), PipelineError> {
        if self.keeper.hold_back(record) {
            return Ok(());
        }
        for sink in &mut self.sinks {
            sink.write(record).map_err(PipelineError::Sink)?;
        }
        if let Record::Death(death) = record {
            self.keeper.wrote(death);
        }
        Ok(())
    }
}
