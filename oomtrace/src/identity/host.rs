//! The node and its clocks.

use std::{ffi::CStr, fs, mem::MaybeUninit};

use crate::event::entry::{Session, Tick};

/// Size of a page, bytes.
#[must_use]
pub fn page_bytes() -> u64 {
    // SAFETY: no pointers are passed.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

/// What is known before the first event.
#[must_use]
pub fn session() -> Session {
    let (node, kernel) = uname();
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Session {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node,
        boot_id: boot_id.trim().to_owned(),
        kernel,
        page_bytes: page_bytes(),
    }
}

fn uname() -> (String, String) {
    let mut name = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: the pointer is to a `utsname`; all zeros is a valid one too.
    let name = unsafe {
        libc::uname(name.as_mut_ptr());
        name.assume_init()
    };
    let text = |field: &[libc::c_char]| {
        // SAFETY: uname(2) ends each field with a NUL, and so does a zeroed one.
        let field = unsafe { CStr::from_ptr(field.as_ptr()) };
        field.to_string_lossy().into_owned()
    };
    (text(&name.nodename), text(&name.release))
}

/// Now, on both clocks.
#[must_use]
pub fn now() -> Tick {
    let boottime_ns = clock(libc::CLOCK_BOOTTIME);
    let realtime_ns = clock(libc::CLOCK_REALTIME);
    Tick {
        boottime_ns: u64::try_from(boottime_ns).unwrap_or(0),
        realtime_ns,
    }
}

/// How long the machine has slept since it was started: clocks but `CLOCK_BOOTTIME` stood still.
#[must_use]
pub fn slept_ns() -> u64 {
    let slept = clock(libc::CLOCK_BOOTTIME).saturating_sub(clock(libc::CLOCK_MONOTONIC));
    // Less is the time between the two questions.
    u64::try_from(slept).unwrap_or(0) / 1_000_000 * 1_000_000
}

fn clock(id: libc::clockid_t) -> i64 {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the pointer is to a `timespec`; all zeros is a valid one too.
    let time = unsafe {
        libc::clock_gettime(id, time.as_mut_ptr());
        time.assume_init()
    };
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

/// Whether this process is in a PID namespace of its own: its ids are not those that the
/// kernel's events carry. `PROC_PID_INIT_INO` of include/linux/proc_ns.h is the first one's.
#[must_use]
pub fn in_pid_namespace() -> bool {
    const FIRST: &str = "pid:[4026531836]";
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() != FIRST)
}

/// A thread that only looks things up yields to what is traced, and to the tracer itself.
/// Threads take over the priority of the one that starts them, and tracing has a high one.
pub(crate) fn be_nice() {
    const NICE: libc::c_int = 5;
    // SAFETY: no pointers are passed. To lower the priority of this thread is always allowed.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

/// CPU time that the calling thread has used.
#[must_use]
pub(crate) fn thread_cpu_ns() -> u64 {
    u64::try_from(clock(libc::CLOCK_THREAD_CPUTIME_ID)).unwrap_or(0)
}
