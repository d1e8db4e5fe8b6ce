//! What a record keeps of arguments and paths: all of them, or as much as it says. Pure.

use oomtrace_fixtures::{Process, Report};
use serde_json::Value;

use crate::check::Differences;

/// So many names of a cgroup's path are kept.
const CGROUP_NAMES: usize = 16;
/// So many of an executable's, where no mount lies among them.
const EXE_NAMES: usize = 20;

/// The victim's arguments and executable, where the fixture knows them.
pub(crate) fn check(
    report: &Report,
    victim: &Process,
    record: &Value,
    differences: &mut Differences,
) {
    match (&victim.argv, report.argv_least) {
        (Some(argv), None) => {
            differences.expect(record, "/victim/argv", argv.clone());
            differences.expect(record, "/victim/argv_truncated", false);
        }
        (Some(argv), Some(least)) => check_start(argv, least, &record["victim"], differences),
        (None, _) => {}
    }
    if let Some(exe) = &report.exe {
        differences.expect(record, "/victim/exe", path(exe, EXE_NAMES));
    }
}

/// The path of a cgroup as a record has it.
pub(crate) fn cgroup(whole: &str) -> String {
    path(whole, CGROUP_NAMES)
}

/// A path as a record has it: of one that is too deep the end, and a mark that says so.
fn path(whole: &str, most: usize) -> String {
    let names: Vec<&str> = whole.split('/').skip(1).collect();
    match names.len().checked_sub(most) {
        None | Some(0) => whole.to_owned(),
        Some(above) => format!("…/{}", names[above..].join("/")),
    }
}

/// The record has the start of the arguments, at least so many bytes of it, and says that
/// there were more.
fn check_start(argv: &[String], least: u64, victim: &Value, differences: &mut Differences) {
    let found: Vec<&str> = victim["argv"]
        .as_array()
        .map(|args| args.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let whole = argv.join("\0");
    let start = found.join("\0");
    if !whole.starts_with(&start) {
        differences.add(format!(
            "/victim/argv is no start of the arguments: {found:?}"
        ));
    }
    // Where it was cut behind a NUL, the NUL was kept too.
    if (start.len() as u64) + 1 < least {
        differences.add(format!(
            "/victim/argv has {} bytes, not at least {least}",
            start.len()
        ));
    }
    if victim["argv_truncated"] != true {
        differences.add("/victim/argv_truncated does not say that it was cut".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differences(argv: &[&str], least: Option<u64>, victim: &Value) -> usize {
        let process = Process {
            pid: 7,
            comm: "fx".into(),
            argv: Some(argv.iter().map(ToString::to_string).collect()),
        };
        let report = Report {
            argv_least: least,
            ..Report::new("x")
        };
        let mut differences = Differences::default();
        check(
            &report,
            &process,
            &json!({"victim": victim}),
            &mut differences,
        );
        differences.into_list().len()
    }

    #[test]
    fn all_arguments_or_a_start_that_says_so() {
        let whole = json!({"argv": ["a", "bcd"], "argv_truncated": false});
        let start = json!({"argv": ["a", "b"], "argv_truncated": true});
        assert_eq!(differences(&["a", "bcd"], None, &whole), 0);
        assert_eq!(differences(&["a", "bcd"], None, &start), 2);
        assert_eq!(differences(&["a", "bcd"], Some(3), &start), 0);
        assert_eq!(differences(&["a", "bcd"], Some(6), &start), 1);
        assert_eq!(differences(&["a", "xbcd"], Some(3), &start), 1);
        assert_eq!(differences(&["a", "bcd"], Some(3), &whole), 1);
    }

    #[test]
    fn a_deep_path_is_marked() {
        let deep = "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18";
        assert_eq!(cgroup(deep), "…/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18");
        assert_eq!(cgroup("/a"), "/a");
    }
}
