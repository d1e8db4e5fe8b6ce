//! A stream of entries as a file.
//!
//! The file starts with [`MAGIC`] and the version; then come frames: a kind (one byte),
//! the payload's length (four, little endian), the payload. The kernel's records are kept
//! as they came, everything else is JSON. The last frame says how many there were: a file
//! without it is cut short.

use std::io::{self, Read, Write};

use bytes::Bytes;
use oomtrace_common::wire;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::entry::Entry;

const MAGIC: &[u8; 8] = b"OOMTRACE";
/// Of the file and of what is in it: it goes up with the layout of the kernel's records.
const VERSION: u32 = wire::VERSION as u32;
/// No frame is larger; a length above it means that the file is damaged.
const MAX_FRAME_BYTES: u32 = 1 << 20;

const SESSION: u8 = 1;
const ATTACHED: u8 = 2;
const KERNEL: u8 = 3;
const SYMBOLS: u8 = 4;
const LOST: u8 = 5;
const TICK: u8 = 6;
const PROCESS_STATE: u8 = 7;
const STOPPED: u8 = 8;
const OOM_LINE: u8 = 9;
const CONTAINER_FACTS: u8 = 10;
const CONTAINER_STATE: u8 = 11;
const CONTAINER_UNKNOWN: u8 = 12;
const CGROUP: u8 = 13;
const MEMORY_CURVE: u8 = 14;
const END: u8 = 255;

/// Why a recording cannot be read.
#[derive(Debug, Error)]
pub enum RecordingError {
    #[error("this is no oomtrace recording (it does not start with the right bytes)")]
    Magic,
    #[error("the recording has version {got}; this oomtrace reads version {VERSION}")]
    Version { got: u32 },
    #[error(
        "the recording is cut short after {frames} entries; the tracer that wrote it did not end cleanly, or the file was not copied whole"
    )]
    Truncated { frames: u64 },
    #[error("the recording is damaged at entry {frame}: {why}")]
    Damaged { frame: u64, why: String },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes a recording. Without [`Writer::finish`] it counts as cut short.
#[derive(Debug)]
pub struct Writer<W: Write> {
    to: W,
    frames: u64,
}

impl<W: Write> Writer<W> {
    /// Starts a recording.
    pub fn new(mut to: W) -> io::Result<Self> {
        to.write_all(MAGIC)?;
        to.write_all(&VERSION.to_le_bytes())?;
        Ok(Self { to, frames: 0 })
    }

    /// Appends an entry.
    pub fn write(&mut self, entry: &Entry) -> io::Result<()> {
        self.frames += 1;
        match entry {
            Entry::Session(session) => self.json(SESSION, session),
            Entry::Attached(attached) => self.json(ATTACHED, attached),
            Entry::Kernel(bytes) => self.frame(KERNEL, bytes),
            Entry::Symbols(symbols) => self.json(SYMBOLS, symbols),
            Entry::Lost(lost) => self.json(LOST, lost),
            Entry::Tick(tick) => {
                self.json(TICK, tick)?;
                // Half a second may be missing when the node goes down, and no more.
                self.to.flush()
            }
            Entry::ProcessState(state) => self.json(PROCESS_STATE, state),
            Entry::OomLine(line) => self.json(OOM_LINE, line),
            Entry::Cgroup(change) => self.json(CGROUP, change),
            Entry::ContainerFacts(facts) => self.json(CONTAINER_FACTS, facts),
            Entry::ContainerState(state) => self.json(CONTAINER_STATE, state),
            Entry::ContainerUnknown(unknown) => self.json(CONTAINER_UNKNOWN, unknown),
            Entry::MemoryCurve(curve) => self.json(MEMORY_CURVE, curve),
            Entry::Stopped(tick) => self.json(STOPPED, tick),
        }
    }

