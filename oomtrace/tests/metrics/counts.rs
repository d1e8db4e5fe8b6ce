//! What is counted, against the records themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use oomtrace::{
    event::entry::Entry,
    provenance::record::{Gap, Record, Role},
    sinks::{Sink as _, metrics::Metrics},
};

use crate::support::{Subject, in_container, oom_death, replay};

const RECORDINGS: [&str; 3] = ["6.12-v2-fentry", "5.10-v1-fentry", "7.2-v2-tracepoint"];

#[test]
fn every_death_of_a_recording_is_counted_once() {
    let mut seen = BTreeSet::new();
    for name in RECORDINGS {
        let mut subject = Subject::start();
        let records = replay(name, subject.sink.take().unwrap());
        let mut latest = BTreeMap::new();
        let (mut stops, mut ended) = (0, None);
        for record in records {
            match record {
                Record::Death(death) => {
                    latest.insert(death.id.clone(), death);
                }
                Record::Stopped(stopped) => ended = Some(stopped),
                _ => {}
            }
        }
        let is_helper = |role: Option<Role>| role == Some(Role::RuntimeHelper);
        let (mut causes, mut helpers, mut ooms) = (BTreeMap::<_, u32>::new(), 0, 0);
        for death in latest.values() {
            if is_helper(death.victim.role) {
                helpers += 1;
                continue;
            }
            *causes.entry(death.cause.name()).or_default() += 1;
            stops += u32::from(death.stop.is_some());
            ooms += u32::from(death.oom.as_ref().is_some_and(|oom| oom.role == "chosen"));
        }
        assert!(ooms > 0, "{name}");
        seen.extend(causes.keys().copied());
        let samples = subject.samples();
        for (cause, count) in &causes {
            let counted = samples.sum("oomtrace_deaths_total", &[("cause", cause)]);
            assert_eq!(counted, f64::from(*count), "{name}: {cause}");
        }
        let all = samples.sum("oomtrace_deaths_total", &[]);
        assert_eq!(all, f64::from(causes.values().sum::<u32>()), "{name}");
        assert_eq!(
            samples.one("oomtrace_runtime_helper_deaths_total"),
            f64::from(helpers)
        );
        assert_eq!(samples.sum("oomtrace_ooms_total", &[]), f64::from(ooms));
        let grace = samples.sum("oomtrace_grace_seconds_count", &[]);
        assert_eq!(grace, f64::from(stops), "{name}");
        let ended = ended.unwrap().deaths as f64;
        assert_eq!(all + f64::from(helpers), ended, "{name}");
        // Each was written; how long ago its signal was, the clock of another boot would say.
        assert_eq!(samples.one("oomtrace_record_latency_seconds_count"), ended);
    }
    assert!(seen.len() > 12, "{seen:?}");
    assert!(seen.contains("stop_timeout"), "{seen:?}");
}

#[test]
fn gaps_are_counted_by_what_is_certain() {
    let mut subject = Subject::start();
    let mut sink = subject.sink.take().unwrap();
    let (unseen, _) = Metrics::new(Arc::default(), None);
    let records = replay("7.2-v2-fentry", unseen);
    let started = records.iter().find_map(|record| match record {
        Record::Started(started) => Some(started.clone()),
        _ => None,
    });
    let gap = |kind: &str, lost, certain| {
        Record::Gap(Gap {
            schema: 1,
            lost,
            kind: kind.to_owned(),
            cpu: Some(0),
            from: String::new(),
            to: String::new(),
            from_boottime_ns: 1,
            to_boottime_ns: 2,
            certain,
            why: String::new(),
            inferred: Vec::new(),
        })
    };
    for record in [
        Record::Started(started.unwrap()),
        gap("sigkill", 5, true),
        gap("sigkill", 6, true),
        gap("exit", 3, false),
        gap("never heard of", 1, true),
    ] {
        sink.write(&record).unwrap();
    }
    let samples = subject.samples();
    let of = |name, kind| samples.sum(name, &[("kind", kind)]);
    assert_eq!(samples.one("oomtrace_gaps_total"), 4.0);
    assert_eq!(of("oomtrace_events_lost_total", "sigkill"), 11.0);
    assert_eq!(of("oomtrace_events_lost_total", "exit"), 0.0);
    assert_eq!(of("oomtrace_events_lost_total", "other"), 1.0);
    assert_eq!(of("oomtrace_events_maybe_lost_total", "exit"), 3.0);
    let hooks = [("oom", "fentry"), ("symbols", "true")];
    assert_eq!(samples.sum("oomtrace_hooks_info", &hooks), 1.0);
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(samples.sum("oomtrace_build_info", &version), 1.0);
}

