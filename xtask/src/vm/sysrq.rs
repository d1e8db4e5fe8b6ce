//! SysRq-i kills every process but the first. So the tracer is the first, in a boot of its own,
//! and what it says is judged here: nobody is left there to do it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    outcome,
    qemu::{End, Machine},
};
use crate::cases::Outcome;

/// The case, and the fixture that it runs.
pub(super) const NAME: &str = "sysrq-i";

/// What every record of a victim has to say.
const WANTED: [(&str, &str); 3] = [
    ("/cause", "kernel"),
    ("/mechanism", "sysrq"),
    ("/actor/kind", "kernel"),
];

/// Boots the guest and judges it.
pub(super) fn run(mut machine: Machine, guest: &str) -> Outcome {
    let name = format!("{guest} {NAME}");
    machine.append.push_str(" oomtrace.sysrq");
    machine.done = |printed| Said::read(printed).is_complete();
    let end = match outcome::boot(&machine, &name) {
        Ok(end) => end,
        Err(error) => return Outcome::fail(&name, format!("{error:#}"), None),
    };
    let mut problems = Said::read(&machine.printed()).problems();
    if let End::BeforeInit(why) | End::Broken(why) = end {
        problems.push(why);
    }
    if problems.is_empty() {
        return Outcome::pass();
    }
    Outcome::fail(&name, problems.join("; "), Some(&machine.results()))
}

/// What fixture and tracer have printed.
#[derive(Debug)]
struct Said {
    /// From the fixture's report.
    victims: Vec<Value>,
    records: Vec<Value>,
}

impl Said {
    fn read(printed: &str) -> Self {
        let records: Vec<Value> = printed
            .lines()
            .filter_map(|line| serde_json::from_str(line.trim()).ok())
            .collect();
        let report = records.iter().find(|record| record["fixture"] == NAME);
        let victims = report.map_or_else(Vec::new, |report| {
            let more = report["more_victims"].as_array();
            let processes = more.into_iter().flatten().chain([&report["victim"]]);
            processes.map(|process| process["pid"].clone()).collect()
        });
        Self { victims, records }
    }

    fn deaths(&self, pid: &Value) -> Vec<&Value> {
        self.records
            .iter()
            .filter(|record| record["type"] == "death" && record["victim"]["pid"] == *pid)
            .collect()
    }

    /// Whether the last word about every victim is there.
    fn is_complete(&self) -> bool {
        !self.victims.is_empty()
            && self
                .victims
                .iter()
                .all(|pid| self.deaths(pid).iter().any(|death| death["final"] == true))
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.victims.is_empty() {
            problems.push("the fixture reported no victims".to_owned());
        }
        let is_loss = |record: &&Value| record["type"] == "gap" && record["certain"] == true;
        for gap in self.records.iter().filter(is_loss) {
            problems.push(format!("events were lost: {gap}"));
        }
        for pid in &self.victims {
            let deaths = self.deaths(pid);
            // One that takes long to end is told before, too.
            let ids: BTreeSet<Option<&str>> =
                deaths.iter().map(|death| death["id"].as_str()).collect();
            match deaths.last() {
                Some(last) if ids.len() == 1 => problems.extend(differences(last)),
                _ => problems.push(format!("pid {pid} has {} deaths, not one", ids.len())),
            }
        }
        problems
    }
}

fn differences(death: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    for (path, wanted) in WANTED {
        let found = death.pointer(path).unwrap_or(&Value::Null);
        if found != wanted {
            differences.push(format!("{path} is {found}, not {wanted}"));
        }
    }
    if death["outcome"]["exit_code"] != 137 {
        differences.push(format!("/outcome is {}", death["outcome"]));
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"fixture":"sysrq-i","victim":{"pid":7},"more_victims":[{"pid":8}]}"#;

    fn death(pid: u32, mechanism: &str) -> String {
        format!(
            r#"{{"type":"death","id":"{pid}","victim":{{"pid":{pid}}},"final":true,"cause":"kernel",
            "mechanism":"{mechanism}","actor":{{"kind":"kernel"}},"outcome":{{"exit_code":137}}}}"#
        )
        .replace('\n', "")
    }

    #[test]
    fn each_victim_has_its_record() {
        let mut printed = format!("noise\n{REPORT}\n{}\n", death(7, "sysrq"));
        assert!(!Said::read(&printed).is_complete());
        assert_eq!(Said::read(&printed).problems().len(), 1);
        printed.push_str(&death(8, "sysrq"));
        let said = Said::read(&printed);
        assert!(said.is_complete());
        assert_eq!(said.problems(), Vec::<String>::new());
    }

    #[test]
    fn another_mechanism_is_a_problem() {
        let printed = format!("{REPORT}\n{}\n{}", death(7, "sysrq"), death(8, "kill"));
        assert_eq!(Said::read(&printed).problems().len(), 1);
    }

    #[test]
    fn the_last_word_about_a_death_counts_and_another_death_is_a_problem() {
        let early = death(7, "sysrq").replace(r#"{"exit_code":137}"#, "null");
        let mut printed = format!("{REPORT}\n{early}\n{}\n", death(7, "sysrq"));
        printed.push_str(&death(8, "sysrq"));
        assert_eq!(Said::read(&printed).problems(), Vec::<String>::new());
        printed.push('\n');
        printed.push_str(&death(8, "sysrq").replace(r#""id":"8""#, r#""id":"9""#));
        assert_eq!(Said::read(&printed).problems().len(), 1);
    }

    #[test]
    fn silence_is_a_problem() {
        assert!(!Said::read("").is_complete());
        assert_eq!(Said::read("").problems().len(), 1);
    }
}
