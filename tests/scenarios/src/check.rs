//! What a death record is held against: the fixture's own report and the words that a
//! scenario's row names. Pure: values in, a list of differences out.

use oomtrace_fixtures::{Process, Report};
use serde_json::Value;

use crate::{death, kept};

/// What a record said and should not have, or the other way round.
#[derive(Debug, Default)]
pub(crate) struct Differences(Vec<String>);

impl Differences {
    pub(crate) fn add(&mut self, difference: String) {
        self.0.push(difference);
    }

    pub(crate) fn into_list(self) -> Vec<String> {
        self.0
    }

    /// An absent value is the same as null.
    pub(crate) fn expect(&mut self, record: &Value, path: &str, wanted: impl Into<Value>) {
        let wanted = wanted.into();
        let found = record.pointer(path).unwrap_or(&Value::Null);
        if *found != wanted {
            self.add(format!("{path} is {found}, not {wanted}"));
        }
    }

    pub(crate) fn one_of(&mut self, record: &Value, path: &str, wanted: &[&str]) {
        let found = record.pointer(path).unwrap_or(&Value::Null);
        if !found.as_str().is_some_and(|found| wanted.contains(&found)) {
            self.add(format!("{path} is {found}, none of {}", wanted.join(", ")));
        }
    }

    pub(crate) fn within(&mut self, record: &Value, path: &str, least: u64, most: u64) {
        let found = record.pointer(path).unwrap_or(&Value::Null);
        if !found
            .as_u64()
            .is_some_and(|found| (least..=most).contains(&found))
        {
            self.add(format!("{path} is {found}, not from {least} to {most}"));
        }
    }
}

/// What a scenario wants of a death, beside what the fixture's own report says of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death {
    cause: &'static str,
    mechanism: &'static str,
    /// `None`: any, but one must be named.
    actor: Option<&'static str>,
    /// `stop.result`, for those that had a stop request.
    stop_result: Option<&'static str>,
    /// Codes that must stand in `evidence`.
    evidence: &'static [&'static str],
    /// Further fields of the record.
    fields: &'static [(&'static str, Is)],
    /// The same two of the first revision, where there must be more than one.
    first: Option<First>,
}

/// What the first of several revisions says.
#[derive(Clone, Copy, Debug)]
struct First {
    evidence: &'static [&'static str],
    fields: &'static [(&'static str, Is)],
}

/// What a field of a record must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Is {
    Text(&'static str),
    /// Text with these words in it.
    Saying(&'static str),
    Bool(bool),
    Number(u64),
    /// A number that is not less.
    AtLeast(u64),
    Null,
    /// Anything but null.
    There,
}

impl Death {
    pub(crate) const fn of(cause: &'static str, mechanism: &'static str) -> Self {
        Self {
            cause,
            mechanism,
            actor: None,
            stop_result: None,
            evidence: &[],
            fields: &[],
            first: None,
        }
    }

    /// The kind of the actor.
    pub(crate) const fn actor(mut self, kind: &'static str) -> Self {
        self.actor = Some(kind);
        self
    }

    /// What became of the request to stop.
    pub(crate) const fn stop(mut self, result: &'static str) -> Self {
        self.stop_result = Some(result);
        self
    }

    /// Codes that must stand in `evidence`; others may.
    pub(crate) const fn evidence(mut self, codes: &'static [&'static str]) -> Self {
        self.evidence = codes;
        self
    }

    /// Further fields, by their JSON pointer.
    pub(crate) const fn fields(mut self, fields: &'static [(&'static str, Is)]) -> Self {
        self.fields = fields;
        self
    }

    /// Written before the victim's end, too: what that first revision says.
    pub(crate) const fn first(
        mut self,
        evidence: &'static [&'static str],
        fields: &'static [(&'static str, Is)],
    ) -> Self {
        self.first = Some(First { evidence, fields });
        self
    }
}

/// How far measures may be off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slack {
    pub(crate) ms: u64,
}

/// Holds the first revision of a death against what is wanted of it.
pub(crate) fn first_revision(wanted: &Death, record: &Value) -> Vec<String> {
    let mut differences = Differences::default();
    if let Some(First { evidence, fields }) = wanted.first {
        death::keeps_contract(record, &mut differences);
        differences.expect(record, "/cause", wanted.cause);
        differences.expect(record, "/revision", 1);
        differences.expect(record, "/final", false);
        check_codes(evidence, record, &mut differences);
        check_fields(fields, record, &mut differences);
    }
    let list = differences.into_list();
    list.into_iter()
        .map(|what| format!("first revision: {what}"))
        .collect()
}

