//! From a stream of entries to deaths, without a kernel.
//!
//! | module | what it holds |
//! |---|---|
//! | `decoding` | what the fields of a kernel record mean |
//! | `replay` | what real kernels sent, and the deaths that come of it |
//! | `verdicts` | the order in which the verdict's rows are tried |
//! | `kernels_own` | what the kernel did by itself, with and without its symbols |
//! | `actors` | who stands behind a sender |
//! | `containers` | which container, pod and unit, and what their runtimes say |
//! | `stops` | why a victim did not stop when it was asked to |
//! | `oom` | whose limit it was |
//! | `memory` | how memory was used before an OOM kill |
//! | `node` | who held the memory of a node that ran out |
//! | `lifecycle` | from the SIGKILL to the last revision |
//! | `unseen` | deaths of which no SIGKILL was seen |
//! | `properties` | no stream makes it panic, lose a death or tell one twice |
//! | `output` | no name makes a line, or moves a cursor, in what is written |
//! | `reading` | what was written is read back as it was |
//! | `restart` | a tracer that is killed anywhere, and the next one: the same deaths |
//! | `robustness` | no bytes make the decoder or the reader panic |

#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

mod actors;
mod containers;
mod decoding;
mod kernels_own;
mod lifecycle;
mod memory;
mod node;
mod oom;
mod output;
mod properties;
mod reading;
mod replay;
mod restart;
mod robustness;
mod stops;
mod support;
mod unseen;
mod verdicts;
mod why;
