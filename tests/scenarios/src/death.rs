//! Death records as a whole: which of them belong to a victim, and whether they keep
//! to the record's contract (ids, revisions, words that are always there).

use std::collections::BTreeMap;

use oomtrace_fixtures::Link;
use serde_json::Value;

use crate::check::Differences;

const CAUSES: &[&str] = &[
    "cgroup_oom",
    "global_oom",
    "numa_oom",
    "stop_timeout",
    "supervisor_kill",
    "userspace_oom",
    "manual_kill",
    "app_kill",
    "self_kill",
    "namespace_exit",
    "parent_death",
    "tracer_exit",
    "cpu_limit",
    "own_timer",
    "bpf",
    "kernel",
    "exit_code",
    "unknown",
];

const ACTOR_KINDS: &[&str] = &[
    "human",
    "runtime",
    "service_manager",
    "oom_daemon",
    "security_agent",
    "application",
    "kernel",
    "unknown",
];

/// The death records with this victim, every revision of them.
#[must_use]
pub fn of(records: &[Value], pid: i32) -> Vec<&Value> {
    records
        .iter()
        .filter(|record| record["type"] == "death" && record["victim"]["pid"] == pid)
        .collect()
}

/// Whether the last word about a victim is among its deaths.
#[must_use]
pub fn is_complete(deaths: &[&Value]) -> bool {
    deaths
        .iter()
        .any(|death| death["final"] == true && death["outcome"].is_object())
}

/// The last revision of the one death of a victim; tells when there are more deaths,
/// or revisions that do not follow each other.
pub fn the_one<'a>(deaths: &[&'a Value], differences: &mut Differences) -> Option<&'a Value> {
    let last = latest(deaths, differences)?;
    let finals = finals(deaths);
    if finals != 1 || last["final"] != true {
        differences.add(format!("{finals} final records, not one, the last"));
    }
    Some(last)
}

/// The same, while more may come of it.
pub fn the_open_one<'a>(deaths: &[&'a Value], differences: &mut Differences) -> Option<&'a Value> {
    let last = latest(deaths, differences)?;
    if finals(deaths) > 0 {
        differences.add("a final record, and more may come".to_owned());
    }
    Some(last)
}

fn finals(deaths: &[&Value]) -> usize {
    deaths.iter().filter(|death| death["final"] == true).count()
}

fn latest<'a>(deaths: &[&'a Value], differences: &mut Differences) -> Option<&'a Value> {
    let last = *deaths.last()?;
    if let Some(other) = deaths.iter().find(|death| death["id"] != last["id"]) {
        differences.add(format!(
            "pid {} died twice: ids {} and {}",
            last["victim"]["pid"], other["id"], last["id"],
        ));
    }
    for pair in deaths.windows(2) {
        if pair[1]["revision"].as_u64() <= pair[0]["revision"].as_u64() {
            differences.add(format!(
                "revision {} follows {}",
                pair[1]["revision"], pair[0]["revision"],
            ));
        }
    }
    Some(last)
}

/// What every death record has.
pub fn keeps_contract(death: &Value, differences: &mut Differences) {
    differences.expect(death, "/schema", 1);
    differences.one_of(death, "/cause", CAUSES);
    differences.one_of(death, "/actor/kind", ACTOR_KINDS);
    for path in [
        "/id",
        "/time",
        "/boot_id",
        "/node",
        "/summary",
        "/mechanism",
    ] {
        let text = death.pointer(path).and_then(Value::as_str);
        if text.is_none_or(str::is_empty) {
            differences.add(format!("{path} is empty"));
        }
    }
    if death["revision"]
        .as_u64()
        .is_none_or(|revision| revision == 0)
    {
        differences.add(format!("/revision is {}", death["revision"]));
    }
    if !death["boottime_ns"].is_u64() {
        differences.add(format!("/boottime_ns is {}", death["boottime_ns"]));
    }
    for list in ["evidence", "advice"] {
        let Some(entries) = death[list].as_array() else {
            differences.add(format!("/{list} is no array"));
            continue;
        };
        for entry in entries {
            if !entry["code"].is_string() || !entry["text"].is_string() {
                differences.add(format!("/{list} has {entry}"));
            }
        }
    }
}