/// Holds the last revision of a death against what is known of it.
pub(crate) fn death(
    wanted: &Death,
    report: &Report,
    victim: &Process,
    record: &Value,
    slack: Slack,
) -> Vec<String> {
    let mut differences = Differences::default();
    death::keeps_contract(record, &mut differences);
    differences.expect(record, "/cause", wanted.cause);
    differences.expect(record, "/mechanism", wanted.mechanism);
    if let Some(kind) = wanted.actor {
        differences.expect(record, "/actor/kind", kind);
    }
    check_victim(report, victim, record, &mut differences);
    check_sender(report, record, &mut differences);
    check_stop(wanted, report, record, slack, &mut differences);
    check_oom(wanted, report, record, &mut differences);
    check_codes(wanted.evidence, record, &mut differences);
    check_fields(wanted.fields, record, &mut differences);
    differences.into_list()
}

fn check_victim(report: &Report, victim: &Process, record: &Value, differences: &mut Differences) {
    differences.expect(record, "/victim/pid", victim.pid);
    differences.expect(record, "/victim/comm", victim.comm.as_str());
    // Beside the memory controller's hierarchy there may be a v2 one without it.
    let unified = report.cgroup_version == Some(2) && !record["victim"]["unified_cgroup"].is_null();
    let field = if unified {
        "/victim/unified_cgroup"
    } else {
        "/victim/cgroup"
    };
    if report.cgroup.is_some() {
        differences.expect(record, field, report.cgroup.as_deref().map(kept::path));
    }
    kept::check(report, victim, record, differences);
    differences.expect(record, "/outcome/exit_code", 137);
    differences.expect(record, "/outcome/signal", report.signal);
}

fn check_sender(report: &Report, record: &Value, differences: &mut Differences) {
    match &report.sender {
        Some(sender) => {
            differences.expect(record, "/sender/pid", sender.pid);
            differences.expect(record, "/sender/comm", sender.comm.as_str());
            if let Some(argv) = &sender.argv {
                differences.expect(record, "/sender/argv", argv.clone());
            }
            // A fixture's processes have no terminal unless it gives them one; a login
            // uid they may have where it cannot be taken from them.
            differences.expect(record, "/sender/tty", report.sender_tty.as_deref());
            if let Some(uid) = report.sender_login_uid {
                differences.expect(record, "/sender/loginuid", uid);
            }
        }
        // Nobody sent a signal.
        None if report.signal.is_none() => differences.expect(record, "/sender", Value::Null),
        // The fixture does not know, or it is the task that the OOM killer ran in.
        None => {}
    }
}

fn check_stop(
    wanted: &Death,
    report: &Report,
    record: &Value,
    slack: Slack,
    differences: &mut Differences,
) {
    /// Less than a second by no more than two clocks and a timer may differ.
    const LEAST_GRACE_MS: u64 = 950;
    const PLANNED_GRACE_MS: u64 = 1000;
    let Some(stop) = &report.stop else {
        differences.expect(record, "/stop", Value::Null);
        return;
    };
    differences.expect(record, "/stop/signal", stop.signal.as_str());
    differences.expect(record, "/stop/result", wanted.stop_result);
    differences.within(record, "/stop/count", 1, u64::MAX);
    if let Some(sender) = stop.sender.as_ref().or(report.sender.as_ref()) {
        differences.expect(record, "/stop/sender/pid", sender.pid);
        differences.expect(record, "/stop/sender/comm", sender.comm.as_str());
    }
    // Where the fixture took the time itself, its measure is the mark.
    let planned_ms = stop.grace_ms().unwrap_or(PLANNED_GRACE_MS);
    let tolerance_ms = if stop.grace_ms().is_some() {
        slack.ms / 10
    } else {
        slack.ms
    };
    differences.within(
        record,
        "/stop/grace_ms",
        LEAST_GRACE_MS.max(planned_ms.saturating_sub(tolerance_ms)),
        planned_ms + tolerance_ms,
    );
}

fn check_oom(wanted: &Death, report: &Report, record: &Value, differences: &mut Differences) {
    match wanted.cause {
        "cgroup_oom" => {
            differences.expect(record, "/oom/constraint", "memcg");
            differences.expect(record, "/oom/limit_cgroup", report.limit_cgroup.as_deref());
            differences.expect(record, "/oom/limit_bytes", report.limit_bytes);
            let usage = report.usage_bytes.or(report.limit_bytes);
            let usage = usage.unwrap_or_default();
            differences.within(
                record,
                "/oom/usage_bytes",
                usage / 100 * 90,
                usage / 100 * 101,
            );
        }
        "global_oom" => {
            differences.expect(record, "/oom/constraint", "none");
            differences.expect(record, "/oom/limit_cgroup", Value::Null);
        }
        "numa_oom" => differences.expect(record, "/oom/limit_cgroup", Value::Null),
        _ => differences.expect(record, "/oom", Value::Null),
    }
    if let Some(trigger) = &report.trigger {
        differences.expect(record, "/oom/trigger/pid", trigger.pid);
        differences.expect(record, "/oom/trigger/comm", trigger.comm.as_str());
        let role = match wanted.mechanism {
            "oom_group" => "group",
            _ => "chosen",
        };
        differences.expect(record, "/oom/role", role);
    }
}

