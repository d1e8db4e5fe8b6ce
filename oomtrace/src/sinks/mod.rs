//! What becomes of records: written for people ([`pretty`], and one death in full: [`story`],
//! [`html`]) and for programs ([`json`]), and counted ([`metrics`]).

mod chart;
pub mod html;
pub mod json;
mod lines;
pub mod metrics;
pub mod pretty;
mod revisions;
pub mod stdout;
pub mod story;
mod style;
mod together;

use std::io;

use crate::provenance::record::Record;

/// Takes records, one after the other.
pub trait Sink: Send {
    /// Takes a record. It is out when this returns, unless the sink holds it back to write it
    /// together with others.
    fn write(&mut self, record: &Record) -> io::Result<()>;

    /// Takes a record that the tracer before has taken already: for those who keep what that one
    /// may not have kept.
    fn write_again(&mut self, record: &Record) -> io::Result<()> {
        let _ = record;
        Ok(())
    }

    /// Time has passed, or the stream ends: what was held back can be written, and at the end
    /// must be.
    fn settle(&mut self, is_end: bool) -> io::Result<()> {
        let _ = is_end;
        Ok(())
    }
}
