//! Keys and values of the BPF maps.

use bytemuck::{Pod, Zeroable};

use crate::wire::{STOP_SLOTS, StopSlot, kind::COUNT};

/// The longest name of a kernel function, with its NUL: `KSYM_NAME_LEN` since 6.1, and what a
/// module's name adds.
pub const MAX_SYMBOL_BYTES: usize = 512 + 64;

/// After the reader was woken from a processor, it is not woken from there for so long. It
/// goes on looking for longer than that before it sleeps again.
pub const QUIET_NS: u64 = 5_000_000;

/// Where in the map of what has been told of losses the programs begin that are watched for what
/// they are passed over for; before them stand the kinds. Versions read each other's maps.
pub const TOLD_PROGRAMS: u32 = 48;
/// Entries of that map.
pub const MAX_TOLD: u32 = 64;

/// A thread group, safe against reuse of its id.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct GroupKey {
    pub start_ns: u64,
    pub tgid: u32,
    pub pad: u32,
}

/// Value of the map of stop requests.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct StopSlots {
    pub slots: [StopSlot; STOP_SLOTS],
}

/// Value of the map of thread groups that got a SIGKILL, or that ended as if they had.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Killed {
    /// The generation of those programs that have sent the victim's own image.
    pub image_sent: u32,
    /// The same for its end, whether that was sent or counted as lost. Each generation sends it by
    /// itself: what the others have sent may be read by nobody any more.
    pub exit_sent: u32,
}

impl Killed {
    /// Nothing sent yet.
    pub const NONE: Self = Self {
        image_sent: 0,
        exit_sent: 0,
    };
}

/// A cgroup. Each hierarchy numbers its own by itself: in two of them the same number stands for
/// different ones.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct CgroupKey {
    /// The kernel's number of it: its inode in cgroupfs.
    pub id: u64,
    /// 1 if it is in the v2 hierarchy, 0 if in the memory controller's of v1.
    pub unified: u32,
    pub pad: u32,
}

impl CgroupKey {
    #[must_use]
    pub const fn new(id: u64, unified: bool) -> Self {
        Self {
            id,
            unified: unified as u32,
            pad: 0,
        }
    }
}

/// Values of the map of cgroups that are in scope.
pub mod scope {
    /// It is.
    pub const HELD: u32 = 1;
    /// It is new, and the user side has not yet said whether it is.
    pub const CANDIDATE: u32 = 2;
}

/// Value of the per-CPU map of losses, by kind of record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Losses {
    /// Records that found no room in the ring buffer, since loading.
    pub count: u64,
    /// When the first one since the reader last looked was lost, `CLOCK_BOOTTIME`.
    pub first_ns: u64,
    /// When the last one was lost.
    pub last_ns: u64,
    /// The reader's round in which `first_ns` was set.
    pub round: u64,
}

const _: () = assert!(COUNT <= TOLD_PROGRAMS as usize);
const _: () = assert!(size_of::<GroupKey>() == 16);
const _: () = assert!(size_of::<CgroupKey>() == 16);
const _: () = assert!(size_of::<StopSlots>() == 4 * 472);
const _: () = assert!(size_of::<Killed>() == 8);
const _: () = assert!(size_of::<Losses>() == 32);
