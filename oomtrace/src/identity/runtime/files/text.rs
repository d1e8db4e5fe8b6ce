//! Text of others, cut to a sane length. Its characters stay as they are: who writes them
//! out escapes them.

use std::{collections::BTreeMap, path::Path};

use serde::de::DeserializeOwned;

use super::{FilesError, folder::Folder};

const MAX_TEXT_BYTES: usize = 1024;
const MAX_LABELS: usize = 64;

/// A name or the like; `None` for an empty one.
pub(super) fn text(mut text: String) -> Option<String> {
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    }
    (!text.is_empty()).then_some(text)
}

/// The same of a value in a map.
pub(super) fn of(map: &BTreeMap<String, String>, key: &str) -> Option<String> {
    map.get(key).cloned().and_then(text)
}

pub(super) fn labels(all: BTreeMap<String, String>) -> BTreeMap<String, String> {
    all.into_iter()
        .filter_map(|(key, value)| Some((text(key)?, text(value).unwrap_or_default())))
        .take(MAX_LABELS)
        .collect()
}

/// A file of JSON, an object at the top; `None`: not there.
pub(super) fn object<T: DeserializeOwned>(
    folder: &Folder,
    path: impl AsRef<Path>,
) -> Result<Option<T>, FilesError> {
    json(folder, path.as_ref(), b'{')
}

/// The same with a list at the top.
pub(super) fn list<T: DeserializeOwned>(
    folder: &Folder,
    path: impl AsRef<Path>,
) -> Result<Option<Vec<T>>, FilesError> {
    json(folder, path.as_ref(), b'[')
}

fn json<T: DeserializeOwned>(
    folder: &Folder,
    path: &Path,
    first: u8,
) -> Result<Option<T>, FilesError> {
    let Some(bytes) = folder.read(path)? else {
        return Ok(None);
    };
    let unusable = |why: String| FilesError::Unusable {
        path: folder.path().join(path),
        why,
    };
    // serde takes a list for an object whose fields all have defaults.
    if bytes.trim_ascii_start().first() != Some(&first) {
        return Err(unusable(
            "not JSON of the form that it should have".to_owned(),
        ));
    }
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| unusable(error.to_string()))
}
