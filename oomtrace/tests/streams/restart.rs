//! A tracer that is killed in the middle of a stream, and another that goes on: together they tell
//! what one would have told.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use oomtrace::{
    event::entry::Entry,
    journal::{Bounds, Journal},
    pipeline::{NoLookups, Pipeline, Source},
    provenance::{
        Config,
        record::{Death, Record},
        rules::Rules,
    },
    sinks::Sink,
    store::Progress,
};

use crate::support::recordings;

/// What a store keeps: the last word about each death, and how it came to be.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Inside>>);

#[derive(Clone, Default)]
struct Inside {
    deaths: BTreeMap<String, Death>,
    /// All that came, in its order.
    came: Vec<Death>,
}

impl Told {
    fn of(deaths: BTreeMap<String, Death>) -> Self {
        let came = Vec::new();
        Self(Arc::new(Mutex::new(Inside { deaths, came })))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deaths(&self) -> BTreeMap<String, Death> {
        self.inside().deaths.clone()
    }

    /// How far a store has come that is always so many records behind.
    fn progress(&self, behind: usize) -> Progress {
        let came = self.inside().came.len();
        Progress {
            came: came as u64,
            stored: came.saturating_sub(behind) as u64,
        }
    }

    /// What that store holds.
    fn stored(&self, behind: usize) -> BTreeMap<String, Death> {
        let inside = self.inside();
        let stored = inside.came.len().saturating_sub(behind);
        let stored = inside.came.iter().take(stored);
        stored
            .map(|death| (death.id.clone(), death.clone()))
            .collect()
    }
}

impl Sink for Told {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        if let Record::Death(death) = record {
            let mut inside = self.inside();
            inside.came.push((**death).clone());
            let before = inside.deaths.insert(death.id.clone(), (**death).clone());
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

/// The first tracer ends after so many entries. Its store is so many records behind; `bounds`: those
/// of the journal.
fn interrupted(
    place: &Path,
    entries: &[Entry],
    at: usize,
    behind: usize,
    bounds: Bounds,
) -> BTreeMap<String, Death> {
    let path = place.join("deaths.db.events");
    let _ = fs::remove_file(&path);
    let (before, after) = entries.split_at(at);
    let first = Told::default();
    feed(&path, &first, before, (behind, bounds), None);
    // Whoever comes next writes to the same store.
    let stored = first.stored(behind);
    let told = Told::of(stored.clone());
    feed(&path, &told, after, (behind, bounds), Some(&stored));
    told.deaths()
}

/// One tracer. `stored`: what is stored when it goes on with what another has left.
fn feed(
    path: &Path,
    told: &Told,
    entries: &[Entry],
    (behind, bounds): (usize, Bounds),
    stored: Option<&BTreeMap<String, Death>>,
) {
    let (journal, recovered) = Journal::open_within(path, bounds).unwrap();
    let mut pipeline = pipeline(told);
    let store = told.clone();
    let progress = move || store.progress(behind);
    pipeline.keep_in(Arc::clone(&journal), Arc::new(progress));
    if let Some(stored) = stored {
        let rest = recovered.rest.into_iter().map(Entry::Kernel);
        let mut stored = |id: &str| {
            let death = stored.get(id)?;
            Some((death.revision, death.is_final))
        };
        pipeline
            .resume(&recovered.taken, rest, &mut stored, &mut || {})
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
    assert!(!journal.is_broken());
}

/// The same deaths, and the same is known of each.
fn assert_known(told: &BTreeMap<String, Death>, whole: &BTreeMap<String, Death>, what: &str) {
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

/// So many places in each stream.
const PLACES: usize = 12;

fn places(entries: &[Entry]) -> impl Iterator<Item = usize> {
    (1..PLACES).map(|place| place * entries.len() / PLACES)
}

#[test]
fn wherever_it_is_killed_the_same_deaths_are_told() {
    let place = tempfile::tempdir().unwrap();
    for recording in recordings::ALL.iter().step_by(4) {
        let entries = &recording.entries;
        let whole = whole(entries);
        for at in places(entries) {
            let told = interrupted(place.path(), entries, at, usize::MAX, Bounds::default());
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
    let place = tempfile::tempdir().unwrap();
    for recording in recordings::ALL.iter().skip(1).step_by(4) {
        let entries = &recording.entries;
        let whole = whole(entries);
        for at in places(entries) {
            let told = interrupted(place.path(), entries, at, 0, Bounds::default());
            let what = format!("{} at {at}", recording.name);
            assert_known(&told, &whole, &what);
        }
    }
}

/// A store that is never done, as in a storm, and a journal that is made smaller at every tick.
#[test]
fn what_is_left_out_of_a_journal_is_not_missing() {
    const SMALL: Bounds = Bounds {
        large_bytes: 1,
        most_bytes: 64 << 20,
    };
    let place = tempfile::tempdir().unwrap();
    for recording in recordings::ALL.iter().skip(2).step_by(4) {
        let entries = &recording.entries;
        let whole = whole(entries);
        for behind in [1, 3, 40] {
            for at in places(entries).step_by(2) {
                let told = interrupted(place.path(), entries, at, behind, SMALL);
                let what = format!("{} at {at}, {behind} behind", recording.name);
                assert_known(&told, &whole, &what);
            }
        }
    }
}
