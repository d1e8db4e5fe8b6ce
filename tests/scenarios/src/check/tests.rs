//! Each difference is found, and nothing else.

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
        "sender": {"pid": 6, "tid": 6, "comm": "fx", "argv": ["fx", "a"], "tty": null,
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
        ("/sender/tid", json!(7)),
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
    let wanted = APP_KILL.evidence(&["c"]).says(&[("c", "t")]).fields(&[
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
    let wanted = APP_KILL.evidence(&["other"]).says(&[("c", "o")]).fields(&[
        ("/sender/pid", Is::VictimOrNull),
        ("/victim/comm", Is::Text("other")),
        ("/summary", Is::Saying("other")),
        ("/final", Is::Bool(false)),
        ("/outcome", Is::Null),
        ("/outcome/exit_code", Is::AtLeast(138)),
        ("/outcome/signal", Is::Number(15)),
        ("/stop", Is::There),
    ]);
    assert_eq!(differences(&wanted, &report(), &record()).len(), 10);
}

#[test]
fn a_task_that_was_interrupted_is_the_victim_or_no_sender() {
    let wanted = APP_KILL.fields(&[("/sender/pid", Is::VictimOrNull)]);
    let report = Report {
        sender: None,
        ..report()
    };
    let mut record = record();
    for (sender, right) in [
        (json!(null), true),
        (json!({"pid": 7}), true),
        (json!({"pid": 6}), false),
    ] {
        record["sender"] = sender;
        let found = differences(&wanted, &report, &record);
        assert_eq!(found.is_empty(), right, "{found:?}");
    }
}

#[test]
fn the_senders_thread_and_a_late_sender_are_looked_at() {
    let mut report = report();
    report.sender_tid = Some(8);
    report.late_sender = Some(process(9, "fx-late"));
    let mut record = record();
    assert_eq!(differences(&APP_KILL, &report, &record).len(), 2);
    record["sender"]["tid"] = json!(8);
    record["evidence"] = json!([{"code": "other_sigkill", "text": "from fx-late[9], ignored"}]);
    let none = Vec::<String>::new();
    assert_eq!(differences(&APP_KILL, &report, &record), none);
}

#[test]
fn grace_is_held_against_the_measure() {
    let wanted = Death::of("stop_timeout", "kill")
        .actor("application")
        .stop("ignored");
    let mut report = report();
    report.stop = Some(Stop {
        signal: "SIGTERM".into(),
        least_grace_ms: Some(1300),
        most_grace_ms: Some(1320),
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
        least_grace_ms: Some(1300),
        most_grace_ms: Some(1320),
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
