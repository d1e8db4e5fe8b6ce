//! A tracer that is killed in the middle of a stream, and another that goes on: together they tell
//! what one would have told.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use oomtrace::{
    event::entry::Entry,
    journal::Journal,
    pipeline::{NoLookups, Pipeline, Source},
    provenance::{
        Config,
        record::{Death, Record},
        rules::Rules,
    },
    sinks::Sink,
};

use crate::support::recordings;

/// The last word about each death, as a store keeps it.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<BTreeMap<String, Death>>>);

impl Told {
    fn deaths(&self) -> BTreeMap<String, Death> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Sink for Told {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        if let Record::Death(death) = record {
            let mut deaths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let before = deaths.insert(death.id.clone(), (**death).clone());
            assert!(
                before.is_none_or(|before| !before.is_final && before.revision < death.revision),
                "{} is told again: revision {}",
                death.id,
                death.revision
            );
        }
        Ok(())
    }
}

fn pipeline(told: &Told) -> Pipeline<NoLookups> {
    Pipeline::new(
        Source::Recorded,
        NoLookups,
        Config::default(),
        Rules::built_in().unwrap(),
        vec![Box::new(told.clone())],
    )
}

fn whole(entries: &[Entry]) -> BTreeMap<String, Death> {
    let told = Told::default();
    let mut pipeline = pipeline(&told);
    for entry in entries {
        pipeline.push(entry).unwrap();
    }
    told.deaths()
}

/// A folder of its own, which goes with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("oomtrace-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The first tracer ends after so many entries. `is_stored`: its store has kept up with it, else it
/// has nothing.
fn interrupted(
    place: &Place,
    entries: &[Entry],
    at: usize,
    is_stored: bool,
) -> BTreeMap<String, Death> {
    let path = place.0.join("deaths.db.events");
    let _ = fs::remove_file(&path);
    let (before, after) = entries.split_at(at);
    let first = Told::default();
    feed(&path, &first, before, is_stored, None);
    // Whoever comes next writes to the same store.
    let stored = if is_stored {
        first.deaths()
    } else {
        BTreeMap::new()
    };
    let told = Told(Arc::new(Mutex::new(stored.clone())));
    feed(&path, &told, after, is_stored, Some(&stored));
    told.deaths()
}

/// One tracer. `stored`: what is stored when it goes on with what another has left.
fn feed(
    path: &std::path::Path,
    told: &Told,
    entries: &[Entry],
    is_stored: bool,
    stored: Option<&BTreeMap<String, Death>>,
) {
    let (journal, recovered) = Journal::open(path).unwrap();
    let mut pipeline = pipeline(told);
    pipeline.keep_in(Arc::clone(&journal), Arc::new(move || is_stored));
    if let Some(stored) = stored {
        let rest = recovered.rest.into_iter().map(Entry::Kernel);
        let mut stored = |id: &str| {
            let death = stored.get(id)?;
            Some((death.revision, death.is_final))
        };
        pipeline
            .resume(&recovered.taken, rest, &mut stored)
            .unwrap();
        pipeline.tell_resumed().unwrap();
    }
    for entry in entries {
        if let Entry::Kernel(record) = entry {
            journal.record(record);
        }
        pipeline.push(entry).unwrap();
        if matches!(entry, Entry::Tick(_)) {
            pipeline.tidy(false, &mut || None);
        }
    }
}

/// So many places in each stream.
const PLACES: usize = 12;

fn places(entries: &[Entry]) -> impl Iterator<Item = usize> {
    (1..PLACES).map(|place| place * entries.len() / PLACES)
}

#[test]
fn wherever_it_is_killed_the_same_deaths_are_told() {
    let place = Place::new("streams-restart");
    for recording in recordings::ALL.iter().step_by(4) {
        let entries = &recording.entries;
        let whole = whole(entries);
        for at in places(entries) {
            let told = interrupted(&place, entries, at, false);
            let what = format!("{} at {at}", recording.name);
            assert!(told.keys().eq(whole.keys()), "{what}");
            for (told, whole) in told.values().zip(whole.values()) {
                let words = |death: &Death| {
                    let codes = death.evidence.iter().map(|evidence| evidence.code.clone());
                    (
                        death.cause,
                        death.is_final,
                        death.summary.clone(),
                        death.caused_by.clone(),
                        death.outcome,
                        codes.collect::<Vec<_>>(),
                    )
                };
                assert_eq!(words(told), words(whole), "{what}: {}", whole.id);
            }
        }
    }
}

#[test]
fn what_is_stored_is_not_told_again_and_nothing_is_missing() {
    let place = Place::new("streams-stored");
    for recording in recordings::ALL.iter().skip(1).step_by(4) {
        let entries = &recording.entries;
        let whole = whole(entries);
        for at in places(entries) {
            let told = interrupted(&place, entries, at, true);
            let what = format!("{} at {at}", recording.name);
            assert!(told.keys().eq(whole.keys()), "{what}");
            for (told, whole) in told.values().zip(whole.values()) {
                assert_eq!(
                    (told.cause, told.mechanism, told.is_final, told.outcome),
                    (whole.cause, whole.mechanism, whole.is_final, whole.outcome),
                    "{what}: {}",
                    whole.id
                );
            }
        }
    }
}
