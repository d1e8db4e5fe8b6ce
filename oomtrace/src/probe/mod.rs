//! The kernel's side of oomtrace, seen from outside: what this kernel and these privileges
//! allow ([`support`]), what to attach then ([`plan`]), attaching it ([`attach`]), and
//! reading what comes ([`attach::Probe`]), with the kernel's own names ([`kallsyms`]) and
//! log ([`kmsg`]); and what of it outlives the tracer ([`pins`]).
//!
//! It decodes nothing and judges nothing.

pub mod attach;
pub mod btf;
pub mod error;
pub mod kallsyms;
pub mod kmsg;
mod layout;
mod losses;
pub mod namer;
mod oom_report;
pub mod own_place;
pub mod pins;
pub mod plan;
pub mod scope;
pub mod support;
