//! The store, on real files.
//!
//! | module | what it holds |
//! |---|---|
//! | `keeping` | what is stored, when it is there, and which revision stays |
//! | `asking` | what `list`, `show` and `why` ask |
//! | `limits` | age and size |
//! | `troubles` | disks and files that do not play along |
//! | `crash` | a writer that is killed, a reader beside a writer |
//! | `command` | `oomtrace list` and `oomtrace show` |
//! | `speed` | a million deaths (ignored; the module says how to run it) |

#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]
#![expect(
    clippy::print_stdout,
    reason = "what is skipped and what was measured is said"
)]

mod asking;
mod command;
mod crash;
mod keeping;
mod limits;
mod speed;
mod support;
mod troubles;
