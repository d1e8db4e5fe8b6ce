//! The bytes of one record: its header, its body and its sections, and what can be wrong
//! with them. What they mean is told elsewhere.

use bytemuck::{AnyBitPattern, pod_read_unaligned};
use oomtrace_common::wire::{
    self, ALIGN, CgroupBody, MarkVictimBody, OomKillBody, RecordHeader, SectionHeader, SigkillBody,
    kind,
};
use thiserror::Error;

/// A record that is not what the programs write.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error("a record of {got} bytes is too short for {what}")]
    Short { what: &'static str, got: usize },
    #[error("a record of {got} bytes says that it has {said}")]
    Length { said: u32, got: usize },
    #[error(
        "a record has layout version {got}; this oomtrace reads {}",
        wire::VERSION
    )]
    Version { got: u16 },
    #[error("a record has the unknown kind {0}")]
    Kind(u16),
    #[error("a section of {len} bytes does not fit into its record")]
    Section { len: u32 },
    #[error("a record lacks its section about the {0}")]
    Missing(&'static str),
}

/// Reads a `T` at the start of `bytes`, and what follows it.
pub(in crate::event) fn take<'a, T: AnyBitPattern>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<(T, &'a [u8]), DecodeError> {
    let short = DecodeError::Short {
        what,
        got: bytes.len(),
    };
    let (head, rest) = bytes.split_at_checked(size_of::<T>()).ok_or(short)?;
    Ok((pod_read_unaligned(head), rest))
}

/// Each whole `T` in `bytes`.
pub(super) fn all<T: AnyBitPattern>(bytes: &[u8]) -> impl Iterator<Item = T> {
    bytes.chunks_exact(size_of::<T>()).map(pod_read_unaligned)
}

/// The sections of one record, by tag and owner.
#[derive(Default)]
pub(super) struct Sections<'a>(Vec<(SectionHeader, &'a [u8])>);

impl<'a> Sections<'a> {
    fn read(mut bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut sections = Self::default();
        while !bytes.is_empty() {
            let (header, rest) = take::<SectionHeader>(bytes, "a section")?;
            let bad = DecodeError::Section { len: header.len };
            let len = header.len as usize;
            let (payload, _) = rest.split_at_checked(len).ok_or(bad)?;
            sections.0.push((header, payload));
            // The last one's padding may be cut off.
            bytes = rest.get(len.next_multiple_of(ALIGN)..).unwrap_or_default();
        }
        Ok(sections)
    }

    pub(super) fn get(&self, tag: u16, who: u16) -> Option<&'a [u8]> {
        self.0
            .iter()
            .find(|(header, _)| header.tag == tag && header.who == who)
            .map(|(_, payload)| *payload)
    }
}

/// Checks a record's frame; its header and its sections.
pub(super) fn split(bytes: &[u8]) -> Result<(RecordHeader, Sections<'_>), DecodeError> {
    let (header, rest) = take::<RecordHeader>(bytes, "a record")?;
    if header.version != wire::VERSION {
        return Err(DecodeError::Version {
            got: header.version,
        });
    }
    if header.len as usize != bytes.len() {
        return Err(DecodeError::Length {
            said: header.len,
            got: bytes.len(),
        });
    }
    let body = match header.kind {
        kind::SIGKILL => size_of::<SigkillBody>(),
        kind::MARK_VICTIM => size_of::<MarkVictimBody>(),
        kind::EXIT => size_of::<wire::ExitBody>(),
        kind::OOM_KILL => size_of::<OomKillBody>(),
        kind::CGROUP_MADE | kind::CGROUP_EMPTIED => size_of::<CgroupBody>(),
        kind::IMAGE | kind::OWN_PLACE => 0,
        unknown => return Err(DecodeError::Kind(unknown)),
    };
    let sections = rest.get(body..).ok_or(DecodeError::Short {
        what: "its body",
        got: bytes.len(),
    })?;
    Ok((header, Sections::read(sections)?))
}
