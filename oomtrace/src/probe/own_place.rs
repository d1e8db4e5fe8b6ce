//! Where this process runs, as the node sees it: in namespaces of its own a process knows
//! neither its id on the node nor the path of its cgroup. A small program is run for it.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{
    Ebpf, Pod,
    maps::{MapData, PerCpuArray},
    programs::RawTracePoint,
};
use oomtrace_common::wire::{MAX_RECORD_BYTES, RecordHeader, SPARE_BYTES};

use super::{attach::object, namer};
use crate::event::decode;
pub use crate::event::decode::OwnPlace;

/// The cgroups below one of those above this process's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildrenOf {
    /// So many levels above its own.
    pub up: u32,
    /// In v2's hierarchy, not in the memory controller's of v1.
    pub unified: bool,
}

/// What a program builds its record in: the record, and what the program itself keeps.
const SCRATCH_BYTES: usize = MAX_RECORD_BYTES + SPARE_BYTES + 8 + 8 + 8 * 8;

#[repr(transparent)]
#[derive(Clone, Copy)]
struct Scratch([u8; SCRATCH_BYTES]);

// SAFETY: bytes.
unsafe impl Pod for Scratch {}

/// See the module.
pub(super) struct OwnPlaceReader {
    program: OwnedFd,
    answers: PerCpuArray<MapData, Scratch>,
}

impl OwnPlaceReader {
    /// Loads the program.
    pub(super) fn load(ebpf: &mut Ebpf) -> Result<Self, String> {
        let program: &mut RawTracePoint =
            object::program(ebpf, "own_place").map_err(|error| error.to_string())?;
        program.load().map_err(|error| error.to_string())?;
        let program = program
            .fd()
            .map_err(|error| error.to_string())?
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| error.to_string())?;
        let answers = ebpf
            .take_map("OWN_PLACE")
            .ok_or_else(|| "the object has no map OWN_PLACE".to_owned())?;
        Ok(Self {
            program,
            answers: PerCpuArray::try_from(answers).map_err(|error| error.to_string())?,
        })
    }

    /// Runs it. `BPF_PROG_TEST_RUN` takes raw tracepoints since 5.10.
    pub(super) fn read(&self, children: Option<ChildrenOf>) -> io::Result<OwnPlace> {
        let arguments = children.map_or([0, 0], |of| [of.up.into(), of.unified.into()]);
        namer::run_program(&self.program, &arguments)?;
        let answers = self.answers.get(&0, 0).map_err(io::Error::other)?;
        // It ran on one of the processors, on which one is not known.
        let latest = answers
            .iter()
            .filter_map(|Scratch(bytes)| {
                let header: RecordHeader =
                    bytemuck::pod_read_unaligned(bytes.get(..size_of::<RecordHeader>())?);
                Some((header.boottime_ns, bytes.get(..header.len as usize)?))
            })
            .max_by_key(|(boottime_ns, _)| *boottime_ns)
            .map(|(_, record)| record)
            .unwrap_or_default();
        decode::own_place(latest).map_err(io::Error::other)
    }
}
