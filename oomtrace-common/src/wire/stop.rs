//! Requests to stop.

use bytemuck::{Pod, Zeroable};

use super::{
    Ancestor, COMM_BYTES, MAX_STOP_ANCESTORS, MAX_STOP_ARGV_BYTES, MAX_STOP_EXE_BYTES, layout,
};

/// The sender of a stop request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct StopSender {
    pub start_ns: u64,
    pub tgid: u32,
    pub tid: u32,
    pub uid: u32,
    pub login_uid: u32,
    pub pgid: u32,
    pub sid: u32,
    /// How many of `ancestry` are filled.
    pub ancestors: u32,
    /// How many bytes of `argv` are filled.
    pub argv_bytes: u32,
    pub comm: [u8; COMM_BYTES],
    pub tty: [u8; COMM_BYTES],
    /// File name of its executable; ends at its first NUL.
    pub exe: [u8; MAX_STOP_EXE_BYTES],
    pub ancestry: [Ancestor; MAX_STOP_ANCESTORS],
    pub argv: [u8; MAX_STOP_ARGV_BYTES],
}

/// How a process stood towards a stop request when it came. A field counts only where its
/// bit in `present` is set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct StopVictim {
    /// Bits of [`present`](super::present): `STATE`, `JOBCTL`, `BLOCKED`, `FLAGS`, `SIGNAL_FLAGS`, `HANDLER`.
    pub present: u64,
    pub jobctl: u64,
    pub blocked: u64,
    /// `sigaction.sa_handler` of the signal: 0 is `SIG_DFL`, 1 is `SIG_IGN`.
    pub handler: u64,
    pub state: u32,
    pub flags: u32,
    pub signal_flags: u32,
    /// 1 if the process was stopped (`SIGSTOP` and the like) after the request and has not
    /// been told to go on since.
    pub stopped_since: u32,
}

/// A run of the same signal to the same process by the same party.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct StopSlot {
    /// 0: not in use.
    pub signal: u32,
    pub count: u32,
    pub first_ns: u64,
    pub last_ns: u64,
    /// One of [`signals::result`](crate::signals::result), of the first of the run.
    pub first_result: i32,
    pub last_result: i32,
    /// How the victim was when the last one came.
    pub victim: StopVictim,
    /// The last one's sender.
    pub sender: StopSender,
}

layout! {
    StopSender: 392 { start_ns @ 0, tgid @ 8, comm @ 40, tty @ 56, exe @ 72, ancestry @ 104, argv @ 264 }
    StopVictim: 48 { present @ 0, jobctl @ 8, handler @ 24, state @ 32, stopped_since @ 44 }
    StopSlot: 472 { signal @ 0, count @ 4, first_ns @ 8, last_ns @ 16, first_result @ 24, victim @ 32, sender @ 80 }
}
