//! From the bytes of a record to an [`Event`]: first the length is checked, then the
//! kind, then the rest is built. No input makes it panic.
//!
//! | module | what it owns |
//! |---|---|
//! | `record` | the bytes of one record: header, body, sections |
//! | `kinds` | the names of kinds, and what a header tells by itself |
//! | `events` | from a record to the event of its kind |
//! | `process` | a process of a record, and its memory cgroups |
//! | `symbols` | the kernel's names, and call paths made of them |
//! | `own_place` | where the process that asked runs |

mod events;
mod kinds;
mod own_place;
mod process;
mod record;
mod symbols;

use oomtrace_common::wire::{RecordHeader, SigkillBody, info_kind, kind, tag, who};

pub(super) use self::record::take;
pub use self::{
    kinds::{KINDS, boottime_ns, kind, kind_name},
    own_place::{ChildCgroup, OwnPlace, own_place},
    record::DecodeError,
};
use self::{record::split, symbols::Symbols};
use super::{Event, entry::Entry};

/// Look-ups that a record needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Addresses on its call path that have no name yet.
    pub symbols: Vec<u64>,
    /// It is a SIGKILL of the kernel's own, and may be the OOM killer's.
    pub kernel_log: bool,
}

/// Turns entries into events. It keeps the symbols that came with the stream.
#[derive(Debug, Default)]
pub struct Decoder {
    page_bytes: u64,
    symbols: Symbols,
}

impl Decoder {
    /// The event of an entry; `None` for one that only adds to what is known.
    pub fn decode(&mut self, entry: &Entry) -> Result<Option<Event>, DecodeError> {
        Ok(Some(match entry {
            Entry::Session(session) => {
                self.page_bytes = session.page_bytes;
                Event::Session(session.clone())
            }
            Entry::Attached(attached) => Event::Attached(attached.clone()),
            Entry::Kernel(bytes) => self.record(bytes)?,
            Entry::Symbols(symbols) => {
                self.symbols.learn(symbols);
                return Ok(None);
            }
            Entry::Lost(lost) => Event::Lost(lost.clone()),
            Entry::Tick(tick) => Event::Tick(*tick),
            Entry::ProcessState(state) => Event::ProcessState(state.clone()),
            Entry::OomLine(line) => Event::OomLine(line.clone()),
            Entry::Cgroup(change) => Event::Cgroup(change.clone()),
            Entry::ContainerFacts(facts) => Event::ContainerFacts(facts.clone()),
            Entry::ContainerState(state) => Event::ContainerState(state.clone()),
            Entry::ContainerUnknown(unknown) => Event::ContainerUnknown(unknown.clone()),
            Entry::EndedRun(run) => Event::EndedRun(run.clone()),
            Entry::MemoryCurve(curve) => Event::MemoryCurve(curve.clone()),
            Entry::Unwatched(unwatched) => Event::Unwatched(unwatched.clone()),
            Entry::Paused(tick) => Event::Paused(*tick),
            Entry::NodeMemory(node) => Event::NodeMemory(node.clone()),
            Entry::Stopped(tick) => Event::Stopped(*tick),
        }))
    }

    /// The symbols that are known, for a stream that begins anew: so many at a time.
    pub(crate) fn known(&self, at_a_time: usize) -> Vec<Entry> {
        self.symbols.known(at_a_time)
    }

    /// What a record needs to have been looked up before it is decoded.
    #[must_use]
    pub fn needs(&mut self, record: &[u8]) -> Needs {
        self.symbols.bound();
        let Ok((header, sections)) = split(record) else {
            return Needs::default();
        };
        let body = record.get(size_of::<RecordHeader>()..).unwrap_or_default();
        let from_kernel = header.kind == kind::SIGKILL
            && take::<SigkillBody>(body, "a SIGKILL")
                .is_ok_and(|(body, _)| body.info_kind == info_kind::PRIV);
        let stack = sections.get(tag::STACK, who::EVENT).unwrap_or_default();
        Needs {
            symbols: self.symbols.unknown(stack),
            kernel_log: from_kernel,
        }
    }
}
