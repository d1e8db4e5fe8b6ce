//! What the kernel side and the user side of oomtrace share: the layout of every record
//! that crosses the ring buffer ([`wire`]), of the maps ([`maps`]), and the list of kernel
//! fields that the programs read ([`offsets`]).
//!
//! Everything here is fixed-width, `repr(C)` and free of padding; size and offsets are
//! asserted at compile time, so the two sides cannot drift apart unseen.
#![cfg_attr(not(test), no_std)]

pub mod maps;
pub mod offsets;
pub mod signals;
pub mod wire;
