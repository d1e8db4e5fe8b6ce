//! Building a record in per-CPU memory, handing it to the ring buffer, counting what
//! found no room there.

use aya_ebpf::{
    helpers::generated,
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
};
use oomtrace_common::{
    maps::{Losses, MAX_TOLD, QUIET_NS},
    wire::{
        ALIGN, MAX_ANCESTORS, MAX_RECORD_BYTES, RecordHeader, SPARE_BYTES, SectionHeader, VERSION,
        kind::COUNT,
    },
};

use crate::kernel::{Address, boottime_ns, bounded, cpu};

const MASK: u32 = MAX_RECORD_BYTES as u32 - 1;

/// Where one program builds its record.
#[repr(C, align(8))]
pub(crate) struct Scratch {
    bytes: [u8; MAX_RECORD_BYTES + SPARE_BYTES],
    /// Where the next byte goes; a multiple of `ALIGN` between sections.
    at: u64,
    /// Where the open section's header is.
    section: u64,
    /// The ancestors that were appended last; null behind the last.
    ancestors: [u64; MAX_ANCESTORS],
}

/// The user side sets its size.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(8 * 1024 * 1024, 0);

/// When the reader was last woken from this processor.
#[map]
static WOKEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Records lost for want of room, by kind.
#[map]
static LOSSES: PerCpuArray<Losses> = PerCpuArray::with_max_entries(COUNT as u32, 0);

/// The reader's round: it counts up each time that it has looked at `LOSSES`.
#[map]
static ROUND: Array<u64> = Array::with_max_entries(1, 0);

/// What of the losses has been told, and of what each program was passed over for: the programs
/// do not look at it, it is the reader's note for the next one.
#[map]
static TOLD: PerCpuArray<u64> = PerCpuArray::with_max_entries(MAX_TOLD, 0);

/// A record under construction.
///
/// How far it has come stands in the map, not in a register: what is read from a map is
/// just a number to the verifier, so that paths which differ in nothing but that number
/// are one path to it. Kept in a register, each of them would be verified by itself, which
/// ends beyond a million instructions.
#[derive(Clone, Copy)]
pub(crate) struct Record(*mut u8);

impl Record {
    /// Starts a record of a kind, with room for its body, which is returned zeroed.
    #[inline(always)]
    pub(crate) fn begin<B>(
        scratch: &PerCpuArray<Scratch>,
        kind: u16,
    ) -> Option<(Self, &'static mut B)> {
        let base = scratch.get_ptr_mut(0)?.cast::<u8>();
        let record = Self(base);
        // SAFETY: the scratch is larger than a header and a body, aligned, and this
        // processor's own for as long as the program runs.
        let body = unsafe {
            base.cast::<RecordHeader>().write(RecordHeader {
                kind,
                version: VERSION,
                len: 0,
                boottime_ns: boottime_ns(),
                cpu: cpu(),
                pad: 0,
            });
            let body = base.add(size_of::<RecordHeader>()).cast::<B>();
            core::ptr::write_bytes(body, 0, 1);
            &mut *body
        };
        record.set_at(size_of::<RecordHeader>() + size_of::<B>());
        Some((record, body))
    }

    /// When the record was begun.
    #[inline(always)]
    fn now(self) -> u64 {
        // SAFETY: it starts with a header, see `begin`; volatile as below.
        unsafe { (&raw const (*self.0.cast::<RecordHeader>()).boottime_ns).read_volatile() }
    }

    /// How many bytes there are so far.
    #[inline(always)]
    fn at(self) -> usize {
        // SAFETY: within the scratch; volatile, so that it is read from the map each time.
        unsafe { (&raw const (*self.0.cast::<Scratch>()).at).read_volatile() as usize }
    }

