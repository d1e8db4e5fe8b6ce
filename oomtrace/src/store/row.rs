//! What is stored of a record: its JSON as a whole, and beside it what is searched.

use std::io;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::now_ns;
use crate::{
    provenance::record::{Cause, Death, Gap, Record, Role, Started, Stopped},
    sinks::json,
};

/// What most people want to see of a search, the higher the more.
pub(super) mod weight {
    /// A container runtime's own helper: noise.
    pub(in super::super) const HELPER: i64 = 0;
    /// It went along with another: with its namespace, its group, its parent.
    pub(in super::super) const ALONG: i64 = 1;
    /// A death in its own right.
    pub(in super::super) const OWN: i64 = 2;
    /// With it, a container or a unit ended.
    pub(in super::super) const MAIN: i64 = 3;
}

/// Something to store.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Death(Box<Row>),
    Restart(Again),
    Started(Begin),
    Gap(Lost),
    Stopped(End),
}

/// A death.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) revision: u32,
    pub(super) is_final: bool,
    pub(super) time_ns: i64,
    pub(super) boottime_ns: u64,
    pub(super) weight: i64,
    pub(super) boot_id: String,
    pub(super) cause: String,
    pub(super) mechanism: String,
    pub(super) role: Option<String>,
    pub(super) pid: u32,
    pub(super) comm: Option<String>,
    pub(super) container: Option<String>,
    pub(super) container_id: Option<String>,
    pub(super) pod: Option<String>,
    pub(super) pod_uid: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) unit: Option<String>,
    pub(super) slice: Option<String>,
    pub(super) cgroup: Option<String>,
    pub(super) unified_cgroup: Option<String>,
    pub(super) caused_by: Option<String>,
    pub(super) json: String,
}

/// What a death ended runs again.
#[derive(Clone, Debug)]
pub(super) struct Again {
    /// The id of that death.
    pub(super) of: String,
    pub(super) time_ns: i64,
    pub(super) json: String,
}

/// The tracer watches from here.
#[derive(Clone, Debug)]
pub(super) struct Begin {
    pub(super) boot_id: String,
    /// Since when, without a pause.
    pub(super) time_ns: i64,
    /// Another tracer began then, and this one goes on.
    pub(super) is_resumed: bool,
    /// When this tracer began to.
    pub(super) seen_ns: i64,
    pub(super) json: String,
}

/// It has missed something.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    pub(super) from_ns: i64,
    pub(super) to_ns: i64,
    pub(super) certain: bool,
    pub(super) count: u64,
    pub(super) json: String,
}

/// It has ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) time_ns: i64,
    pub(super) json: String,
}

impl Item {
    pub(super) fn of(record: &Record) -> io::Result<Self> {
        let json = json::line(record)?;
        Ok(match record {
            Record::Death(death) => Self::Death(Box::new(row(death, json))),
            Record::Restart(restart) => Self::Restart(Again {
                of: restart.of.clone(),
                time_ns: time_ns(&restart.time),
                json,
            }),
            Record::Started(started) => Self::Started(begin(started, json)),
            Record::Gap(gap) => Self::Gap(lost(gap, json)),
            Record::Stopped(stopped) => Self::Stopped(end(stopped, json)),
        })
    }

    /// Memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        let (json, rest) = match self {
            Self::Death(row) => (&row.json, size_of::<Row>() + 512),
            Self::Restart(again) => (&again.json, again.of.len()),
            Self::Started(begin) => (&begin.json, 0),
            Self::Gap(lost) => (&lost.json, 0),
            Self::Stopped(end) => (&end.json, 0),
        };
        json.len() + rest + size_of::<Self>()
    }
}

/// Whether what is stored of a death (its revision, and whether that is the last) says as much as
/// another revision. One that was put together again from a journal may count its revisions anew.
pub(crate) fn says_as_much(stored: (u32, bool), revision: u32, is_final: bool) -> bool {
    let (before, was_final) = stored;
    was_final || before >= revision && !is_final
}

/// A record's time; now, where that is not to be had.
fn time_ns(text: &str) -> i64 {
    parse_time(text).unwrap_or_else(now_ns)
}

/// RFC 3339 in nanoseconds since 1970.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos()).ok()
}

/// A word as it stands in the JSON.
fn word(value: impl serde::Serialize) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Some(word),
        _ => None,
    }
}

fn weight(death: &Death) -> i64 {
    let is_main = death.victim.is_main();
    let in_group = death.oom.as_ref().is_some_and(|oom| oom.role == "group");
    match (death.victim.role, death.cause) {
        (Some(Role::RuntimeHelper), _) => weight::HELPER,
        (Some(Role::ContainerInit), _) => weight::MAIN,
        // With the init of a namespace all its processes go, units' main ones among them.
        (_, Cause::NamespaceExit) => weight::ALONG,
        _ if is_main => weight::MAIN,
        (_, Cause::ParentDeath | Cause::TracerExit) if death.caused_by.is_some() => weight::ALONG,
        _ if in_group && death.caused_by.is_some() => weight::ALONG,
        _ => weight::OWN,
    }
}

fn row(death: &Death, json: String) -> Row {
    let container = death.container.as_ref();
    let unit = death.unit.as_ref();
    Row {
        id: death.id.clone(),
        revision: death.revision,
        is_final: death.is_final,
        time_ns: time_ns(&death.time),
        boottime_ns: death.boottime_ns,
        weight: weight(death),
        boot_id: death.boot_id.clone(),
        cause: death.cause.name().to_owned(),
        mechanism: word(death.mechanism).unwrap_or_default(),
        role: death.victim.role.and_then(word),
        pid: death.victim.pid,
        comm: death.victim.comm.clone(),
        container: container.and_then(|container| container.name.clone()),
        container_id: container.map(|container| container.id.clone()),
        pod: container.and_then(|container| container.pod.clone()),
        pod_uid: container.and_then(|container| container.pod_uid.clone()),
        namespace: container.and_then(|container| container.namespace.clone()),
        unit: unit.map(|unit| unit.name.clone()),
        slice: unit.and_then(|unit| unit.slice.clone()),
        cgroup: death.victim.cgroup.clone(),
        unified_cgroup: death.victim.unified_cgroup.clone(),
        caused_by: death.caused_by.clone(),
        json,
    }
}

fn begin(started: &Started, json: String) -> Begin {
    Begin {
        boot_id: started.boot_id.clone(),
        time_ns: time_ns(started.tracing_since.as_ref().unwrap_or(&started.time)),
        is_resumed: started.tracing_since.is_some(),
        seen_ns: time_ns(&started.time),
        json,
    }
}

fn lost(gap: &Gap, json: String) -> Lost {
    Lost {
        from_ns: time_ns(&gap.from),
        to_ns: time_ns(&gap.to),
        certain: gap.certain,
        count: gap.lost,
        json,
    }
}

fn end(stopped: &Stopped, json: String) -> End {
    End {
        time_ns: time_ns(&stopped.time),
        json,
    }
}
