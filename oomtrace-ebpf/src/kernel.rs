//! Reading kernel memory: the table of offsets, and reads that can fail; and what the loader sets.

use core::ptr;

use aya_ebpf::helpers::{bpf_probe_read_kernel, generated};
use oomtrace_common::offsets::{KernelFacts, Offsets, Settings};

/// Filled in by the loader, from the running kernel's BTF.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Offsets = Offsets::NONE;

/// Filled in by the loader as well.
#[unsafe(no_mangle)]
pub(crate) static FACTS: KernelFacts = KernelFacts::NONE;

/// And what the programs are told.
#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings::NODE;

/// The value of a read-only global as the loader set it. The read is volatile, for the
/// value is not the one that stands in the source; the verifier knows it all the same,
/// since the map behind it is frozen, and drops the branches that cannot be.
#[inline(always)]
pub(crate) fn load<T: Copy>(global: &T) -> T {
    // SAFETY: a reference is valid for reads.
    unsafe { ptr::read_volatile(global) }
}

#[inline(always)]
pub(crate) fn settings() -> Settings {
    load(&SETTINGS)
}

/// The offset of a kernel field: `Some` where this kernel has it.
macro_rules! offset {
    ($name:ident) => {
        $crate::kernel::load(&$crate::kernel::OFFSETS.$name).offset()
    };
}
pub(crate) use offset;

/// A member of [`FACTS`].
macro_rules! fact {
    ($name:ident) => {
        $crate::kernel::load(&$crate::kernel::FACTS.$name)
    };
}
pub(crate) use fact;

/// The value of a field of the struct at `base`: `None` where this kernel has no such
/// field, `base` is null, or the memory cannot be read.
macro_rules! get {
    ($base:expr, $name:ident, $type:ty) => {
        $crate::kernel::read::<$type>($base, $crate::kernel::offset!($name))
    };
}
pub(crate) use get;

/// A pointer field of the struct at `base` that is not null.
macro_rules! follow {
    ($base:expr, $name:ident) => {
        $crate::kernel::read::<$crate::kernel::Address>($base, $crate::kernel::offset!($name))
            .filter(|address| !address.is_null())
    };
}
pub(crate) use follow;

/// The pointer at the end of a chain of fields; null where any of it is null or cannot be
/// read. Unlike [`follow`] it has no branch for the verifier to follow both ways.
macro_rules! chase {
    ($base:expr $(, $name:ident)+) => {{
        let address: $crate::kernel::Address = $base;
        $(let address = {
            let mut next: $crate::kernel::Address = core::ptr::null();
            $crate::kernel::fetch(&mut next, address, $crate::kernel::offset!($name));
            next
        };)+
        address
    }};
}
pub(crate) use chase;

/// `BPF_NOEXIST` of include/uapi/linux/bpf.h: an entry that is there stays as it is.
pub(crate) const BPF_NOEXIST: u64 = 1;

/// An address in the kernel. Never dereferenced, only ever read through helpers.
pub(crate) type Address = *const u8;

/// Reads a `T` at `base` + `offset`.
#[inline(always)]
pub(crate) fn read<T: Copy>(base: Address, offset: Option<usize>) -> Option<T> {
    let offset = offset?;
    // SAFETY: the helper checks the address and fails on one that cannot be read.
    unsafe { bpf_probe_read_kernel(base.wrapping_add(offset).cast::<T>()) }.ok()
}

/// Reads a field of the struct at `base` straight into `to`: all ones if it could be read,
/// all zeros if not. There is no branch in it for the verifier to follow both ways.
#[inline(always)]
pub(crate) fn fetch<T>(to: &mut T, base: Address, offset: Option<usize>) -> u64 {
    let Some(offset) = offset else { return 0 };
    // SAFETY: `to` is as long as said; the helper checks the source.
    let result = unsafe {
        generated::bpf_probe_read_kernel(
            core::ptr::from_mut(to).cast(),
            size_of::<T>() as u32,
            base.wrapping_add(offset).cast(),
        )
    };
    // 0, or an error below 0: the sign, spread over all bits.
    !(result >> 63) as u64
}

/// Copies `len` bytes from the kernel to `to`; false if they cannot be read.
///
/// # Safety
/// `len` bytes at `to` must be writable.
#[inline(always)]
pub(crate) unsafe fn copy(to: *mut u8, len: usize, base: Address, offset: Option<usize>) -> bool {
    let Some(offset) = offset else { return false };
    // SAFETY: as promised by the caller; the helper checks the source.
    let result = unsafe {
        generated::bpf_probe_read_kernel(to.cast(), len as u32, base.wrapping_add(offset).cast())
    };
    result == 0
}

/// Copies a string with its NUL, cut at `len` bytes.
///
/// # Safety
/// `len` bytes at `to` must be writable.
#[inline(always)]
pub(crate) unsafe fn copy_string(to: *mut u8, len: usize, from: Address) {
    // SAFETY: as promised by the caller; the helper checks the source.
    unsafe { generated::bpf_probe_read_kernel_str(to.cast(), len as u32, from.cast()) };
}

/// Keeps `value` within `MASK`, in a way that the compiler can neither undo nor move away
/// from where the verifier needs to see it.
#[inline(always)]
pub(crate) fn bounded<const MASK: u32>(value: usize) -> usize {
    let mut value = value as u64;
    // SAFETY: arithmetic on one register.
    unsafe { core::arch::asm!("{0} &= {1}", inout(reg) value, const MASK) };
    value as usize
}

/// The current task.
#[inline(always)]
pub(crate) fn current() -> Address {
    // SAFETY: no arguments, no failure.
    ptr::with_exposed_provenance(unsafe { generated::bpf_get_current_task() } as usize)
}

/// Now, on `CLOCK_BOOTTIME`.
#[inline(always)]
pub(crate) fn boottime_ns() -> u64 {
    // SAFETY: no arguments, no failure.
    unsafe { generated::bpf_ktime_get_boot_ns() }
}

/// The processor that runs this program.
#[inline(always)]
pub(crate) fn cpu() -> u32 {
    // SAFETY: no arguments, no failure.
    unsafe { generated::bpf_get_smp_processor_id() as u32 }
}
