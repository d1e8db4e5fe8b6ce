//! Signal numbers and the constants of the kernel's signal code that are part of its
//! user ABI. They are the same on every architecture that oomtrace builds for.

pub const SIGHUP: u32 = 1;
pub const SIGINT: u32 = 2;
pub const SIGQUIT: u32 = 3;
pub const SIGABRT: u32 = 6;
pub const SIGKILL: u32 = 9;
pub const SIGTERM: u32 = 15;
pub const SIGCHLD: u32 = 17;
pub const SIGCONT: u32 = 18;
pub const SIGSTOP: u32 = 19;
pub const SIGTSTP: u32 = 20;
pub const SIGTTIN: u32 = 21;
pub const SIGTTOU: u32 = 22;
pub const SIGURG: u32 = 23;
/// The first real-time signal as the kernel counts; the C library keeps 32 and 33.
pub const SIGRTMIN_KERNEL: u32 = 32;

/// Whether a signal suspends a process until `SIGCONT` comes.
#[inline(always)]
#[must_use]
pub const fn suspends(signal: u32) -> bool {
    matches!(signal, SIGSTOP | SIGTSTP | SIGTTIN | SIGTTOU)
}

/// `si_code` of kill(2).
pub const SI_USER: i32 = 0;
/// `si_code` of sigqueue(3).
pub const SI_QUEUE: i32 = -1;
/// `si_code` of a POSIX timer.
pub const SI_TIMER: i32 = -2;
/// `si_code` of tkill(2) and tgkill(2).
pub const SI_TKILL: i32 = -6;

/// `result` of the tracepoint `signal_generate`: `TRACE_SIGNAL_*` in the kernel's
/// `include/trace/events/signal.h`.
pub mod result {
    pub const DELIVERED: i32 = 0;
    pub const IGNORED: i32 = 1;
    pub const ALREADY_PENDING: i32 = 2;
    pub const OVERFLOW_FAIL: i32 = 3;
    pub const LOSE_INFO: i32 = 4;
}

/// Whether a signal can be a request to stop: one that a person or a supervisor sends to
/// make a process end. Left out are those that never ask for it: a child's change of
/// state, job control, and the runtime-internal `SIGURG` of Go programs.
#[inline(always)]
#[must_use]
pub const fn can_request_stop(signal: u32) -> bool {
    !matches!(
        signal,
        0 | SIGKILL
            | SIGCHLD
            | SIGCONT
            | SIGSTOP
            | SIGTSTP
            | SIGTTIN
            | SIGTTOU
            | SIGURG
            | SIGRTMIN_KERNEL
            | 33
    ) && signal <= 64
}
