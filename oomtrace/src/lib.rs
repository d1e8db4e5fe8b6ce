//! oomtrace: what killed it? Traces every death by SIGKILL, and every exit with status
//! 137, to whoever sent it.
//!
//! Data flows one way: the kernel's ring buffer ([`probe`]), typed events ([`event`]), the
//! state machine that makes deaths of them ([`provenance`]), look-ups that outlive an
//! event ([`identity`]), what keeps the deaths ([`store`]), and what writes the records ([`sinks`]).
//! What is between the ring buffer and the store survives in the [`journal`]. Once all is attached,
//! each thread keeps of its [`privileges`] what it needs.

pub mod cli;
mod dying;
pub mod event;
pub mod identity;
pub mod journal;
pub mod pipeline;
pub mod privileges;
pub mod probe;
pub mod provenance;
pub mod sinks;
pub mod store;
pub mod vitals;
pub mod why;
