//! Requests to stop: which signals asked a process to end before a SIGKILL made it.
//!
//! They never reach the ring buffer. A few are kept for each process, by signal and by the
//! party that sent them, so that neither a `SIGUSR1` nor a second sender pushes the
//! `SIGTERM` out that counts.

use aya_ebpf::{
    macros::map,
    maps::{LruHashMap, PerCpuArray},
};
use oomtrace_common::{
    maps::{GroupKey, StopSlots},
    signals::SIGTERM,
    wire::{
        MAX_STOP_ANCESTORS, MAX_STOP_EXE_BYTES, STOP_SLOTS, StopSender, StopSlot, StopVictim,
        present, tag, who,
    },
};

use crate::{
    argv,
    kernel::{self, Address, boottime_ns, chase, fetch, follow, get, offset},
    record::Record,
    task,
};

/// Requests to stop, by the process asked.
#[map]
static STOPS: LruHashMap<GroupKey, StopSlots> = LruHashMap::with_max_entries(4096, 0);

/// An empty value: too large for the stack.
#[map]
static NO_STOPS: PerCpuArray<StopSlots> = PerCpuArray::with_max_entries(1, 0);

/// A run that is older than this has ended: a new signal starts a new one.
const RUN_NS: u64 = 30 * 60 * 1_000_000_000;

/// Notes that the current task sent `signal` to `victim`, which belongs to the thread group
/// `key`.
#[inline(always)]
pub(crate) fn note(key: &GroupKey, victim: Address, signal: u32, result: i32) -> Option<()> {
    let current = crate::kernel::current();
    let leader = task::leader(current);
    let sender = task::group_key(leader)?;
    let parent = task::parent(leader);
    let parent_key = parent.and_then(task::group_key);
    let now = boottime_ns();

    let slots = if let Some(slots) = STOPS.get_ptr_mut(key) {
        slots
    } else {
        let empty = NO_STOPS.get(0)?;
        STOPS.insert(key, empty, 0).ok()?;
        STOPS.get_ptr_mut(key)?
    };
    // SAFETY: a value of the map. Its victim's siglock is held at `signal_generate`, and
    // one victim is one key, so nobody else writes it now.
    let slots = unsafe { &mut (*slots).slots };

    // The run that goes on, or the slot to take over: an empty one, else the one that is
    // least wanted, which is the oldest that is no SIGTERM, else the oldest.
    let mut run: *mut StopSlot = core::ptr::null_mut();
    let mut take: *mut StopSlot = &raw mut slots[0];
    let mut take_rank = u64::MAX;
    for slot in slots.iter_mut() {
        if slot.signal == signal && run.is_null() && same_party(&slot.sender, &sender, parent_key) {
            run = slot;
        }
        let rank = if slot.signal == SIGTERM {
            slot.last_ns | 1 << 63
        } else {
            slot.last_ns
        };
        if rank < take_rank {
            take_rank = rank;
            take = slot;
        }
    }

    // SAFETY: both point at slots of this value.
    let slot = unsafe { if run.is_null() { &mut *take } else { &mut *run } };
    let goes_on = !run.is_null() && now.wrapping_sub(slot.last_ns) < RUN_NS;
    if goes_on {
        slot.count = slot.count.wrapping_add(1);
    } else {
        slot.signal = signal;
        slot.count = 1;
        slot.first_ns = now;
        slot.first_result = result;
    }
    slot.last_ns = now;
    slot.last_result = result;
    fill_victim(&mut slot.victim, victim, signal);
    let known =
        goes_on && slot.sender.tgid == sender.tgid && slot.sender.start_ns == sender.start_ns;
    if !known {
        fill_sender(&mut slot.sender, &sender, current, leader);
    }
    Some(())
}

/// Notes that a process to which requests were sent has been stopped, or goes on.
#[inline(always)]
pub(crate) fn note_stopped(key: &GroupKey, stopped: bool) {
    if let Some(slots) = STOPS.get_ptr_mut(key) {
        // SAFETY: a value of the map, see `note`.
        for slot in unsafe { &mut (*slots).slots } {
            slot.victim.stopped_since = u32::from(stopped);
        }
    }
}

