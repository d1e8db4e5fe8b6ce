//! Deaths as a table that a person can read and review: a line for each revision, with
//! what matters of it. Those in a row that are alike share a line, and `n` counts them.

use std::collections::HashMap;

use oomtrace::{
    event::text::printable,
    provenance::record::{Death, Oom, Stop},
};
use serde::Serialize;

const COLUMNS: [&str; 12] = [
    "n",
    "victim",
    "rev",
    "cause",
    "mechanism",
    "exit",
    "sender",
    "actor",
    "stop",
    "oom",
    "caused_by",
    "evidence",
];

/// The table, with its header.
pub(crate) fn render(deaths: &[&Death]) -> String {
    let comms: HashMap<&str, &str> = deaths
        .iter()
        .map(|death| (death.id.as_str(), comm(death.victim.comm.as_ref())))
        .collect();
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    let all: Vec<_> = deaths.iter().map(|death| row(death, &comms)).collect();
    for alike in all.chunk_by(|one, next| one == next) {
        let mut row = alike[0].clone();
        row[0] = alike.len().to_string();
        rows.push(row);
    }
    let mut widths = [0; COLUMNS.len()];
    // Names are as their owners like them.
    for cell in rows.iter_mut().flatten() {
        *cell = printable(cell);
    }
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut table = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

fn row(death: &Death, comms: &HashMap<&str, &str>) -> [String; COLUMNS.len()] {
    let sender = death.sender.as_ref();
    let codes: Vec<&str> = death.evidence.iter().map(|e| &*e.code).collect();
    [
        String::new(),
        comm(death.victim.comm.as_ref()).to_owned(),
        format!(
            "{}{}",
            death.revision,
            if death.is_final { "" } else { "+" }
        ),
        word(&death.cause),
        word(&death.mechanism),
        death
            .outcome
            .map_or_else(none, |outcome| outcome.exit_code.to_string()),
        sender.map_or_else(none, |sender| comm(sender.comm.as_ref()).to_owned()),
        format!(
            "{}:{}",
            word(&death.actor.kind),
            death.actor.name.as_deref().unwrap_or("-")
        ),
        death.stop.as_ref().map_or_else(none, stop),
        death.oom.as_ref().map_or_else(none, oom),
        death.caused_by.as_deref().map_or_else(none, |id| {
            comms.get(id).copied().unwrap_or("unheard-of").to_owned()
        }),
        codes.join(","),
    ]
}

/// `SIGTERM*1 delivered blocked 1002ms same`
fn stop(stop: &Stop) -> String {
    format!(
        "{}*{} {} {} {}ms {}",
        stop.signal,
        stop.count,
        stop.result,
        stop.reason,
        stop.grace_ms,
        if stop.same_actor { "same" } else { "other" }
    )
}

/// `memcg /a/b 52428800 chosen by python3`
fn oom(oom: &Oom) -> String {
    format!(
        "{} {} {} {}{} by {}",
        oom.constraint.as_deref().unwrap_or("-"),
        oom.limit_cgroup.as_deref().unwrap_or("-"),
        oom.limit_bytes.map_or_else(none, |bytes| bytes.to_string()),
        oom.role,
        if oom.limit_lowered { " lowered" } else { "" },
        oom.trigger
            .as_ref()
            .map_or("-", |trigger| trigger.comm.as_str()),
    )
}

fn none() -> String {
    "-".to_owned()
}

fn comm(comm: Option<&String>) -> &str {
    comm.map_or("?", String::as_str)
}

/// A word of the record, as it stands there.
pub(crate) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => panic!("not a word: {other:?}"),
    }
}
