//! What is known of a container or a unit, what is expected of a death in it, and the
//! comparison. Pure.

use oomtrace_scenarios::{
    check::{self, Death, Differences, Is},
    death,
};
use serde_json::Value;

/// What a field must be: known beforehand, or only when it runs.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    Is(Is),
    Value(Value),
}

impl From<Is> for Want {
    fn from(is: Is) -> Self {
        Self::Is(is)
    }
}

impl From<&str> for Want {
    fn from(text: &str) -> Self {
        Self::Value(text.into())
    }
}

impl From<&String> for Want {
    fn from(text: &String) -> Self {
        Self::Value(text.as_str().into())
    }
}

impl From<bool> for Want {
    fn from(value: bool) -> Self {
        Self::Value(value.into())
    }
}

impl From<u64> for Want {
    fn from(number: u64) -> Self {
        Self::Value(number.into())
    }
}

/// A container or a unit: what its cgroup's path has in it, and what each death in it says of it.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) key: String,
    fields: Vec<(String, Want)>,
}

impl Subject {
    /// A container, by its id.
    pub(crate) fn container(runtime: &str, id: &str) -> Self {
        Self::some_container(id).with("/container/runtime", runtime)
    }

    /// The same, where nobody can say whose container it is.
    pub(crate) fn some_container(id: &str) -> Self {
        let subject = Self {
            key: id.to_owned(),
            fields: Vec::new(),
        };
        subject
            .with("/container/id", id)
            .with("/container/cgroup", Is::There)
    }

    /// A unit, by its name.
    pub(crate) fn unit(name: &str) -> Self {
        let subject = Self {
            key: format!("/{name}"),
            fields: Vec::new(),
        };
        subject
            .with("/unit/name", name)
            .with("/unit/user", Is::Null)
            .with("/container", Is::Null)
    }

    pub(crate) fn with(mut self, path: &str, want: impl Into<Want>) -> Self {
        self.fields.push((path.to_owned(), want.into()));
        self
    }

    /// Whether a death is one of a process in it.
    pub(crate) fn holds(&self, record: &Value) -> bool {
        let has = |path| {
            let text = record.pointer(path).and_then(Value::as_str);
            text.is_some_and(|text| text.contains(&self.key))
        };
        record["type"] == "death" && (has("/victim/cgroup") || has("/victim/unified_cgroup"))
    }
}

/// A death that is to come.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    comm: String,
    pid: Option<i32>,
    row: Death,
    /// What may have come first instead.
    or: Option<Death>,
    fields: Vec<(String, Want)>,
    /// By its place among those expected with it.
    caused_by: Option<usize>,
    /// Its container goes on, and its runtime may say something of it in the end.
    is_open: bool,
}

impl Expected {
    pub(crate) fn new(comm: &str, row: Death) -> Self {
        Self {
            comm: comm.to_owned(),
            pid: None,
            row,
            or: None,
            fields: Vec::new(),
            caused_by: None,
            is_open: false,
        }
    }

    /// More may come of it.
    pub(crate) fn open(mut self) -> Self {
        self.is_open = true;
        self
    }

    /// Of a container's process 1, with which the container ends.
    pub(crate) fn init(comm: &str, pid: i32, row: Death) -> Self {
        Self::new(comm, row)
            .pid(pid)
            .with("/victim/role", "container_init")
            .with("/outcome/container_survived", false)
    }

    /// The same, where nobody could ask for its pid in time.
    pub(crate) fn init_of(comm: &str, row: Death) -> Self {
        Self::new(comm, row)
            .with("/victim/role", "container_init")
            .with("/victim/ns_pid", 1)
            .with("/outcome/container_survived", false)
    }

    /// Of another process of a container.
    pub(crate) fn child(comm: &str, row: Death) -> Self {
        Self::new(comm, row).with("/victim/role", "child")
    }

    /// With process 1 of its container, which is the one expected at this place.
    pub(crate) fn with_init(comm: &str, caused_by: usize) -> Self {
        const WITH_INIT: Death = Death::of("namespace_exit", "pid_namespace")
            .actor("kernel")
            .evidence(&["init_killed"]);
        Self::child(comm, WITH_INIT)
            .caused_by(caused_by)
            .with("/outcome/container_survived", false)
    }

    /// Two were about to do it, and this is how it looks when the other one is faster.
    pub(crate) fn or(mut self, row: Death) -> Self {
        self.or = Some(row);
        self
    }