/// How the victim stands towards the signal: its state, its mask, its handler.
#[inline(always)]
fn fill_victim(to: &mut StopVictim, victim: Address, signal: u32) {
    let signals = chase!(victim, task_signal);
    to.present = present::STATE & fetch(&mut to.state, victim, offset!(task_state))
        | present::JOBCTL & fetch(&mut to.jobctl, victim, offset!(task_jobctl))
        | present::BLOCKED & fetch(&mut to.blocked, victim, offset!(task_blocked))
        | present::FLAGS & fetch(&mut to.flags, victim, offset!(task_flags))
        | present::SIGNAL_FLAGS & fetch(&mut to.signal_flags, signals, offset!(signal_flags));
    to.stopped_since = 0;
    to.handler = 0;
    if let (Some(first), Some(second)) = (offset!(sighand_handler_0), offset!(sighand_handler_1)) {
        let at = (signal as usize - 1).wrapping_mul(second.wrapping_sub(first));
        let sighand = chase!(victim, task_sighand);
        to.present |=
            present::HANDLER & fetch(&mut to.handler, sighand, Some(first.wrapping_add(at)));
    }
}

/// The same process, or another child of the same parent (`runc kill` twice under one
/// shim, two `kill`s from one shell). Being a child of process 1 joins nobody.
#[inline(always)]
fn same_party(known: &StopSender, sender: &GroupKey, parent: Option<GroupKey>) -> bool {
    if known.tgid == sender.tgid && known.start_ns == sender.start_ns {
        return true;
    }
    match parent {
        Some(parent) if known.ancestors > 0 && parent.tgid > 1 => {
            known.ancestry[0].tgid == parent.tgid && known.ancestry[0].start_ns == parent.start_ns
        }
        _ => false,
    }
}

#[inline(always)]
fn fill_sender(to: &mut StopSender, key: &GroupKey, current: Address, leader: Address) {
    to.start_ns = key.start_ns;
    to.tgid = key.tgid;
    to.tid = get!(current, task_pid, u32).unwrap_or(0);
    to.uid = task::uid(current).unwrap_or(u32::MAX);
    to.login_uid = get!(current, task_loginuid, u32).unwrap_or(u32::MAX);
    to.pgid = 0;
    to.sid = 0;
    to.tty = [0; 16];
    if let Some(signal) = follow!(current, task_signal) {
        to.pgid = task::pgid(signal).unwrap_or(0);
        to.sid = task::sid(signal).unwrap_or(0);
        let _ = task::tty(signal, &mut to.tty);
    }
    let _ = task::comm(current, &mut to.comm);
    to.exe = [0; MAX_STOP_EXE_BYTES];
    let name = chase!(current, task_mm, mm_exe_file, file_dentry, dentry_name);
    // SAFETY: as many bytes as said; the helper checks the source.
    unsafe {
        kernel::copy_string(to.exe.as_mut_ptr(), MAX_STOP_EXE_BYTES, name);
    }
    to.argv_bytes = argv::copy_short(&mut to.argv, current);
    to.ancestors = 0;
    let mut task = leader;
    for index in 0..MAX_STOP_ANCESTORS {
        let Some(parent) = task::parent(task) else {
            break;
        };
        let Some(ancestor) = to.ancestry.get_mut(index) else {
            break;
        };
        if !task::fill_ancestor(ancestor, parent) {
            break;
        }
        to.ancestors = index as u32 + 1;
        task = parent;
    }
}

/// Appends what was asked of the thread group `key`.
#[inline(always)]
pub(crate) fn put(record: Record, key: &GroupKey) {
    let Some(slots) = STOPS.get_ptr(key) else {
        return;
    };
    if !record.section(tag::STOPS, who::VICTIM) {
        return;
    }
    // SAFETY: a value of the map, see `note`.
    let slots = unsafe { &(*slots).slots };
    for index in 0..STOP_SLOTS {
        let Some(slot) = slots.get(index) else { break };
        if slot.signal == 0 {
            continue;
        }
        let Some(room) = record.room(size_of::<StopSlot>()) else {
            break;
        };
        // SAFETY: `room` promises the bytes; the source is one slot.
        let copied = unsafe {
            crate::kernel::copy(
                room,
                size_of::<StopSlot>(),
                core::ptr::from_ref(slot).cast(),
                Some(0),
            )
        };
        if copied {
            record.advance(size_of::<StopSlot>());
        }
    }
    record.end();
}
