//! What a death record is held against: the fixture's own report and the words that a
//! scenario's row names. Pure: values in, a list of differences out.

mod wanted;

use oomtrace_fixtures::{Process, Report};
use serde_json::Value;

use self::wanted::First;
pub use self::wanted::{Death, Is};
use crate::{death, kept};

/// What a record said and should not have, or the other way round.
#[derive(Debug, Default)]
pub struct Differences(Vec<String>);

impl Differences {
    pub fn add(&mut self, difference: String) {
        self.0.push(difference);
    }

    #[must_use]
    pub fn into_list(self) -> Vec<String> {
        self.0
    }

    /// An absent value is the same as null.
    pub fn expect(&mut self, record: &Value, path: &str, wanted: impl Into<Value>) {
        let wanted = wanted.into();
        let found = record.pointer(path).unwrap_or(&Value::Null);
        if *found != wanted {
            self.add(format!("{path} is {found}, not {wanted}"));
        }
    }

    pub fn one_of(&mut self, record: &Value, path: &str, wanted: &[&str]) {
        let found = record.pointer(path).unwrap_or(&Value::Null);
        if !found.as_str().is_some_and(|found| wanted.contains(&found)) {
            self.add(format!("{path} is {found}, none of {}", wanted.join(", ")));
        }
    }

    pub fn within(&mut self, record: &Value, path: &str, least: u64, most: u64) {
        let found = record.pointer(path).unwrap_or(&Value::Null);
        if !found
            .as_u64()
            .is_some_and(|found| (least..=most).contains(&found))
        {
            self.add(format!("{path} is {found}, not from {least} to {most}"));
        }
    }
}

/// How far measures may be off.
#[derive(Clone, Copy, Debug)]
pub struct Slack {
    pub ms: u64,
}

/// Holds the first revision of a death against what is wanted of it.
#[must_use]
pub fn first_revision(wanted: &Death, record: &Value) -> Vec<String> {
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
#[must_use]
pub fn death(
    wanted: &Death,
    report: &Report,
    victim: &Process,
    record: &Value,
    slack: Slack,
) -> Vec<String> {
    let mut differences = Differences::default();
    row(wanted, record, &mut differences);
    check_victim(report, victim, record, &mut differences);
    check_sender(report, record, &mut differences);
    check_stop(report, record, slack, &mut differences);
    check_oom(wanted, report, record, &mut differences);
    if let Some(late) = &report.late_sender {
        let label = format!("{}[{}]", late.comm, late.pid);
        check_evidence("other_sigkill", &label, record, &mut differences);
    }
    differences.into_list()
}

/// Holds a death against what its row says, and against what every death has.
pub fn row(wanted: &Death, record: &Value, differences: &mut Differences) {
    death::keeps_contract(record, differences);
    differences.expect(record, "/cause", wanted.cause);
    let others = wanted.or_mechanisms.into_iter().flatten();
    let mechanisms: Vec<&str> = [wanted.mechanism].into_iter().chain(others).collect();
    match mechanisms[..] {
        [only] => differences.expect(record, "/mechanism", only),
        _ => differences.one_of(record, "/mechanism", &mechanisms),
    }
    if let Some(kind) = wanted.actor {
        differences.expect(record, "/actor/kind", kind);
    }
    if let Some(result) = wanted.stop_result {
        differences.expect(record, "/stop/result", result);
    }
    check_codes(wanted.evidence, record, differences);
    for (code, words) in wanted.says {
        check_evidence(code, words, record, differences);
    }
    check_fields(wanted.fields, record, differences);
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
        differences.expect(record, field, report.cgroup.as_deref().map(kept::cgroup));
    }
    kept::check(report, victim, record, differences);
    differences.expect(record, "/outcome/exit_code", 137);
    differences.expect(record, "/outcome/signal", report.signal);
}

fn check_sender(report: &Report, record: &Value, differences: &mut Differences) {
    match &report.sender {
        Some(sender) => {
            differences.expect(record, "/sender/pid", sender.pid);
            let tid = report.sender_tid.unwrap_or(sender.pid);
            differences.expect(record, "/sender/tid", tid);
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

fn check_stop(report: &Report, record: &Value, slack: Slack, differences: &mut Differences) {
    /// Less than a second by no more than two clocks and a timer may differ.
    const LEAST_GRACE_MS: u64 = 950;
    const PLANNED_GRACE_MS: u64 = 1000;
    let Some(stop) = &report.stop else {
        differences.expect(record, "/stop", Value::Null);
        return;
    };
    differences.expect(record, "/stop/signal", stop.signal.as_str());
    differences.within(record, "/stop/count", 1, u64::MAX);
    if let Some(sender) = stop.sender.as_ref().or(report.sender.as_ref()) {
        differences.expect(record, "/stop/sender/pid", sender.pid);
        differences.expect(record, "/stop/sender/comm", sender.comm.as_str());
    }
    // Where the fixture took the time itself, its measures are the marks.
    let tolerance_ms = slack.ms / 10;
    let least_ms = stop.least_grace_ms.unwrap_or_default();
    let most_ms = match stop.most_grace_ms {
        Some(most_ms) => most_ms + tolerance_ms,
        None => PLANNED_GRACE_MS + slack.ms,
    };
    differences.within(
        record,
        "/stop/grace_ms",
        LEAST_GRACE_MS.max(least_ms.saturating_sub(tolerance_ms)),
        most_ms,
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
        check_evidence(code, "", record, differences);
    }
}

/// Evidence of this code, with these words in its text.
fn check_evidence(code: &str, words: &str, record: &Value, differences: &mut Differences) {
    let says = |evidence: &Value| {
        let text = evidence["text"].as_str();
        evidence["code"] == code && text.is_some_and(|text| text.contains(words))
    };
    let all = record["evidence"].as_array();
    if !all.is_some_and(|all| all.iter().any(says)) {
        let found = &record["evidence"];
        differences.add(format!("no evidence {code} that says {words:?}: {found}"));
    }
}

/// Fields by their JSON pointer.
pub fn check_fields(fields: &[(&str, Is)], record: &Value, differences: &mut Differences) {
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
            Is::VictimOrNull => found.is_null() || *found == record["victim"]["pid"],
        };
        if !fits {
            differences.add(format!("{path} is {found}, not {wanted:?}"));
        }
    }
}

#[cfg(test)]
mod tests;