    /// It is linked to the death that is expected at this place.
    pub(crate) fn caused_by(mut self, place: usize) -> Self {
        self.caused_by = Some(place);
        self
    }

    pub(crate) fn pid(mut self, pid: i32) -> Self {
        self.pid = Some(pid);
        self
    }

    pub(crate) fn with(mut self, path: &str, want: impl Into<Want>) -> Self {
        self.fields.push((path.to_owned(), want.into()));
        self
    }

    /// The name of the actor.
    pub(crate) fn by(self, name: &str) -> Self {
        self.with("/actor/name", name)
    }

    /// What the runtime says of the end of the container, and whether that is so.
    pub(crate) fn runtime_says(
        self,
        oom_killed: bool,
        exit_code: Option<i32>,
        agrees: bool,
    ) -> Self {
        let mut expected = self
            .with("/runtime_says/oom_killed", oom_killed)
            .with("/runtime_says/agrees", agrees)
            .with("/runtime_says/words", Is::There);
        if let Some(code) = exit_code {
            expected = expected.with("/runtime_says/exit_code", u64::from(code.unsigned_abs()));
        }
        if !agrees {
            expected = expected.with("/runtime_says/why", Is::There);
        }
        expected
    }

    fn fits(&self, record: &Value) -> bool {
        let pid = self.pid.is_none_or(|pid| record["victim"]["pid"] == pid);
        pid && record["victim"]["comm"] == self.comm
    }
}

impl From<i32> for Want {
    fn from(number: i32) -> Self {
        Self::Value(number.into())
    }
}

/// What the deaths in a subject are, against what was expected of them.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    pub(crate) differences: Vec<String>,
    /// The last revision of each death that was expected and came.
    pub(crate) deaths: Vec<Value>,
}

/// Whether somebody is only a runtime's own process at work.
pub(crate) fn is_helper(record: &Value) -> bool {
    record["victim"]["role"] == "runtime_helper"
}

pub(crate) fn compare(subject: &Subject, expected: &[Expected], records: &[Value]) -> Compared {
    let mut differences = Differences::default();
    let inside: Vec<&Value> = records
        .iter()
        .filter(|record| subject.holds(record) && !is_helper(record))
        .collect();
    let mut last_of: Vec<Option<&Value>> = Vec::new();
    let mut taken: Vec<&Value> = Vec::new();
    for one in expected {
        let first = inside
            .iter()
            .find(|record| one.fits(record) && !taken.contains(&&record["id"]));
        let Some(first) = first else {
            differences.add(format!("no death of {} arrived", one.comm));
            last_of.push(None);
            continue;
        };
        taken.push(&first["id"]);
        let revisions: Vec<&Value> = inside
            .iter()
            .filter(|record| record["id"] == first["id"])
            .copied()
            .collect();
        last_of.push(if one.is_open {
            death::the_open_one(&revisions, &mut differences)
        } else {
            death::the_one(&revisions, &mut differences)
        });
    }
    let mut more: Vec<&Value> = inside
        .iter()
        .filter(|record| !taken.contains(&&record["id"]))
        .copied()
        .collect();
    more.dedup_by_key(|record| &record["id"]);
    for record in more {
        differences.add(format!(
            "another death: {} of {}[{}]",
            record["cause"], record["victim"]["comm"], record["victim"]["pid"]
        ));
    }
    let mut all = differences.into_list();
    for (one, record) in expected.iter().zip(&last_of) {
        let Some(record) = record else { continue };
        let cause = one.caused_by.and_then(|index| last_of.get(index)).copied();
        let found = one_death(subject, one, record, cause.flatten());
        all.extend(
            found
                .into_iter()
                .map(|what| format!("{}: {what}", one.comm)),
        );
    }
    Compared {
        differences: all,
        deaths: last_of.into_iter().flatten().cloned().collect(),
    }
}

