//! One JSON object a line.

use std::io::{self, Write};

use serde::Serialize as _;
use serde_json::ser::{CompactFormatter, Formatter};

use super::Sink;
use crate::{event::text::is_hidden, provenance::record::Record};

/// See the module.
#[derive(Debug)]
pub struct Json<W>(pub W);

/// A record on its line, without the line's end.
pub(crate) fn line(record: &Record) -> io::Result<String> {
    let mut line = Vec::new();
    record.serialize(&mut serde_json::Serializer::with_formatter(
        &mut line, Escaping,
    ))?;
    String::from_utf8(line).map_err(io::Error::other)
}

impl<W: Write + Send> Sink for Json<W> {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        let mut line = line(record)?;
        line.push('\n');
        self.0.write_all(line.as_bytes())?;
        self.0.flush()
    }
}

/// Writes `\uNNNN` for all that a terminal may obey, not only for what JSON wants escaped:
/// to a program it is the same string.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // Below that there are only the control characters, which JSON escapes.
        if fragment.is_ascii() && !fragment.contains('\u{7f}') {
            return CompactFormatter.write_string_fragment(writer, fragment);
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(is_hidden) {
            let (plain, from) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut hidden = from.chars();
            if let Some(c) = hidden.next() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = hidden.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}
