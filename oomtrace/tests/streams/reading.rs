//! What was written can be read back: by this version, by a later one, and by an older one
//! as far as it goes.

use oomtrace::{
    provenance::record::{Cause, Death, Record},
    sinks::{Sink as _, json::Json},
};
use serde_json::{Value, json};

use crate::support::{recordings, run};

/// A death as the first version that could be read back wrote it. It stays as it is: what is
/// added to the record must not make this unreadable.
const FIRST: &str = include_str!("samples/death-1.json");

fn line(record: &Record) -> String {
    let mut line = Vec::new();
    Json(&mut line).write(record).unwrap();
    String::from_utf8(line).unwrap()
}

fn changed(change: impl FnOnce(&mut Value)) -> Result<Death, serde_json::Error> {
    let mut death: Value = serde_json::from_str(FIRST).unwrap();
    change(&mut death);
    serde_json::from_str(&death.to_string())
}

#[test]
fn every_record_is_the_same_when_it_is_written_again() {
    let mut seen = [0; 5];
    for recording in recordings::ALL.iter() {
        let ran = run(recording.events.iter().cloned());
        for record in ran.records() {
            let before = line(record);
            let read: Record = serde_json::from_str(&before).unwrap();
            assert_eq!(line(&read), before, "{}", recording.name);
            assert_eq!(&read, record, "{}", recording.name);
            seen[match record {
                Record::Started(_) => 0,
                Record::Death(_) => 1,
                Record::Gap(_) => 2,
                Record::Stopped(_) => 3,
                Record::Restart(_) => 4,
            }] += 1;
        }
    }
    assert!(seen[1] > 1000 && seen[0] > 5 && seen[3] > 5, "{seen:?}");
}

#[test]
fn what_an_older_version_wrote_is_read() {
    let death = changed(|_| ()).unwrap();
    assert_eq!(death.cause, Cause::CgroupOom);
    assert_eq!(death.victim.pid, 4242);
}

#[test]
fn fields_of_a_newer_version_are_passed_over() {
    let plain = changed(|_| ()).unwrap();
    let newer = changed(|death| {
        death["novelty"] = json!({"a": [1, 2]});
        death["victim"]["mood"] = json!("gloomy");
        death["oom"]["levels"][0]["colour"] = json!(3);
        death["schema"] = json!(2);
    })
    .unwrap();
    assert_eq!(Death { schema: 1, ..newer }, plain);
}

/// It is not taken for another: whoever reads it has to show it as it is stored.
#[test]
fn a_word_of_a_newer_version_is_no_other_word() {
    for pointer in ["/cause", "/mechanism", "/actor/kind", "/victim/role"] {
        let error = changed(|death| *death.pointer_mut(pointer).unwrap() = json!("boredom"));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("boredom"), "{pointer}: {error}");
    }
}
