//! oomtrace's BPF programs. They capture and do not judge: everything here copies what
//! the kernel knows at the moment of an event into a record of `oomtrace_common::wire`.
//!
//! | program | hook | purpose |
//! |---|---|---|
//! | `sig_generate` | raw tracepoint `signal_generate` | who sends SIGKILL to whom; remembers requests to stop |
//! | `sig_deliver` | raw tracepoint `signal_deliver` | the victim's own argv, read in its own context |
//! | `mark_victim` | raw tracepoint `mark_victim` | confirms that a SIGKILL is the OOM killer's |
//! | `process_exit` | raw tracepoint `sched_process_exit` | how the thread group ended |
//! | `exit_notify` | raw tracepoint `signal_generate` | the same, when the dead group tells its parent: for what `process_exit` was too busy to see |
//! | `task_free` | raw tracepoint `sched_process_free` | the status of what was killed, when its memory is given back: for what both have not seen |
//! | `name_symbol` | none: run on demand | names a kernel function where /proc/kallsyms is closed |
//! | `cgroup_made`, `cgroup_emptied` | raw tracepoints `cgroup_mkdir`, `cgroup_notify_populated` | when a container comes, and when it is gone |
//! | `cgroup_gone` | raw tracepoint `cgroup_rmdir` | takes a cgroup out of the scope |
//! | `own_place` | none: run on demand | where the process that asks runs, as the node sees it |
//! | `oom_fentry`, `oom_kprobe` | `oom_kill_process` | whose limit, and what the OOM killer weighed |
//!
//! Names of programs and maps have at most 15 bytes: the kernel cuts the rest.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    unstable_features,
    reason = "inline assembly for BPF is not stable yet"
)]
#![warn(clippy::indexing_slicing, clippy::panic)] // each is a path that the verifier refuses
#![expect(
    clippy::cast_ptr_alignment,
    reason = "records are built at multiples of wire::ALIGN, see record.rs"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the macros that make programs hand the context over"
)]

mod argv;
mod hooks;
mod kernel;
mod memcg;
mod names;
mod place;
mod record;
mod scope;
mod stops;
mod symbol;
mod task;

/// The programs call helpers that the kernel allows to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The verifier refuses whatever could reach this.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
