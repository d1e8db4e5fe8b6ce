//! What real kernels sent: the recordings of `tests/recordings`.

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
    sync::LazyLock,
};

use bytes::Bytes;
use flate2::read::GzDecoder;
use oomtrace::event::{entry::Entry, recording::Reader};

/// The entries of each recording.
///
/// # Panics
///
/// Where the recordings cannot be read.
pub static STREAMS: LazyLock<Vec<Vec<Entry>>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings");
    let files = fs::read_dir(&folder).expect("the recordings are in the tree");
    let mut paths: Vec<_> = files
        .map(|file| file.expect("a folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "gz"))
        .collect();
    paths.sort_unstable();
    paths.iter().map(|path| load(path)).collect()
});

/// Every record of the kernel's in them.
pub static RECORDS: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    let entries = STREAMS.iter().flatten();
    entries
        .filter_map(|entry| match entry {
            Entry::Kernel(record) => Some(record.clone()),
            _ => None,
        })
        .collect()
});

fn load(path: &Path) -> Vec<Entry> {
    let file = File::open(path).expect("a recording can be opened");
    let mut bytes = Vec::new();
    let read = GzDecoder::new(file).read_to_end(&mut bytes);
    read.expect("a recording can be unpacked");
    let reader = Reader::new(&*bytes).expect("it is a recording");
    reader.map(|entry| entry.expect("it is whole")).collect()
}
