//! What writes records: for people ([`pretty`]), for programs ([`json`]).

pub mod json;
pub mod pretty;

use std::io;

use crate::provenance::record::Record;

/// Takes records, one after the other.
pub trait Sink: Send {
    /// Writes a record; it is out when this returns.
    fn write(&mut self, record: &Record) -> io::Result<()>;
}