    /// Writes the end, and hands the sink back.
    pub fn finish(mut self) -> io::Result<W> {
        self.frame(END, &self.frames.to_le_bytes())?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn json<T: Serialize>(&mut self, kind: u8, value: &T) -> io::Result<()> {
        self.frame(kind, &serde_json::to_vec(value)?)
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let len = u32::try_from(payload.len())
            .ok()
            .filter(|len| *len <= MAX_FRAME_BYTES)
            .ok_or_else(|| io::Error::other("an entry is too large for a recording"))?;
        self.to.write_all(&[kind])?;
        self.to.write_all(&len.to_le_bytes())?;
        self.to.write_all(payload)
    }
}

/// Reads a recording, one entry after the other.
#[derive(Debug)]
pub struct Reader<R: Read> {
    from: R,
    frames: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Opens a recording: checks that it is one, and of a version that can be read.
    pub fn new(mut from: R) -> Result<Self, RecordingError> {
        let mut magic = [0; 8];
        let mut version = [0; 4];
        from.read_exact(&mut magic)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => RecordingError::Magic,
                _ => RecordingError::Io(error),
            })?;
        if magic != *MAGIC {
            return Err(RecordingError::Magic);
        }
        from.read_exact(&mut version)
            .map_err(|_| RecordingError::Truncated { frames: 0 })?;
        let got = u32::from_le_bytes(version);
        if got != VERSION {
            return Err(RecordingError::Version { got });
        }
        Ok(Self {
            from,
            frames: 0,
            ended: false,
        })
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, RecordingError> {
        let (kind, payload) = self.frame()?;
        if kind == END {
            let said = <[u8; 8]>::try_from(payload.as_slice()).map(u64::from_le_bytes);
            return match said {
                Ok(said) if said == self.frames => Ok(None),
                _ => Err(self.damaged("its end does not fit what came before")),
            };
        }
        let entry = match kind {
            SESSION => Entry::Session(self.json(&payload)?),
            ATTACHED => Entry::Attached(self.json(&payload)?),
            KERNEL => Entry::Kernel(Bytes::from(payload)),
            SYMBOLS => Entry::Symbols(self.json(&payload)?),
            LOST => Entry::Lost(self.json(&payload)?),
            TICK => Entry::Tick(self.json(&payload)?),
            PROCESS_STATE => Entry::ProcessState(self.json(&payload)?),
            OOM_LINE => Entry::OomLine(self.json(&payload)?),
            CGROUP => Entry::Cgroup(self.json(&payload)?),
            CONTAINER_FACTS => Entry::ContainerFacts(self.json(&payload)?),
            CONTAINER_STATE => Entry::ContainerState(self.json(&payload)?),
            CONTAINER_UNKNOWN => Entry::ContainerUnknown(self.json(&payload)?),
            MEMORY_CURVE => Entry::MemoryCurve(self.json(&payload)?),
            STOPPED => Entry::Stopped(self.json(&payload)?),
            unknown => return Err(self.damaged(&format!("unknown kind {unknown}"))),
        };
        self.frames += 1;
        Ok(Some(entry))
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), RecordingError> {
        let mut head = [0; 5];
        self.fill(&mut head)?;
        let [kind, len @ ..] = head;
        let len = u32::from_le_bytes(len);
        if len > MAX_FRAME_BYTES {
            return Err(self.damaged(&format!("an entry of {len} bytes")));
        }
        let mut payload = vec![0; len as usize];
        self.fill(&mut payload)?;
        Ok((kind, payload))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), RecordingError> {
        self.from
            .read_exact(buffer)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => RecordingError::Truncated {
                    frames: self.frames,
                },
                _ => RecordingError::Io(error),
            })
    }

    fn json<T: DeserializeOwned>(&self, payload: &[u8]) -> Result<T, RecordingError> {
        serde_json::from_slice(payload).map_err(|error| self.damaged(&error.to_string()))
    }

    fn damaged(&self, why: &str) -> RecordingError {
        RecordingError::Damaged {
            frame: self.frames,
            why: why.to_owned(),
        }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Entry, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_entry();
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::entry::Tick, *};

    fn written() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        let tick = Tick {
            boottime_ns: 1,
            realtime_ns: 2,
        };
        writer
            .write(&Entry::Kernel(Bytes::from_static(b"raw")))
            .unwrap();
        writer.write(&Entry::Tick(tick)).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let entries: Vec<Entry> = Reader::new(&*written())
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0], Entry::Kernel(Bytes::from_static(b"raw")));
    }

    #[test]
    fn every_cut_is_noticed() {
        let whole = written();
        for len in 0..whole.len() {
            let read =
                Reader::new(&whole[..len]).and_then(Iterator::collect::<Result<Vec<Entry>, _>>);
            assert!(read.is_err(), "a cut at {len} went unnoticed");
        }
    }

    #[test]
    fn another_version_is_refused() {
        let mut other = written();
        other[8] = 9;
        assert!(matches!(
            Reader::new(&*other),
            Err(RecordingError::Version { got: 9 })
        ));
        assert!(matches!(
            Reader::new(&b"not one"[..]),
            Err(RecordingError::Magic)
        ));
    }
}