    #[inline(always)]
    fn set_at(self, at: usize) {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.0.cast::<Scratch>()).at).write_volatile(at as u64) };
    }

    /// Where `len` bytes may be written now; at most `SPARE_BYTES`.
    #[inline(always)]
    pub(crate) fn room(self, len: usize) -> Option<*mut u8> {
        let at = self.at();
        if at + len > MAX_RECORD_BYTES {
            return None;
        }
        // SAFETY: within the scratch, by the mask.
        Some(unsafe { self.0.add(bounded::<MASK>(at)) })
    }

    /// Notes that `len` bytes were written.
    #[inline(always)]
    pub(crate) fn advance(self, len: usize) {
        self.set_at(self.at() + len);
    }

    /// Opens a section; [`Record::end`] closes it. None is open meanwhile.
    #[inline(always)]
    #[must_use]
    pub(crate) fn section(self, tag: u16, who: u16) -> bool {
        let Some(room) = self.room(size_of::<SectionHeader>()) else {
            return false;
        };
        // SAFETY: `room` promises the bytes of the header; the rest lies in the scratch.
        unsafe {
            room.cast::<SectionHeader>()
                .write(SectionHeader { tag, who, len: 0 });
            let section = &raw mut (*self.0.cast::<Scratch>()).section;
            section.write_volatile(self.at() as u64);
        }
        self.advance(size_of::<SectionHeader>());
        true
    }

    /// Closes the open section: notes its length, pads it.
    #[inline(always)]
    pub(crate) fn end(self) {
        let at = self.at();
        // SAFETY: the header lies within the scratch, by the mask.
        unsafe {
            let section = &raw const (*self.0.cast::<Scratch>()).section;
            let start = section.read_volatile() as usize;
            let header = self.0.add(bounded::<MASK>(start)).cast::<SectionHeader>();
            (*header).len = (at - start - size_of::<SectionHeader>()) as u32;
        }
        self.set_at((at + (ALIGN - 1)) & !(ALIGN - 1));
    }

    /// A section of one `T`, zeroed, to be filled in place.
    #[inline(always)]
    pub(crate) fn put<T>(self, tag: u16, who: u16) -> Option<&'static mut T> {
        let header = self
            .room(size_of::<SectionHeader>() + size_of::<T>())?
            .cast::<SectionHeader>();
        // SAFETY: `room` promises the bytes of both.
        let value = unsafe {
            header.write(SectionHeader {
                tag,
                who,
                len: size_of::<T>() as u32,
            });
            let value = header.add(1).cast::<T>();
            core::ptr::write_bytes(value, 0, 1);
            &mut *value
        };
        self.advance(size_of::<SectionHeader>() + size_of::<T>());
        Some(value)
    }

    /// One of the ancestors that were appended last.
    #[inline(always)]
    pub(crate) fn ancestor(self, index: usize) -> Address {
        // SAFETY: within the scratch; volatile, so that it is a mere number to the verifier.
        let address = unsafe {
            let ancestors = &raw const (*self.0.cast::<Scratch>()).ancestors;
            ancestors.cast::<u64>().add(index).read_volatile()
        };
        core::ptr::with_exposed_provenance(address as usize)
    }

    /// Remembers an ancestor; `index` is below `MAX_ANCESTORS`.
    #[inline(always)]
    pub(crate) fn set_ancestor(self, index: usize, ancestor: Address) {
        // SAFETY: as above.
        unsafe {
            let ancestors = &raw mut (*self.0.cast::<Scratch>()).ancestors;
            let address = ancestor.expose_provenance() as u64;
            ancestors.cast::<u64>().add(index).write_volatile(address);
        }
    }

    /// Leaves the record where it is, for who reads the map.
    #[inline(always)]
    pub(crate) fn leave(self) {
        let len = bounded::<MASK>(self.at());
        // SAFETY: it starts with a header, see `begin`.
        unsafe { (*self.0.cast::<RecordHeader>()).len = len as u32 };
    }

    /// Hands the record to the reader. What finds no room is counted.
    ///
    /// To wake the reader can cost as much as a third of the record. So it is woken once in
    /// `QUIET_NS` at the most; it stays awake for longer than that.
    #[inline(always)]
    pub(crate) fn submit(self) {
        let len = bounded::<MASK>(self.at());
        let wakeup = wakeup(self.now());
        // SAFETY: `base` starts with a header, see `begin`; `len` bytes of the scratch are
        // initialised (map memory always is).
        let result = unsafe {
            (*self.0.cast::<RecordHeader>()).len = len as u32;
            generated::bpf_ringbuf_output(
                (&raw const EVENTS).cast_mut().cast(),
                self.0.cast(),
                bounded::<MASK>(len) as u64,
                wakeup,
            )
        };
        if result != 0 {
            // SAFETY: as above.
            lost(unsafe { (*self.0.cast::<RecordHeader>()).kind });
        }
    }
}

/// `BPF_RB_NO_WAKEUP` and `BPF_RB_FORCE_WAKEUP` of include/uapi/linux/bpf.h.
const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;

/// Whether the reader is to be woken for a record of this moment. It is forced, for by itself
/// the kernel wakes only a reader that has read all that came before.
#[inline(always)]
fn wakeup(now: u64) -> u64 {
    let Some(woken) = WOKEN.get_ptr_mut(0) else {
        return FORCE_WAKEUP;
    };
    // SAFETY: this processor's own entry; what is lost when another program comes between is
    // one wake-up too many.
    unsafe {
        if now.wrapping_sub(*woken) < QUIET_NS {
            return NO_WAKEUP;
        }
        *woken = now;
    }
    FORCE_WAKEUP
}

/// Counts a record that could not be handed over.
#[inline(always)]
pub(crate) fn lost(kind: u16) {
    let now = boottime_ns();
    let round = ROUND.get(0).copied().unwrap_or(0);
    let Some(losses) = LOSSES.get_ptr_mut(u32::from(kind)) else {
        return;
    };
    // SAFETY: this processor's own entry.
    let losses = unsafe { &mut *losses };
    // A new round, or the very first loss: the stretch starts here.
    if losses.round != round || losses.count == 0 {
        losses.round = round;
        losses.first_ns = now;
    }
    losses.last_ns = now;
    // Another program may be preempted in the middle of the same.
    // SAFETY: one atomic addition to memory that is aligned and ours.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({0} + 0) += {1}",
            in(reg) &raw mut losses.count,
            in(reg) 1u64,
        );
    }
}
