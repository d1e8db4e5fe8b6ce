//! What container runtimes know of their containers.

pub mod files;
