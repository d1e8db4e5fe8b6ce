//! Records that found no room in the ring buffer, as the programs counted them.

use aya::maps::{Array, MapData, MapError, PerCpuArray};
use oomtrace_common::{maps::Losses, wire::kind};

use crate::event::entry::Lost;

/// The wire type, for aya.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Counted(Losses);

// SAFETY: `Losses` is plain data: four u64s, no padding, every bit pattern valid.
unsafe impl aya::Pod for Counted {}

/// Reads the counters and notices what has been added.
pub(super) struct LossReader {
    counters: PerCpuArray<MapData, Counted>,
    round: Array<MapData, u64>,
    rounds: u64,
    /// Counts at the last look, by kind and CPU.
    seen: Vec<Vec<u64>>,
}

impl LossReader {
    pub(super) fn new(counters: aya::maps::Map, round: aya::maps::Map) -> Result<Self, MapError> {
        let mut reader = Self {
            counters: PerCpuArray::try_from(counters)?,
            round: Array::try_from(round)?,
            rounds: 0,
            seen: vec![Vec::new(); kind::COUNT],
        };
        reader.next_round()?;
        Ok(reader)
    }

    /// From now on a first loss starts a new stretch.
    fn next_round(&mut self) -> Result<(), MapError> {
        self.rounds += 1;
        self.round.set(0, &self.rounds, 0)
    }

    /// What was lost since the last call.
    pub(super) fn read(&mut self) -> Result<Vec<Lost>, MapError> {
        let mut lost = Vec::new();
        for (kind, seen) in self.seen.iter_mut().enumerate().skip(1) {
            let values = self.counters.get(&(kind as u32), 0)?;
            seen.resize(values.len(), 0);
            for (cpu, (value, seen)) in values.iter().zip(seen).enumerate() {
                let losses = value.0;
                if losses.count > *seen {
                    lost.push(Lost {
                        kind: kind_name(kind as u16).to_owned(),
                        cpu: cpu as u32,
                        count: losses.count - *seen,
                        from_ns: losses.first_ns,
                        to_ns: losses.last_ns,
                    });
                    *seen = losses.count;
                }
            }
        }
        if !lost.is_empty() {
            self.next_round()?;
        }
        Ok(lost)
    }
}

fn kind_name(kind: u16) -> &'static str {
    match kind {
        kind::SIGKILL => "sigkill",
        kind::MARK_VICTIM => "mark_victim",
        kind::EXIT => "exit",
        kind::OOM_KILL => "oom_kill",
        kind::IMAGE => "image",
        _ => "unknown",
    }
}
