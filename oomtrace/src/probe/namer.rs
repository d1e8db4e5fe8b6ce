//! Names of kernel functions from the kernel itself, for where /proc/kallsyms hides its
//! addresses: a small program is run for each address. Call paths are few, so that this
//! happens a few dozen times in the life of a tracer.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use aya::{
    Ebpf, Pod,
    maps::{Array, MapData},
    programs::{ProgramError, RawTracePoint},
};
use aya_obj::generated::{bpf_attr, bpf_cmd};
use oomtrace_common::maps::MAX_SYMBOL_BYTES;

use super::attach::object;
use crate::event::entry::Symbol;

/// A name as the program writes it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Name([u8; MAX_SYMBOL_BYTES]);

// SAFETY: bytes.
unsafe impl Pod for Name {}

/// See the module.
pub struct Namer {
    program: OwnedFd,
    answer: Array<MapData, Name>,
}

impl Namer {
    /// Loads the program. Kernels before 5.13 refuse it.
    pub(super) fn load(ebpf: &mut Ebpf) -> Result<Self, ProgramError> {
        let program: &mut RawTracePoint = object::program(ebpf, "name_symbol")?;
        program.load()?;
        let program = program.fd()?.as_fd().try_clone_to_owned()?;
        let answer = ebpf
            .take_map("SYMBOL")
            .ok_or_else(|| io::Error::other("the object has no map SYMBOL"))?;
        Ok(Self {
            program,
            answer: Array::try_from(answer)?,
        })
    }

    /// Names the functions that addresses lie in.
    #[must_use]
    pub fn resolve(&self, addresses: &[u64]) -> Vec<Symbol> {
        addresses
            .iter()
            .map(|address| Symbol {
                address: *address,
                name: self.name(*address).unwrap_or_else(|error| {
                    log::warn!("the kernel does not name {address:#x}: {error}");
                    None
                }),
            })
            .collect()
    }

    fn name(&self, address: u64) -> io::Result<Option<String>> {
        run_program(&self.program, &[address])?;
        let Name(bytes) = self.answer.get(&0, 0).map_err(io::Error::other)?;
        let text = crate::event::text::strings(&bytes);
        // An address in no function comes back as it is; a module's name stands behind.
        let name = text.first().and_then(|text| text.split(' ').next());
        Ok(name
            .filter(|name| !name.is_empty() && !name.starts_with("0x"))
            .map(str::to_owned))
    }
}

/// Runs a program on a raw tracepoint once, in the context of this thread, with these arguments.
pub(super) fn run_program(program: &OwnedFd, arguments: &[u64]) -> io::Result<()> {
    /// `MAX_BPF_FUNC_ARGS` of include/linux/bpf.h: a raw tracepoint's arguments.
    const ARGUMENTS: usize = 12;
    let mut context = [0u64; ARGUMENTS];
    for (to, argument) in context.iter_mut().zip(arguments) {
        *to = *argument;
    }
    // SAFETY: all zeros is a valid `bpf_attr`.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.test.prog_fd = program.as_raw_fd().unsigned_abs();
    attr.test.ctx_in = context.as_ptr().expose_provenance() as u64;
    attr.test.ctx_size_in = size_of_val(&context) as u32;
    // SAFETY: the attributes are initialised, and the context outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            bpf_cmd::BPF_PROG_TEST_RUN,
            &raw mut attr,
            size_of_val(&attr),
        )
    };
    match result {
        // SAFETY: the kernel has filled it in.
        0 if unsafe { attr.test.retval } == 0 => Ok(()),
        0 => Err(io::Error::other("the helper failed")),
        _ => Err(io::Error::last_os_error()),
    }
}