fn check_codes(evidence: &[&str], record: &Value, differences: &mut Differences) {
    for code in evidence {
        let there = record["evidence"]
            .as_array()
            .is_some_and(|all| all.iter().any(|evidence| evidence["code"] == *code));
        if !there {
            differences.add(format!("no evidence {code}: {}", record["evidence"]));
        }
    }
}

fn check_fields(fields: &[(&str, Is)], record: &Value, differences: &mut Differences) {
    for (path, wanted) in fields {
        let found = record.pointer(path).unwrap_or(&Value::Null);
        let fits = match wanted {
            Is::Text(text) => found == text,
            Is::Saying(words) => found.as_str().is_some_and(|text| text.contains(words)),
            Is::Bool(value) => found == value,
            Is::Number(number) => found == number,
            Is::AtLeast(least) => found.as_u64().is_some_and(|found| found >= *least),
            Is::Null => found.is_null(),
            Is::There => !found.is_null(),
        };
        if !fits {
            differences.add(format!("{path} is {found}, not {wanted:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use oomtrace_fixtures::{Status, Stop};
    use serde_json::json;

    use super::*;

    const SLACK: Slack = Slack { ms: 1000 };

    fn process(pid: i32, comm: &str) -> Process {
        Process {
            pid,
            comm: comm.into(),
            argv: None,
        }
    }

    fn record() -> Value {
        json!({
            "type": "death", "schema": 1, "id": "b-7-1", "revision": 1, "final": true,
            "node": "n", "boot_id": "b", "time": "2026-11-20T13:05:01Z", "boottime_ns": 5,
            "cause": "app_kill", "mechanism": "kill", "summary": "s",
            "victim": {"pid": 7, "comm": "fx-worker"},
            "sender": {"pid": 6, "comm": "fx", "argv": ["fx", "a"], "tty": null,
                       "loginuid": 1000},
            "actor": {"kind": "application"}, "stop": null, "oom": null,
            "outcome": {"exit_code": 137, "signal": 9},
            "evidence": [{"code": "c", "text": "t"}], "advice": [],
        })
    }

    fn report() -> Report {
        Report {
            victim: Some(process(7, "fx-worker")),
            sender: Some(Process {
                argv: Some(vec!["fx".into(), "a".into()]),
                ..process(6, "fx")
            }),
            sender_login_uid: Some(1000),
            signal: Some(9),
            status: Some(Status {
                signal: Some(9),
                code: None,
            }),
            ..Report::new("app-kill")
        }
    }

    const APP_KILL: Death = Death::of("app_kill", "kill").actor("application");

    fn differences(wanted: &Death, report: &Report, record: &Value) -> Vec<String> {
        death(wanted, report, &process(7, "fx-worker"), record, SLACK)
    }

    #[test]
    fn the_same_is_no_difference() {
        let none = Vec::<String>::new();
        assert_eq!(differences(&APP_KILL, &report(), &record()), none);
    }

    #[test]
    fn each_field_is_looked_at() {
        for (path, value) in [
            ("/schema", json!(2)),
            ("/cause", json!("manual_kill")),
            ("/mechanism", json!("tgkill")),
            ("/actor/kind", json!("human")),
            ("/victim/pid", json!(8)),
            ("/victim/comm", json!("fx")),
            ("/sender/pid", json!(null)),
            ("/sender/argv", json!(["fx"])),
            ("/sender/tty", json!("pts/0")),
            ("/sender/loginuid", json!(1001)),
            ("/outcome/exit_code", json!(9)),
            ("/outcome/signal", json!(null)),
            ("/stop", json!({"signal": "SIGTERM"})),
            ("/oom", json!({})),
            ("/summary", json!("")),
            ("/evidence", json!([{"code": "c"}])),
            ("/advice", json!(null)),
        ] {
            let mut record = record();
            if let Some(field) = record.pointer_mut(path) {
                *field = value;
            }
            let found = differences(&APP_KILL, &report(), &record);
            assert_eq!(found.len(), 1, "{path}: {found:?}");
        }
    }

    #[test]
    fn evidence_and_further_fields_are_looked_at() {
        let wanted = APP_KILL.evidence(&["c"]).fields(&[
            ("/actor/kind", Is::Text("application")),
            ("/summary", Is::Saying("s")),
            ("/final", Is::Bool(true)),
            ("/stop", Is::Null),
            ("/outcome", Is::There),
            ("/outcome/exit_code", Is::AtLeast(137)),
            ("/outcome/signal", Is::Number(9)),
        ]);
        let none = Vec::<String>::new();
        assert_eq!(differences(&wanted, &report(), &record()), none);
        let wanted = APP_KILL.evidence(&["other"]).fields(&[
            ("/victim/comm", Is::Text("other")),
            ("/summary", Is::Saying("other")),
            ("/final", Is::Bool(false)),
            ("/outcome", Is::Null),
            ("/outcome/exit_code", Is::AtLeast(138)),
            ("/outcome/signal", Is::Number(15)),
            ("/stop", Is::There),
        ]);
        assert_eq!(differences(&wanted, &report(), &record()).len(), 8);
    }

    #[test]
    fn grace_is_held_against_the_measure() {
        let wanted = Death::of("stop_timeout", "kill")
            .actor("application")
            .stop("ignored");
        let mut report = report();
        report.stop = Some(Stop {
            signal: "SIGTERM".into(),
            sent_boottime_ns: Some(0),
            killed_boottime_ns: Some(1_300_000_000),
            ..Stop::default()
        });
        let mut record = record();
        record["cause"] = json!("stop_timeout");
        for (grace_ms, right) in [(1300, true), (1210, true), (1000, false), (1500, false)] {
            record["stop"] = json!({"signal": "SIGTERM", "result": "ignored", "count": 1,
                                    "grace_ms": grace_ms,
                                    "sender": {"pid": 6, "comm": "fx"}});
            let found = differences(&wanted, &report, &record);
            assert_eq!(found.is_empty(), right, "{grace_ms}: {found:?}");
        }
    }

    #[test]
    fn the_sender_of_the_request_may_be_another() {
        let wanted = APP_KILL.stop("ignored");
        let mut report = report();
        report.stop = Some(Stop {
            signal: "SIGTERM".into(),
            sender: Some(process(5, "asker")),
            sent_boottime_ns: Some(0),
            killed_boottime_ns: Some(1_300_000_000),
        });
        let mut record = record();
        for (pid, right) in [(5, true), (6, false)] {
            record["stop"] = json!({"signal": "SIGTERM", "result": "ignored", "count": 1,
                                    "grace_ms": 1300, "sender": {"pid": pid, "comm": "asker"}});
            let found = differences(&wanted, &report, &record);
            assert_eq!(found.is_empty(), right, "{pid}: {found:?}");
        }
    }

    #[test]
    fn the_first_of_several_revisions_is_looked_at() {
        let wanted = APP_KILL.first(&["c"], &[("/outcome", Is::Null)]);
        let mut record = record();
        assert_eq!(first_revision(&APP_KILL, &record), Vec::<String>::new());
        assert_eq!(first_revision(&wanted, &record).len(), 2);
        record["final"] = json!(false);
        record["outcome"] = json!(null);
        assert_eq!(first_revision(&wanted, &record), Vec::<String>::new());
        record["evidence"] = json!([]);
        assert_eq!(first_revision(&wanted, &record).len(), 1);
    }

    #[test]
    fn an_oom_is_held_against_the_limit() {
        let wanted = Death::of("cgroup_oom", "oom_killer").actor("kernel");
        let mut report = Report {
            sender: None,
            trigger: Some(process(7, "fx-worker")),
            limit_cgroup: Some("/a".into()),
            limit_bytes: Some(1000),
            ..report()
        };
        let mut record = record();
        record["cause"] = json!("cgroup_oom");
        record["mechanism"] = json!("oom_killer");
        record["actor"]["kind"] = json!("kernel");
        record["oom"] = json!({"constraint": "memcg", "limit_cgroup": "/a", "limit_bytes": 1000,
            "usage_bytes": 950, "role": "chosen", "trigger": {"pid": 7, "comm": "fx-worker"}});
        assert_eq!(differences(&wanted, &report, &record), Vec::<String>::new());
        for usage in [899, 1011] {
            record["oom"]["usage_bytes"] = json!(usage);
            assert_eq!(differences(&wanted, &report, &record).len(), 1);
        }
        // The fixture has measured it: the limit was lowered.
        report.usage_bytes = Some(2000);
        record["oom"]["usage_bytes"] = json!(2000);
        assert_eq!(differences(&wanted, &report, &record), Vec::<String>::new());
        let group = Death::of("cgroup_oom", "oom_group").actor("kernel");
        record["mechanism"] = json!("oom_group");
        assert_eq!(differences(&group, &report, &record).len(), 1);
        record["oom"]["role"] = json!("group");
        assert_eq!(differences(&group, &report, &record), Vec::<String>::new());
    }
}
