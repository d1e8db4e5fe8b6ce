//! The kinds of records, and what a record's header tells by itself.

use oomtrace_common::wire::{RecordHeader, kind};

use super::record::take;

/// The kinds of records that are in the stream, and their names.
pub const KINDS: [(u16, &str); 7] = [
    (kind::SIGKILL, "sigkill"),
    (kind::MARK_VICTIM, "mark_victim"),
    (kind::EXIT, "exit"),
    (kind::OOM_KILL, "oom_kill"),
    (kind::IMAGE, "image"),
    (kind::CGROUP_MADE, "cgroup_made"),
    (kind::CGROUP_EMPTIED, "cgroup_emptied"),
];

/// The name of a kind.
#[must_use]
pub fn kind_name(kind: u16) -> &'static str {
    let known = KINDS.iter().find(|(known, _)| *known == kind);
    known.map_or("unknown", |(_, name)| name)
}

/// The kind of a record, as an index; `None` if it is too short to have one.
#[must_use]
pub fn kind(record: &[u8]) -> Option<usize> {
    let (header, _) = take::<RecordHeader>(record, "its header").ok()?;
    Some(usize::from(header.kind))
}

/// When a record was written, `CLOCK_BOOTTIME`; `None` if it is too short to tell.
#[must_use]
pub fn boottime_ns(record: &[u8]) -> Option<u64> {
    let (header, _) = take::<RecordHeader>(record, "its header").ok()?;
    Some(header.boottime_ns)
}
