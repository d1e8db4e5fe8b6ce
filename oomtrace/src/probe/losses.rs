//! What was lost: records that found no room in the ring buffer, as the programs counted
//! them, and events that met a program at work already, as the kernel counts them.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use aya::{
    maps::{Array, Map, MapData, MapError, PerCpuArray, PerCpuValues},
    programs::ProgramFd,
    util::nr_cpus,
};
use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_info};
use oomtrace_common::{
    maps::{Losses, TOLD_PROGRAMS},
    wire::kind,
};

use crate::{
    event::{decode::kind_name, entry::Lost},
    identity::host,
};

/// Why an event was lost.
const RING_FULL: &str = "the ring buffer was full";
const BUSY: &str = "the program was at work already on the same processor";

/// The wire type, for aya.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Counted(Losses);

// SAFETY: `Losses` is plain data: four u64s, no padding, every bit pattern valid.
unsafe impl aya::Pod for Counted {}

/// A program, and how often the kernel has passed it over.
struct Program {
    kind: u16,
    /// Where in [`LossMaps::told`] it is.
    place: u32,
    fd: OwnedFd,
    missed: u64,
}

impl Program {
    /// `recursion_misses` of the program's info, since 5.12; 0 where the kernel has no such.
    fn misses(&self) -> io::Result<u64> {
        // SAFETY: all zeros is a valid `bpf_prog_info`.
        let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
        // SAFETY: all zeros is a valid `bpf_attr`.
        let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
        attr.info.bpf_fd = self.fd.as_raw_fd().unsigned_abs();
        attr.info.info_len = size_of_val(&info) as u32;
        attr.info.info = (&raw mut info).expose_provenance() as u64;
        // SAFETY: the attributes are initialised; `info` is as long as said, and outlives the
        // call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                bpf_cmd::BPF_OBJ_GET_INFO_BY_FD,
                &raw mut attr,
                size_of_val(&attr),
            )
        };
        if result == 0 {
            Ok(info.recursion_misses)
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// The maps that losses are read from.
pub(super) struct LossMaps {
    pub(super) counters: Map,
    pub(super) round: Map,
    pub(super) told: Map,
}

/// Reads the counters and notices what has been added.
pub(super) struct LossReader {
    counters: PerCpuArray<MapData, Counted>,
    round: Array<MapData, u64>,
    /// What of them has been told, for whoever reads after us: by kind and CPU, and behind the
    /// kinds by the place of a program, on the first CPU.
    told: PerCpuArray<MapData, u64>,
    rounds: u64,
    /// Counts at the last look, by kind and CPU.
    seen: Vec<Vec<u64>>,
    /// What was read last is not noted there yet: it may not have been told.
    is_untold: bool,
    programs: Vec<Program>,
    /// When the programs were looked at last.
    looked_ns: u64,
}

impl LossReader {
    /// Goes on where whoever read these maps before has left off. `since_ns`: since when they are
    /// written, `CLOCK_BOOTTIME`.
    pub(super) fn new(maps: LossMaps, since_ns: u64) -> Result<Self, MapError> {
        let told = PerCpuArray::try_from(maps.told)?;
        let seen = (0..kind::COUNT)
            .map(|kind| Ok(told.get(&(kind as u32), 0)?.iter().copied().collect()))
            .collect::<Result<_, MapError>>()?;
        let round = Array::try_from(maps.round)?;
        let mut reader = Self {
            counters: PerCpuArray::try_from(maps.counters)?,
            rounds: round.get(&0, 0)?,
            round,
            told,
            seen,
            is_untold: false,
            programs: Vec::new(),
            looked_ns: since_ns,
        };
        if reader.rounds == 0 {
            reader.next_round()?;
        }
        Ok(reader)
    }

    /// Also looks at what a program is passed over for; it would have sent this kind. Where
    /// several would, an event is lost only if all of them were passed over. `place`: the
    /// program's own, whichever version reads. What another version made no room for is not
    /// looked at.
    pub(super) fn watch(&mut self, kind: u16, place: u32, program: &ProgramFd) -> io::Result<()> {
        let fd = program.as_fd().try_clone_to_owned()?;
        let place = TOLD_PROGRAMS + place;
        let missed = match self.told.get(&place, 0) {
            Err(MapError::OutOfBounds { .. }) => return Ok(()),
            missed => missed.map_err(io::Error::other)?,
        };
        self.programs.push(Program {
            kind,
            place,
            fd,
            missed: missed.first().copied().unwrap_or_default(),
        });
        Ok(())
    }

    /// Notes that what was read has been told.
    pub(super) fn note(&mut self) -> Result<(), MapError> {
        if !std::mem::take(&mut self.is_untold) {
            return Ok(());
        }
        let cpus = nr_cpus().map_err(|(_, error)| error)?.get() as usize;
        let of = |counts: &[u64]| {
            let mut counts = counts.to_vec();
            counts.resize(cpus, 0);
            PerCpuValues::try_from(counts)
        };
        for (kind, seen) in self.seen.iter().enumerate().skip(1) {
            self.told.set(kind as u32, of(seen)?, 0)?;
        }
        for program in &self.programs {
            self.told.set(program.place, of(&[program.missed])?, 0)?;
        }
        Ok(())
    }

    /// What met a program at work already, since the last call.
    fn missed(&mut self) -> Vec<Lost> {
        let from_ns = self.looked_ns;
        self.looked_ns = host::now().boottime_ns;
        let to_ns = self.looked_ns;
        // By kind, the least that any program of it was passed over for.
        let mut least = [None; kind::COUNT];
        for program in &mut self.programs {
            let missed = program.misses().unwrap_or_else(|error| {
                log::debug!("what a program missed cannot be read: {error}");
                program.missed
            });
            let count = missed.saturating_sub(program.missed);
            program.missed = missed;
            if let Some(least) = least.get_mut(usize::from(program.kind)) {
                *least = Some(least.map_or(count, |least: u64| least.min(count)));
            }
        }
        let lost = least.iter().enumerate().filter_map(|(kind, count)| {
            let count = count.filter(|count| *count > 0)?;
            Some(Lost {
                kind: kind_name(kind as u16).to_owned(),
                cpu: None,
                count,
                from_ns,
                to_ns,
                certain: false,
                why: BUSY.to_owned(),
            })
        });
        lost.collect()
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
                        cpu: Some(cpu as u32),
                        count: losses.count - *seen,
                        from_ns: losses.first_ns,
                        to_ns: losses.last_ns,
                        certain: true,
                        why: RING_FULL.to_owned(),
                    });
                    *seen = losses.count;
                }
            }
        }
        if !lost.is_empty() {
            self.next_round()?;
        }
        lost.extend(self.missed());
        self.is_untold |= !lost.is_empty();
        Ok(lost)
    }
}
