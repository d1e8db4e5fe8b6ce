//! A process's arguments, from its own memory: the current task's only.

use aya_ebpf::helpers::generated;
use oomtrace_common::wire::{ArgvHeader, MAX_ARGV_BYTES, MAX_STOP_ARGV_BYTES, tag};

use crate::{
    kernel::{Address, bounded, follow, get},
    record::Record,
};

/// The smallest page of any architecture: a read that crosses no multiple of it touches
/// one page only.
const PAGE_BYTES: usize = 4096;

/// Copies at most `MASK` bytes of user memory; returns how many were read.
///
/// # Safety
/// `MASK` bytes at `to` must be writable.
#[inline(always)]
unsafe fn read_user<const MASK: u32>(to: *mut u8, from: u64, len: usize) -> usize {
    let len = bounded::<MASK>(len);
    let from = core::ptr::with_exposed_provenance::<u8>(from as usize);
    // SAFETY: `len` is within `MASK`; the helper checks the source.
    match unsafe { generated::bpf_probe_read_user(to.cast(), len as u32, from.cast()) } {
        0 => len,
        _ => 0,
    }
}

/// Appends the current task's arguments. One that is exiting has no memory to read them
/// from, and then no section is written.
#[inline(never)]
pub(crate) fn put_current(record: Record, who: u16, task: Address) {
    let Some(mm) = follow!(task, task_mm) else {
        return;
    };
    let (Some(start), Some(end)) = (get!(mm, mm_arg_start, u64), get!(mm, mm_arg_end, u64)) else {
        return;
    };
    let area = end.saturating_sub(start);
    if !record.section(tag::ARGV, who) {
        return;
    }
    let Some(room) = record.room(size_of::<ArgvHeader>() + MAX_ARGV_BYTES) else {
        return;
    };
    // SAFETY: `room` promises the bytes of the header and of the largest argv.
    let read = unsafe {
        room.cast::<ArgvHeader>()
            .write(ArgvHeader { area_bytes: area });
        let to = room.add(size_of::<ArgvHeader>());
        let wanted = core::cmp::min(area as usize, MAX_ARGV_BYTES);
        // A page that is not resident fails the whole read: up to the end of the first
        // page, then the rest, keeps at least the part that is there. Neither is the whole of
        // what is wanted, which the mask would not let through.
        let page = PAGE_BYTES - (start as usize & (PAGE_BYTES - 1));
        let first = core::cmp::min(wanted, core::cmp::min(page, MAX_ARGV_BYTES - 1));
        let got = read_user::<{ MAX_ARGV_BYTES as u32 - 1 }>(to, start, first);
        if got == first && first < wanted {
            let to = to.add(bounded::<{ MAX_ARGV_BYTES as u32 - 1 }>(got));
            got + read_user::<{ MAX_ARGV_BYTES as u32 - 1 }>(to, start + got as u64, wanted - first)
        } else {
            got
        }
    };
    record.advance(size_of::<ArgvHeader>() + read);
    record.end();
}

/// Copies the start of the current task's arguments, one page at the most; returns the
/// number of bytes.
#[inline(always)]
pub(crate) fn copy_short(to: &mut [u8; MAX_STOP_ARGV_BYTES], task: Address) -> u32 {
    let Some(mm) = follow!(task, task_mm) else {
        return 0;
    };
    let (Some(start), Some(end)) = (get!(mm, mm_arg_start, u64), get!(mm, mm_arg_end, u64)) else {
        return 0;
    };
    let len = core::cmp::min(end.saturating_sub(start) as usize, MAX_STOP_ARGV_BYTES - 1);
    // SAFETY: `to` is as long as the mask allows.
    unsafe { read_user::<{ MAX_STOP_ARGV_BYTES as u32 - 1 }>(to.as_mut_ptr(), start, len) as u32 }
}
