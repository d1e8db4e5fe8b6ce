//! Struct offsets, enumerators, function ids and tracepoint arguments of the running kernel,
//! read from its BTF.
//!
//! Owns: the binary format, and the questions asked of it. Must not touch: programs, maps, or
//! what an absent field means for a feature; that is for the caller to decide.
//!
//! The format is described in the kernel's `Documentation/bpf/btf.rst` and declared in
//! `include/uapi/linux/btf.h`. A kernel has about 130,000 types, and oomtrace asks for a few
//! dozen: so nothing is parsed up front. One pass notes where every 32nd type starts and
//! which types carry a wanted name; everything else is read from the blob when it is asked for.
//!
//! ```no_run
//! # use oomtrace::probe::btf::{Btf, BtfError, Wanted};
//! # fn main() -> Result<(), BtfError> {
//! let mut wanted = Wanted::new();
//! wanted.path("task_struct.__state | task_struct.state")?.func("oom_kill_process");
//!
//! let btf = Btf::from_kernel()?;
//! let index = btf.index(&wanted)?;
//! let state = index.field("task_struct.__state | task_struct.state")?;
//! let hook = index.func("oom_kill_process")?;
//! # Ok(())
//! # }
//! ```
//!
//! Two things are kept apart everywhere: what this kernel *lacks* is `Ok(None)` (or an
//! [`Absent`] that says why), and what cannot be *known* (damaged BTF, a name that was not
//! announced in [`Wanted`]) is an error.

mod error;
mod format;
mod index;
mod lookup;
mod path;
mod raw;
mod wanted;

#[cfg(test)]
mod tests;

use std::{fs, io};

pub use self::{
    error::{Absent, BtfError},
    index::{ArgKind, FuncInfo, Index},
    lookup::Field,
    wanted::Wanted,
};
use self::{
    format::{Header, Layouts},
    raw::Types,
};

/// Where the kernel shows its own BTF: 5.4 and later, with `CONFIG_DEBUG_INFO_BTF`.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// A BTF blob whose header has been checked.
///
/// It owns the blob (4 to 7 MiB for a kernel) and nothing else: drop it as soon as the questions
/// are answered.
#[derive(Debug)]
pub struct Btf {
    bytes: Vec<u8>,
    header: Header,
    layouts: Layouts,
}

impl Btf {
    /// Reads the running kernel's BTF from [`KERNEL_BTF`].
    ///
    /// A kernel built without BTF has no such file: [`BtfError::NoKernelBtf`].
    pub fn from_kernel() -> Result<Self, BtfError> {
        match fs::read(KERNEL_BTF) {
            Ok(bytes) => Self::parse(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BtfError::NoKernelBtf),
            Err(source) => Err(BtfError::Read(source)),
        }
    }

    /// Takes a BTF blob in this machine's byte order, and checks its header and the bounds of
    /// its sections. Damage inside a section shows when the types are walked.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        let header = Header::read(&bytes)?;
        let layouts = header.layouts(&bytes)?;
        Ok(Self {
            bytes,
            header,
            layouts,
        })
    }

    /// Walks over all types once and keeps where the wanted ones are.
    ///
    /// The answers come from the [`Index`], which refers to the blob.
    pub fn index<'a>(&'a self, wanted: &Wanted<'a>) -> Result<Index<'a>, BtfError> {
        Index::build(self.types()?, wanted)
    }

    fn types(&self) -> Result<Types<'_>, BtfError> {
        Types::new(&self.bytes, &self.header, &self.layouts)
    }
}