#[test]
fn thousands_of_names_make_so_many_series_and_no_more() {
    const NAMES: usize = 5000;
    let mut subject = Subject::start();
    let mut sink = subject.sink.take().unwrap();
    let death = oom_death();
    for number in 0..NAMES {
        let namespace = format!("team-{}", number % 7);
        let record = in_container(&death, &namespace, &format!("job-{number}"));
        sink.write(&record).unwrap();
        sink.write(&record).unwrap(); // a last revision that comes again
    }
    let samples = subject.samples();
    let places: BTreeSet<_> = samples
        .of("oomtrace_deaths_total")
        .map(|(labels, _)| (labels["namespace"].clone(), labels["container"].clone()))
        .collect();
    // 1000, the host, and all others.
    assert_eq!(places.len(), 1002);
    let other = [("namespace", "(other)"), ("container", "(other)")];
    let overflow = samples.one("oomtrace_deaths_overflow_total");
    assert_eq!(samples.sum("oomtrace_deaths_total", &other), overflow);
    let all = samples.sum("oomtrace_deaths_total", &[]);
    assert_eq!(samples.sum("oomtrace_ooms_total", &[]), all);
    assert!(samples.0.len() < 2200, "{} series", samples.0.len());
}

#[test]
fn names_of_others_cannot_break_out_of_their_labels() {
    let mut subject = Subject::start();
    let mut sink = subject.sink.take().unwrap();
    let death = oom_death();
    let hostile = "a\"} 1\noomtrace_healthy 0\\\r\u{1b}[2J\u{202e}";
    let long = "ü".repeat(100_000);
    for name in [hostile, &long, "日本 \\n"] {
        sink.write(&in_container(&death, "shop", name)).unwrap();
    }
    let samples = subject.samples();
    let containers: Vec<&str> = samples
        .of("oomtrace_deaths_total")
        .filter(|(labels, _)| labels["namespace"] == "shop")
        .map(|(labels, _)| labels["container"].as_str())
        .collect();
    assert_eq!(containers.len(), 3);
    assert!(containers.contains(&"日本 \\n"));
    assert!(containers.contains(&"a\"} 1\\noomtrace_healthy 0\\\\r\\u{1b}[2J\\u{202e}"));
    assert!(containers.iter().all(|name| name.chars().count() <= 254));
    assert_eq!(samples.of("oomtrace_healthy").count(), 1);
}

#[test]
fn what_was_taken_from_the_kernel_is_counted_by_kind() {
    let subject = Subject::start();
    let record = |kind: u16| {
        let mut bytes = vec![0; 24];
        bytes[..2].copy_from_slice(&kind.to_ne_bytes());
        Entry::Kernel(bytes.into())
    };
    for kind in [1, 1, 3, 8, 900] {
        subject.vitals.took(&record(kind), 4);
    }
    subject.vitals.took(&Entry::Kernel(vec![1].into()), 4);
    // Those that are dying are as good as gone; those that hang are not.
    subject.vitals.set_hanging(2);
    let samples = subject.samples();
    let of = |kind| samples.sum("oomtrace_events_total", &[("kind", kind)]);
    assert_eq!((of("sigkill"), of("exit"), of("image")), (2.0, 1.0, 0.0));
    assert_eq!(samples.one("oomtrace_dying"), 2.0);
}

#[test]
fn a_store_says_what_it_keeps() {
    let samples = Subject::start().samples();
    assert_eq!(samples.one("oomtrace_store_deaths_total"), 41.0);
    assert_eq!(samples.one("oomtrace_store_waiting"), 3.0);
    assert_eq!(samples.one("oomtrace_store_dropped_total"), 2.0);
    assert_eq!(samples.one("oomtrace_store_errors_total"), 7.0);
}
