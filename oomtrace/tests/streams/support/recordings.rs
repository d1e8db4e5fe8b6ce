//! The recordings of `tests/recordings`.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use flate2::read::GzDecoder;
use oomtrace::event::{
    Event,
    decode::Decoder,
    entry::Entry,
    recording::{Reader, RecordingError},
};

const SUFFIX: &str = ".rec.gz";

/// What one tracer recorded.
#[derive(Debug)]
pub(crate) struct Recording {
    /// Kernel, cgroup version and hooks: `6.12-v2-fentry`.
    pub name: String,
    pub bytes: Vec<u8>,
    pub entries: Vec<Entry>,
    pub events: Vec<Event>,
}

/// All recordings, by name.
pub(crate) static ALL: LazyLock<Vec<Recording>> = LazyLock::new(|| {
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(SUFFIX).map(str::to_owned))
        .collect();
    names.sort_unstable();
    names.into_iter().map(load).collect()
});

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings")
}

/// One of them.
pub(crate) fn named(name: &str) -> &'static Recording {
    match ALL.iter().find(|recording| recording.name == name) {
        Some(recording) => recording,
        None => panic!("there is no recording {name}"),
    }
}

fn load(name: String) -> Recording {
    let file = File::open(folder().join(format!("{name}{SUFFIX}"))).unwrap();
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    let entries = read(&bytes).unwrap();
    Recording {
        events: decode(&entries),
        name,
        bytes,
        entries,
    }
}

/// All entries of a recording.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Entry>, RecordingError> {
    Reader::new(bytes)?.collect()
}

/// The events of entries, each of which can be decoded.
pub(crate) fn decode(entries: &[Entry]) -> Vec<Event> {
    let mut decoder = Decoder::default();
    entries
        .iter()
        .filter_map(|entry| decoder.decode(entry).unwrap())
        .collect()
}
