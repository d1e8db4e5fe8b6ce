//! The reader of recordings, and what it reads through the pipeline: nothing panics, every
//! line for programs is JSON, and nothing does anything to a terminal.
#![no_main]

use std::{
    io::{self, Write},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use oomtrace::{
    event::{entry::Entry, recording::Reader, text::is_hidden},
    pipeline::{NoLookups, Pipeline, Source},
    provenance::{Config, rules::Rules},
    sinks::{Sink, json::Json, pretty::Pretty},
};
use oomtrace_fuzz::{
    dice::{Dice, put_back},
    stream,
};

static RULES: LazyLock<Rules> =
    LazyLock::new(|| Rules::built_in().expect("the tables are in the binary"));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let new = stream::mutate(&data[..size], &mut Dice::new(seed));
    put_back(&new, data, max_size)
});

fuzz_target!(|recording: &[u8]| {
    let Ok(reader) = Reader::new(recording) else {
        return;
    };
    let mut damaged = false;
    let mut entries = Vec::new();
    for entry in reader {
        assert!(!damaged, "an entry after the damage");
        match entry {
            Ok(entry) => entries.push(entry),
            Err(_) => damaged = true,
        }
    }
    let again = stream::write(&entries).expect("what was read can be written");
    let reread: Result<Vec<Entry>, _> = Reader::new(&*again).expect("it begins well").collect();
    assert_eq!(reread.expect("it is whole"), entries);

    for source in [Source::Recorded, Source::Live] {
        run(&entries, source);
    }
});

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *bytes)
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn run(entries: &[Entry], source: Source) {
    let (json, pretty) = (Written::default(), Written::default());
    let sinks: Vec<Box<dyn Sink>> = vec![
        Box::new(Json(json.clone())),
        Box::new(Pretty::new(pretty.clone(), false)),
    ];
    let mut pipeline = Pipeline::new(source, NoLookups, Config::default(), RULES.clone(), sinks);
    for entry in entries {
        pipeline.push(entry).expect("memory can be written");
    }
    pipeline.finish().expect("nothing is recorded");

    let json = json.bytes();
    for line in json.split_inclusive(|byte| *byte == b'\n') {
        assert!(line.ends_with(b"\n"));
        let record: serde_json::Value = serde_json::from_slice(line).expect("it is JSON");
        assert!(record["type"].is_string(), "{record}");
    }
    for written in [json, pretty.bytes()] {
        let text = String::from_utf8(written).expect("it is UTF-8");
        assert!(!text.contains(|c| is_hidden(c) && c != '\n'), "{text:?}");
    }
}
