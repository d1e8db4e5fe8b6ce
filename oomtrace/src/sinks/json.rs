//! One JSON object a line.

use std::io::{self, Write};

use super::Sink;
use crate::provenance::record::Record;

/// See the module.
#[derive(Debug)]
pub struct Json<W>(pub W);

impl<W: Write + Send> Sink for Json<W> {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.0.write_all(&line)?;
        self.0.flush()
    }
}
