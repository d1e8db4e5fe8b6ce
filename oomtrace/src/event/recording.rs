//! A stream of entries as a file.
//!
//! The file starts with [`MAGIC`] and the version; then come frames (see [`frame`]). The last one
//! says how many there were: a file without it is cut short.

use std::io::{self, Read, Write};

use oomtrace_common::wire;
use thiserror::Error;

use super::{entry::Entry, frame};

const MAGIC: &[u8; 8] = b"OOMTRACE";
/// Of the file and of what is in it: it goes up with the layout of the kernel's records.
const VERSION: u32 = wire::VERSION as u32;
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
    pub fn new(to: W) -> io::Result<Self> {
        Self::of_version(to, VERSION)
    }

    /// Starts one of records that another version can read.
    pub fn of_version(mut to: W, version: u32) -> io::Result<Self> {
        to.write_all(MAGIC)?;
        to.write_all(&version.to_le_bytes())?;
        Ok(Self { to, frames: 0 })
    }

    /// Appends an entry.
    pub fn write(&mut self, entry: &Entry) -> io::Result<()> {
        self.frames += 1;
        let (kind, payload) = frame::encode(entry)?;
        self.frame(kind, &payload)?;
        match entry {
            // Half a second may be missing when the node goes down, and no more.
            Entry::Tick(_) => self.to.flush(),
            _ => Ok(()),
        }
    }

    /// Appends what another version has written, as it is: [`Writer::of_version`].
    pub(crate) fn write_raw(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        self.frames += 1;
        self.frame(kind, payload)
    }

    /// Writes the end, and hands the sink back.
    pub fn finish(mut self) -> io::Result<W> {
        self.frame(END, &self.frames.to_le_bytes())?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        self.to.write_all(&frame::head(kind, payload.len())?)?;
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
        let entry = frame::decode(kind, payload)
            .map_err(|error| self.damaged(&error.to_string()))?
            .ok_or_else(|| self.damaged(&format!("unknown kind {kind}")))?;
        self.frames += 1;
        Ok(Some(entry))
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), RecordingError> {
        frame::read(&mut self.from).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => RecordingError::Truncated {
                frames: self.frames,
            },
            io::ErrorKind::InvalidData => self.damaged(&error.to_string()),
            _ => RecordingError::Io(error),
        })
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
    use bytes::Bytes;

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
