//! Entries as bytes: a kind (one byte), the payload's length (four, little endian), the payload.
//! The kernel's records are kept as they came, everything else is JSON. A recording is made of
//! these, and so is the journal.

use std::{
    borrow::Cow,
    io::{self, Read},
};

use bytes::Bytes;
use serde::Serialize;

use super::entry::Entry;

/// No frame is larger; a length above it means that the file is damaged.
pub(crate) const MAX_FRAME_BYTES: u32 = 1 << 20;

const SESSION: u8 = 1;
const ATTACHED: u8 = 2;
pub(crate) const KERNEL: u8 = 3;
const SYMBOLS: u8 = 4;
const LOST: u8 = 5;
pub(crate) const TICK: u8 = 6;
const PROCESS_STATE: u8 = 7;
const STOPPED: u8 = 8;
const OOM_LINE: u8 = 9;
const CONTAINER_FACTS: u8 = 10;
const CONTAINER_STATE: u8 = 11;
const CONTAINER_UNKNOWN: u8 = 12;
const CGROUP: u8 = 13;
const MEMORY_CURVE: u8 = 14;
const NODE_MEMORY: u8 = 15;
const UNWATCHED: u8 = 16;
const PAUSED: u8 = 17;
const ENDED_RUN: u8 = 18;

/// The head of a frame: its kind and its payload's length.
pub(crate) const HEAD_BYTES: usize = 5;

/// Kind and payload of an entry.
pub(crate) fn encode(entry: &Entry) -> io::Result<(u8, Cow<'_, [u8]>)> {
    fn json<T: Serialize>(kind: u8, value: &T) -> io::Result<(u8, Cow<'static, [u8]>)> {
        Ok((kind, serde_json::to_vec(value)?.into()))
    }
    match entry {
        Entry::Session(session) => json(SESSION, session),
        Entry::Attached(attached) => json(ATTACHED, attached),
        Entry::Kernel(bytes) => Ok((KERNEL, Cow::Borrowed(bytes))),
        Entry::Symbols(symbols) => json(SYMBOLS, symbols),
        Entry::Lost(lost) => json(LOST, lost),
        Entry::Tick(tick) => json(TICK, tick),
        Entry::ProcessState(state) => json(PROCESS_STATE, state),
        Entry::OomLine(line) => json(OOM_LINE, line),
        Entry::Cgroup(change) => json(CGROUP, change),
        Entry::ContainerFacts(facts) => json(CONTAINER_FACTS, facts),
        Entry::ContainerState(state) => json(CONTAINER_STATE, state),
        Entry::ContainerUnknown(unknown) => json(CONTAINER_UNKNOWN, unknown),
        Entry::EndedRun(run) => json(ENDED_RUN, run),
        Entry::MemoryCurve(curve) => json(MEMORY_CURVE, curve),
        Entry::NodeMemory(node) => json(NODE_MEMORY, node),
        Entry::Unwatched(unwatched) => json(UNWATCHED, unwatched),
        Entry::Paused(tick) => json(PAUSED, tick),
        Entry::Stopped(tick) => json(STOPPED, tick),
    }
}

/// The entry of a kind with this payload; `None`: there is no such kind.
pub(crate) fn decode(kind: u8, payload: Vec<u8>) -> serde_json::Result<Option<Entry>> {
    use serde_json::from_slice as json;
    Ok(Some(match kind {
        SESSION => Entry::Session(json(&payload)?),
        ATTACHED => Entry::Attached(json(&payload)?),
        KERNEL => Entry::Kernel(Bytes::from(payload)),
        SYMBOLS => Entry::Symbols(json(&payload)?),
        LOST => Entry::Lost(json(&payload)?),
        TICK => Entry::Tick(json(&payload)?),
        PROCESS_STATE => Entry::ProcessState(json(&payload)?),
        OOM_LINE => Entry::OomLine(json(&payload)?),
        CGROUP => Entry::Cgroup(json(&payload)?),
        CONTAINER_FACTS => Entry::ContainerFacts(json(&payload)?),
        CONTAINER_STATE => Entry::ContainerState(json(&payload)?),
        CONTAINER_UNKNOWN => Entry::ContainerUnknown(json(&payload)?),
        ENDED_RUN => Entry::EndedRun(json(&payload)?),
        MEMORY_CURVE => Entry::MemoryCurve(json(&payload)?),
        NODE_MEMORY => Entry::NodeMemory(json(&payload)?),
        UNWATCHED => Entry::Unwatched(json(&payload)?),
        PAUSED => Entry::Paused(json(&payload)?),
        STOPPED => Entry::Stopped(json(&payload)?),
        _ => return Ok(None),
    }))
}

/// The head of a frame with this payload.
pub(crate) fn head(kind: u8, payload_bytes: usize) -> io::Result<[u8; HEAD_BYTES]> {
    let len = u32::try_from(payload_bytes)
        .ok()
        .filter(|len| *len <= MAX_FRAME_BYTES)
        .ok_or_else(|| io::Error::other("an entry is too large for a frame"))?;
    let [a, b, c, d] = len.to_le_bytes();
    Ok([kind, a, b, c, d])
}

/// Reads one frame; an error of kind `InvalidData` for one that is too large to be one.
pub(crate) fn read(from: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; HEAD_BYTES];
    from.read_exact(&mut head)?;
    let [kind, len @ ..] = head;
    let len = u32::from_le_bytes(len);
    if len > MAX_FRAME_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("an entry of {len} bytes"),
        ));
    }
    let mut payload = vec![0; len as usize];
    from.read_exact(&mut payload)?;
    Ok((kind, payload))
}