fn one_death(
    subject: &Subject,
    expected: &Expected,
    record: &Value,
    cause: Option<&Value>,
) -> Vec<String> {
    let as_row = |row: &Death| {
        let mut differences = Differences::default();
        check::row(row, record, &mut differences);
        differences.into_list()
    };
    let mut of_row = as_row(&expected.row);
    if expected.or.is_some_and(|or| as_row(&or).is_empty()) {
        of_row.clear();
    }
    let mut differences = Differences::default();
    for what in of_row {
        differences.add(what);
    }
    for (path, want) in subject.fields.iter().chain(&expected.fields) {
        match want {
            Want::Is(is) => check::check_fields(&[(path, *is)], record, &mut differences),
            Want::Value(value) => differences.expect(record, path, value.clone()),
        }
    }
    if expected.caused_by.is_some() {
        let id = cause.map(|cause| cause["id"].clone());
        differences.expect(record, "/caused_by", id.unwrap_or_default());
    }
    differences.into_list()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KILL: Death = Death::of("supervisor_kill", "kill").actor("runtime");

    fn record(pid: i32, comm: &str, id: &str) -> Value {
        json!({
            "type": "death", "schema": 1, "id": id, "revision": 1, "final": true, "node": "n",
            "boot_id": "b", "time": "2026-11-20T13:05:01Z", "boottime_ns": 5,
            "cause": "supervisor_kill", "mechanism": "kill", "summary": "s",
            "victim": {"pid": pid, "comm": comm, "cgroup": "/docker/abc", "ns_pid": 1,
                       "role": "container_init"},
            "actor": {"kind": "runtime", "name": "docker"}, "evidence": [], "advice": [],
            "container": {"runtime": "docker", "id": "abc", "cgroup": "/docker/abc"},
            "outcome": {"container_survived": false},
        })
    }

    fn differences(records: &[Value]) -> Vec<String> {
        let subject = Subject::container("docker", "abc");
        let expected = [Expected::init("sh", 7, KILL).by("docker")];
        compare(&subject, &expected, records).differences
    }

    #[test]
    fn the_same_is_no_difference() {
        assert_eq!(differences(&[record(7, "sh", "a")]), Vec::<String>::new());
    }

    #[test]
    fn each_field_is_looked_at() {
        for (path, value) in [
            ("/cause", json!("manual_kill")),
            ("/actor/name", json!("containerd")),
            ("/container/id", json!("abd")),
            ("/container/runtime", json!(null)),
            ("/victim/role", json!("child")),
            ("/victim/pid", json!(8)),
            ("/final", json!(false)),
        ] {
            let mut record = record(7, "sh", "a");
            *record.pointer_mut(path).unwrap() = value;
            assert!(!differences(&[record]).is_empty(), "{path}");
        }
    }

    #[test]
    fn either_of_two_rows_will_do() {
        const OTHER: Death = Death::of("manual_kill", "kill");
        let subject = Subject::container("docker", "abc");
        let records = [record(7, "sh", "a")];
        let found = |expected: Expected| compare(&subject, &[expected], &records).differences;
        let wrong = Expected::init("sh", 7, OTHER);
        assert_eq!(found(wrong.clone()).len(), 1);
        assert_eq!(found(wrong.clone().or(OTHER)).len(), 1);
        assert_eq!(found(wrong.or(KILL)), Vec::<String>::new());
    }

    #[test]
    fn one_too_many_and_one_elsewhere() {
        let mut helper = record(9, "runc:[2:INIT]", "c");
        helper["victim"]["role"] = json!("runtime_helper");
        let mut elsewhere = record(10, "sh", "d");
        elsewhere["victim"]["cgroup"] = json!("/docker/def");
        let mine = record(7, "sh", "a");
        let quiet = [mine.clone(), helper, elsewhere];
        assert_eq!(differences(&quiet), Vec::<String>::new());
        let found = differences(&[mine, record(8, "sleep", "b")]);
        assert_eq!(
            found,
            ["another death: \"supervisor_kill\" of \"sleep\"[8]"]
        );
    }

    #[test]
    fn a_child_names_the_death_of_its_init() {
        let subject = Subject::container("docker", "abc");
        let expected = [
            Expected::init("sh", 7, KILL),
            Expected::with_init("sleep", 0),
        ];
        let mut child = record(8, "sleep", "b");
        child["cause"] = json!("namespace_exit");
        child["mechanism"] = json!("pid_namespace");
        child["actor"] = json!({"kind": "kernel"});
        child["victim"]["role"] = json!("child");
        child["evidence"] = json!([{"code": "init_killed", "text": "t"}]);
        child["caused_by"] = json!("a");
        let init = record(7, "sh", "a");
        let found = compare(&subject, &expected, &[child.clone(), init.clone()]);
        assert_eq!(found.differences, Vec::<String>::new());
        child["caused_by"] = json!("b");
        let found = compare(&subject, &expected, &[child, init]);
        assert_eq!(found.differences.len(), 1);
    }
}
