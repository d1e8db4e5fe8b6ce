//! Look-ups that outlive an event: of the node that oomtrace runs on, and of processes in
//! /proc.

pub mod cgroupfs;
pub(crate) mod heap;
pub mod host;
pub mod memory;
pub mod place;
pub mod process;
pub mod resolver;
pub mod runtime;
pub mod target;