/// Deaths that name another as the one that led to them than the fixture does.
#[must_use]
pub fn links(records: &[Value], links: &[Link]) -> Vec<String> {
    let last = |pid| of(records, pid).last().copied();
    let mut differences = Vec::new();
    for link in links {
        let id = match link.caused_by {
            Some(pid) => last(pid).map(|cause| &cause["id"]),
            None => Some(&Value::Null),
        };
        let (Some(death), Some(wanted)) = (last(link.pid), id) else {
            differences.push(format!("not every death of {link:?} arrived"));
            continue;
        };
        if death["caused_by"] != *wanted {
            differences.push(format!(
                "pid {}: caused_by is {}, not {wanted}",
                link.pid, death["caused_by"],
            ));
        }
    }
    differences
}

/// Ids that two victims share.
#[must_use]
pub fn shared_ids(records: &[Value]) -> Vec<String> {
    let mut victims = BTreeMap::new();
    let mut shared = Vec::new();
    for death in records.iter().filter(|record| record["type"] == "death") {
        let id = death["id"].as_str().unwrap_or_default();
        // Two may have one pid, one after the other.
        let victim = (&death["victim"]["pid"], &death["victim"]["comm"]);
        if *victims.entry(id).or_insert(victim) != victim {
            shared.push(format!("two victims share the id {id}"));
        }
    }
    shared
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn death(pid: i32, id: &str, revision: u64, last: bool) -> Value {
        json!({"type": "death", "id": id, "revision": revision, "final": last,
               "victim": {"pid": pid}, "outcome": {"signal": 9}})
    }

    fn differences_of(records: &[Value], pid: i32) -> Vec<String> {
        let mut differences = Differences::default();
        the_one(&of(records, pid), &mut differences);
        differences.into_list()
    }

    #[test]
    fn revisions_lead_to_one_final_death() {
        let records = [
            death(7, "a", 1, false),
            death(8, "b", 1, true),
            death(7, "a", 2, true),
        ];
        assert_eq!(differences_of(&records, 7), Vec::<String>::new());
        assert!(is_complete(&of(&records, 7)));
        assert!(!is_complete(&of(&records[..2], 7)));
        assert_eq!(shared_ids(&records), Vec::<String>::new());
    }

    #[test]
    fn two_deaths_of_one_victim_differ() {
        let records = [death(7, "a", 1, true), death(7, "c", 1, true)];
        assert_eq!(differences_of(&records, 7).len(), 3);
    }

    #[test]
    fn a_death_without_an_end_differs() {
        let records = [death(7, "a", 1, false)];
        assert_eq!(differences_of(&records, 7).len(), 1);
    }

    #[test]
    fn a_link_leads_to_one_death_or_to_none() {
        let mut records = [death(7, "a", 1, true), death(8, "b", 1, true)];
        records[0]["caused_by"] = json!("b");
        let differences = |pid, caused_by| links(&records, &[Link { pid, caused_by }]).len();
        assert_eq!(differences(7, Some(8)), 0);
        assert_eq!(differences(8, None), 0);
        assert_eq!(differences(7, None), 1);
        assert_eq!(differences(8, Some(7)), 1);
        assert_eq!(differences(7, Some(9)), 1);
        assert_eq!(differences(9, None), 1);
    }

    #[test]
    fn an_id_belongs_to_one_victim() {
        let mut records = [death(7, "a", 1, true), death(8, "a", 1, true)];
        assert_eq!(shared_ids(&records), ["two victims share the id a"]);
        records[1]["victim"] = json!({"pid": 7, "comm": "x"});
        assert_eq!(shared_ids(&records), ["two victims share the id a"]);
        records[1]["id"] = json!("b");
        assert_eq!(shared_ids(&records), Vec::<String>::new());
    }
}
