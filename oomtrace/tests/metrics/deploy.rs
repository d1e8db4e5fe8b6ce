//! Dashboard and rules name only what there is. Whether they are right is for promtool to say.

use std::{collections::BTreeSet, fs, path::Path};

use oomtrace::{
    provenance::record::Record,
    sinks::{Sink as _, metrics::Metrics},
};
use serde_json::Value;

use crate::support::{Subject, folder, in_container, oom_death, replay};

/// Names of all series that are ever served.
fn served() -> BTreeSet<String> {
    let mut subject = Subject::start();
    let mut sink = subject.sink.take().unwrap();
    let (unseen, _) = Metrics::new(subject.vitals.clone(), None);
    for record in replay("6.12-v2-fentry", unseen) {
        if matches!(record, Record::Started(_)) {
            sink.write(&record).unwrap();
        }
    }
    sink.write(&in_container(&oom_death(), "shop", "web"))
        .unwrap();
    let samples = subject.samples();
    samples.0.into_iter().map(|(name, _, _)| name).collect()
}

/// The words of a text that are names of ours.
fn named(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c)))
        .filter(|word| word.starts_with("oomtrace_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(folder().join(Path::new("deploy")).join(path)).unwrap()
}

fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if matches!(name.as_str(), "expr" | "definition" | "query") => {
                        found.push(text.to_owned());
                    }
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn all_that_rules_name_is_served() {
    let served = served();
    for file in [
        "prometheus/oomtrace.rules.yml",
        "prometheus/oomtrace.rules.test.yml",
    ] {
        let named = named(&read(file));
        assert!(named.len() > 8, "{file}: {named:?}");
        let unknown: Vec<_> = named.difference(&served).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn the_dashboard_shows_what_is_served_and_leaves_little_out() {
    let dashboard: Value = serde_json::from_str(&read("grafana/oomtrace.json")).unwrap();
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    let named = named(&found.join(" "));
    let served = served();
    let unknown: Vec<_> = named.difference(&served).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    // Sums and counts of histograms come with their buckets.
    let left_out: Vec<_> = served
        .difference(&named)
        .filter(|name| name.starts_with("oomtrace_"))
        .filter(|name| !name.ends_with("_sum") && !name.ends_with("_count"))
        .collect();
    assert!(left_out.is_empty(), "{left_out:?}");
}

#[test]
fn panels_lie_side_by_side() {
    let dashboard: Value = serde_json::from_str(&read("grafana/oomtrace.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{title}");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{title} lies on another");
            }
        }
        if panel["type"] != "row" {
            assert!(!panel["targets"].as_array().unwrap().is_empty(), "{title}");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    assert!(panels.len() > 12);
}
