//! Reading a journal: what was taken, in the order in which it was, and what was not.

use std::{
    collections::VecDeque,
    io::{self, BufReader, Read as _},
    path::PathBuf,
};

use bytes::Bytes;

use super::{BROKEN, Broken, COUNTS, IDLE, MAGIC, OomCounts, VERSION, WITH_PLACE};
use crate::event::{
    entry::{Entry, Session, Tick},
    frame,
};

/// What a journal holds.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Entries that were taken, in that order.
    pub taken: Vec<Entry>,
    /// The kernel's records behind them, of which it is not known whether they were.
    pub rest: Vec<Bytes>,
    /// The last record of the kernel's that was written down: it may be in the ring still.
    pub last: Option<Bytes>,
    /// When the last one who wrote was there for the last time.
    pub seen: Option<Tick>,
    pub counts: Option<OomCounts>,
    /// It could not be kept from then on.
    pub broken: Option<Broken>,
    /// So many frames could not be read: another version has written them.
    pub unreadable: u64,
    /// What another version has written, if its records cannot be read here.
    pub foreign: Option<Foreign>,
}

/// What another version has written: kinds and payloads of frames, as a recording has them.
#[derive(Debug)]
pub struct Foreign {
    pub version: u32,
    /// Where it is until it is saved elsewhere.
    pub path: PathBuf,
    /// When the one who wrote it was there for the last time, as far as that can be read.
    pub seen: Option<Tick>,
    pub frames: Vec<(u8, Vec<u8>)>,
}

impl Recovered {
    /// Whose it is.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        self.taken.iter().rev().find_map(|entry| match entry {
            Entry::Session(session) => Some(session),
            _ => None,
        })
    }

    /// What was taken, boot by boot; the last part is of [`Self::session`]'s.
    #[must_use]
    pub fn boots(&mut self) -> Vec<Vec<Entry>> {
        let mut boots: Vec<Vec<Entry>> = Vec::new();
        let mut boot_id = None;
        for entry in std::mem::take(&mut self.taken) {
            if let Entry::Session(session) = &entry
                && boot_id.as_ref() != Some(&session.boot_id)
            {
                boot_id = Some(session.boot_id.clone());
                boots.push(Vec::new());
            }
            match boots.last_mut() {
                Some(boot) => boot.push(entry),
                None => boots.push(vec![entry]),
            }
        }
        boots
    }

    /// How many of the kernel's records there are.
    pub(super) fn records(&self) -> u64 {
        let is_record = |entry: &&Entry| matches!(entry, Entry::Kernel(_));
        (self.taken.iter().filter(is_record).count() + self.rest.len()) as u64
    }
}

/// Reads a journal as far as it is whole; says how far that is. 0: it is to be begun anew.
pub(super) fn read(from: impl io::Read) -> io::Result<(Recovered, u64)> {
    let mut from = BufReader::new(from);
    let mut recovered = Recovered::default();
    let mut head = [0; MAGIC.len() + 4];
    match from.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok((recovered, 0)),
        Err(error) => return Err(error),
    }
    let (magic, version) = head.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(io::Error::other(
            "it is there and is no journal of oomtrace's",
        ));
    }
    let version = <[u8; 4]>::try_from(version).map_or(0, u32::from_le_bytes);
    let mut frames = Frames::default();
    let whole = head.len() as u64 + frames.read(&mut from)?;
    if version != VERSION {
        let frames = frames.in_order().map(|(_, kind, payload)| (kind, payload));
        let frames: Vec<(u8, Vec<u8>)> = frames
            .filter(|(kind, _)| ![COUNTS, BROKEN].contains(kind))
            .collect();
        let mut ticks = frames.iter().rev().filter(|(kind, _)| *kind == frame::TICK);
        let seen = ticks.find_map(|(_, payload)| serde_json::from_slice(payload).ok());
        recovered.foreign = Some(Foreign {
            version,
            path: PathBuf::new(),
            seen,
            frames,
        });
        return Ok((recovered, 0));
    }
    for (is_rest, kind, payload) in frames.in_order() {
        recovered.take(is_rest, kind, payload);
    }
    Ok((recovered, whole))
}

impl Recovered {
    fn take(&mut self, is_rest: bool, kind: u8, payload: Vec<u8>) {
        if kind == COUNTS {
            self.counts = serde_json::from_slice(&payload).ok();
            return;
        }
        if kind == BROKEN {
            self.broken = serde_json::from_slice(&payload).ok();
            return;
        }
        let Ok(Some(entry)) = frame::decode(kind, payload) else {
            self.unreadable += 1;
            return;
        };
        match &entry {
            Entry::Kernel(record) => {
                self.last = Some(record.clone());
                if is_rest {
                    self.rest.push(record.clone());
                    return;
                }
            }
            Entry::Tick(tick) | Entry::Paused(tick) | Entry::Stopped(tick) => {
                self.seen = Some(*tick);
            }
            Entry::Attached(attached) => {
                self.seen = Some(Tick {
                    boottime_ns: attached.boottime_ns,
                    realtime_ns: attached.realtime_ns,
                });
            }
            _ => {}
        }
        self.taken.push(entry);
    }
}

/// The frames of a journal, of both who write it.
#[derive(Debug, Default)]
struct Frames {
    records: VecDeque<Vec<u8>>,
    /// With the number of records before each.
    others: Vec<(u64, u8, Vec<u8>)>,
}

impl Frames {
    /// Reads to the end, or to where it is not whole; says how many bytes that were.
    fn read(&mut self, from: &mut impl io::Read) -> io::Result<u64> {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        let mut bytes = 0;
        loop {
            let (kind, payload) = match frame::read(from) {
                Ok(frame) => frame,
                Err(error) if matches!(error.kind(), UnexpectedEof | InvalidData) => break,
                Err(error) => return Err(error),
            };
            let frame_bytes = (frame::HEAD_BYTES + payload.len()) as u64;
            if kind == frame::KERNEL {
                bytes += frame_bytes;
                self.records.push_back(payload);
                continue;
            }
            let (place, kind, payload) = match payload.split_first_chunk() {
                _ if kind & WITH_PLACE == 0 => (0, kind, payload),
                Some((place, rest)) if kind == IDLE => {
                    (u64::from_le_bytes(*place), frame::TICK, rest.to_vec())
                }
                Some((place, rest)) => {
                    let kind = kind & !WITH_PLACE;
                    (u64::from_le_bytes(*place), kind, rest.to_vec())
                }
                // Nothing that a tracer writes.
                None => break,
            };
            bytes += frame_bytes;
            self.others.push((place, kind, payload));
        }
        Ok(bytes)
    }

    /// In the order in which they were taken; true for those behind the last of which that is
    /// known.
    fn in_order(mut self) -> impl Iterator<Item = (bool, u8, Vec<u8>)> {
        let mut taken = 0;
        let mut ordered = Vec::with_capacity(self.records.len() + self.others.len());
        for (place, kind, payload) in self.others {
            while taken < place
                && let Some(record) = self.records.pop_front()
            {
                ordered.push((false, frame::KERNEL, record));
                taken += 1;
            }
            ordered.push((false, kind, payload));
        }
        let rest = self.records.into_iter();
        ordered
            .into_iter()
            .chain(rest.map(|record| (true, frame::KERNEL, record)))
    }
}
