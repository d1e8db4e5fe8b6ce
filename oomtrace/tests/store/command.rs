//! `oomtrace list` and `oomtrace show`, as they are typed.

use std::{
    path::Path,
    process::{Command, Output},
};

use oomtrace::provenance::record::{Cause, Death, Role};

use crate::support::{Folder, at, death, record, restart, store};

fn oomtrace(path: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_oomtrace"))
        .args(args)
        .arg("--store")
        .arg(path)
        .env("TZ", "UTC")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn filled() -> Folder {
    let folder = Folder::new();
    let along = Death {
        cause: Cause::NamespaceExit,
        ..death(3)
    };
    let mut along = along;
    along.victim.role = Some(Role::Child);
    let mut evil = death(42);
    evil.victim.comm = Some("\u{1b}[2Jevil\n".to_owned());
    store(
        &folder.store(),
        [record(death(4)), record(along), record(evil)],
    );
    folder
}

#[test]
fn output_that_cannot_be_written_is_named() {
    let folder = filled();
    for args in [
        &["list"][..],
        &["list", "--output", "json"],
        &["show", "10d4559a-42"],
        &["why", "10d4559a-42"],
    ] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let done = Command::new(env!("CARGO_BIN_EXE_oomtrace"))
            .args(args)
            .arg("--store")
            .arg(folder.store())
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(1), "{done:?}");
        let text = stderr(&done);
        assert!(
            text.contains("standard output cannot be written: No space left")
                && text.contains("\ndo: "),
            "{args:?}: {text}"
        );
    }
}

#[test]
fn a_table_is_for_people() {
    let folder = filled();
    let done = oomtrace(&folder.store(), &["list"]);
    let text = stdout(&done);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("TIME (UTC)") && lines[0].ends_with("ID"),
        "{text}"
    );
    assert!(
        lines[1].ends_with("10d4559a-42"),
        "the newest first: {text}"
    );
    assert!(
        lines[2].contains("cgroup_oom") && lines[2].contains("shop/web-6f web fx-oom[4]"),
        "{text}"
    );
    assert!(
        lines[2].contains("limit of /oomtrace-fx-870") && lines[2].contains("60 min"),
        "{text}"
    );
    assert!(
        lines[3].contains("not shown: 1 that went along") && lines[3].contains("--all"),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "{text:?}");
    let text = stdout(&oomtrace(&folder.store(), &["list", "--all"]));
    assert_eq!(text.lines().count(), 4, "{text}");
    let text = stdout(&oomtrace(
        &folder.store(),
        &["list", "--cause", "namespace_exit"],
    ));
    assert!(text.contains("10d4559a-3"), "{text}");
    let text = stdout(&oomtrace(&folder.store(), &["list", "--limit", "1"]));
    assert!(
        text.contains("the newest 1 of more") && !text.contains("10d4559a-4\n"),
        "{text}"
    );
}

#[test]
fn a_status_that_was_passed_on_shows_from_whom() {
    let folder = Folder::new();
    let passed_on = |number, from: Option<&Death>| {
        let mut death = death(number);
        death.cause = Cause::ExitCode;
        death.oom = None;
        death.victim.comm = Some("sh".to_owned());
        death.victim.role = Some(Role::Host);
        death.actor.name = Some("sh".to_owned());
        death.caused_by = from.map(|from| from.id.clone());
        death
    };
    let (job, lone) = (death(3), passed_on(6, None));
    let (shell, outer) = (passed_on(4, Some(&job)), passed_on(5, Some(&death(9))));
    store(&folder.store(), [job, shell, outer, lone].map(record));
    let text = stdout(&oomtrace(&folder.store(), &["list", "--all"]));
    let by = |pid: u32| {
        let line = text
            .lines()
            .find(|line| line.contains(&format!("sh[{pid}]")));
        let line = line.unwrap_or_else(|| panic!("{pid} in {text}"));
        let columns: Vec<&str> = line.split("  ").filter(|part| !part.is_empty()).collect();
        columns[columns.len() - 2].trim().to_owned()
    };
    assert_eq!(by(4), "fx-oom[3]");
    assert_eq!(by(5), "pid 9");
    assert_eq!(by(6), "itself");
}

#[test]
fn json_is_what_was_stored() {
    let folder = filled();
    let done = oomtrace(
        &folder.store(),
        &["list", "--output", "json", "--since", "2h"],
    );
    let text = stdout(&done);
    let pids: Vec<u32> = text
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["type"], "death");
            serde_json::from_value::<Death>(value).unwrap().victim.pid
        })
        .collect();
    assert_eq!(pids, [42, 4]);
    let one = oomtrace(
        &folder.store(),
        &["show", "id:10d4559a-42", "--output", "json"],
    );
    assert_eq!(stdout(&one).lines().next(), text.lines().next());
}

#[test]
fn nothing_found_says_what_was_looked_at() {
    let folder = filled();
    for args in [
        ["list", "--since", "10s"],
        ["list", "--container", "nobody"],
        ["list", "--cause", "bpf"],
    ] {
        let done = oomtrace(&folder.store(), &args);
        assert_eq!(done.status.code(), Some(1), "{args:?}");
        assert!(stdout(&done).is_empty());
        let text = stderr(&done);
        assert!(
            text.contains("none of the 3 deaths") && text.contains("UTC"),
            "{text}"
        );
    }
    let missing = oomtrace(&folder.path().join("no.db"), &["list"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("do: "), "{}", stderr(&missing));
    let wrong = oomtrace(&folder.store(), &["list", "--since", "soon"]);
    assert_eq!(wrong.status.code(), Some(2));
    let wrong = oomtrace(&folder.store(), &["list", "--cause", "boredom"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn times_are_typed_as_they_are_shown() {
    let folder = filled();
    let text = stdout(&oomtrace(&folder.store(), &["list"]));
    let shown = text.lines().nth(1).unwrap();
    let (day, clock) = (&shown[..10], &shown[..19]);
    // All of them died within the same second.
    for (args, code) in [
        (["list", "--since", day], 0),
        (["list", "--since", clock], 0),
        (["list", "--until", clock], 1),
        (["list", "--until", "2020-01-01"], 1),
    ] {
        let done = oomtrace(&folder.store(), &args);
        assert_eq!(done.status.code(), Some(code), "{args:?}: {done:?}");
    }
    let empty = oomtrace(&folder.store(), &["list", "--since", "2h", "--until", "3h"]);
    assert_eq!(empty.status.code(), Some(2), "{empty:?}");
    assert!(stderr(&empty).contains("do: "), "{}", stderr(&empty));
}

#[test]
fn why_tells_when_it_ran_again() {
    let folder = filled();
    let mut along = death(5);
    along.caused_by = Some(death(4).id);
    store(
        &folder.store(),
        [record(along), restart(&death(4), &at(0.0))],
    );
    for (target, count) in [("pid:4", 1), ("pid:5", 1), ("pid:42", 0)] {
        let done = oomtrace(&folder.store(), &["why", target]);
        let text = stdout(&done);
        let said = text
            .matches("+5.0 s  job.service was started again")
            .count();
        assert_eq!(said, count, "{text}");
    }
    let done = oomtrace(&folder.store(), &["why", "pid:4", "--output", "json"]);
    let story: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(story["restart"]["of"], death(4).id);
}

#[test]
fn a_page_goes_to_stdout_alone() {
    let folder = filled();
    let done = oomtrace(&folder.store(), &["why", "pid:4", "--html", "-"]);
    let text = stdout(&done);
    assert!(text.starts_with("<!"), "{text}");
    assert!(text.trim_end().ends_with("</html>"), "{text}");
    assert!(!std::path::Path::new("-").exists());
    let both = ["why", "pid:4", "--html", "-", "--output", "json"];
    assert_eq!(oomtrace(&folder.store(), &both).status.code(), Some(2));
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    let folder = filled();
    for (args, says) in [
        (["why", "pid:abc"], "no process id"),
        (["why", "cgroup:a"], "starts with a slash"),
        (["why", "unit:"], "nothing behind"),
        (["show", "id:"], "empty id"),
        (["list", "--container="], "nothing behind"),
        (["run", "--scope=pid:12"], "cgroup:"),
        (["run", "--scope=foo:bar"], "unit:foo:bar"),
    ] {
        let done = oomtrace(&folder.store(), &args);
        assert_eq!(done.status.code(), Some(2), "{args:?}: {done:?}");
        assert!(stderr(&done).contains(says), "{}", stderr(&done));
    }
    // Commands are called so.
    let none = oomtrace(&folder.store(), &["why", "foo:bar"]);
    assert_eq!(none.status.code(), Some(1));
    let text = stderr(&none);
    assert!(
        text.contains("foo: is no kind") && text.contains("container:, pod:"),
        "{text}"
    );
}

#[test]
fn one_death_is_shown_as_run_prints_it() {
    let folder = filled();
    let done = oomtrace(&folder.store(), &["show", "10d4559a-4"]);
    let text = stdout(&done);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(
        text.starts_with("death 10d4559a-4-42152851930, 20"),
        "{text}"
    );
    for part in [
        "cgroup_oom",
        "container  web (0123456789ab) of pod shop/web-6f",
        "because",
        "do  Find out",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    // One that `run` tells together with others.
    let text = stdout(&oomtrace(&folder.store(), &["show", "10d4559a-3"]));
    assert!(text.contains("namespace_exit"), "{text}");
}

#[test]
fn several_are_listed_to_choose_from() {
    let folder = filled();
    let done = oomtrace(&folder.store(), &["show", "10d4"]);
    assert_eq!(done.status.code(), Some(1));
    let text = stderr(&done);
    assert!(
        text.contains("3 deaths") && text.contains("10d4559a-42-42152851930"),
        "{text}"
    );
    let none = oomtrace(&folder.store(), &["show", "ffff"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(
        stderr(&none).contains("none of the 3 deaths"),
        "{}",
        stderr(&none)
    );
}

/// A proxy that has died three hundred times since hides nothing.
#[test]
fn why_asks_which_container_of_a_pod_is_meant() {
    let folder = Folder::new();
    let of = |number, name: &str| {
        let mut death = death(number);
        death.victim.role = Some(Role::ContainerInit);
        let container = death.container.as_mut().unwrap();
        container.name = Some(name.to_owned());
        container.pod = Some("shop-0".to_owned());
        record(death)
    };
    let deaths = std::iter::once(of(1, "web")).chain((2..=300).map(|number| of(number, "proxy")));
    store(&folder.store(), deaths);
    let done = oomtrace(&folder.store(), &["why", "pod:shop-0"]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let text = stderr(&done);
    assert!(
        text.starts_with("oomtrace: 2 workloads or deaths may be meant"),
        "{text}"
    );
    assert!(
        text.contains("10d4559a-300-") && text.contains("10d4559a-1-42152851930"),
        "{text}"
    );
    let one = oomtrace(&folder.store(), &["why", "container:web"]);
    assert!(stdout(&one).contains("10d4559a-1-"), "{one:?}");
}

#[test]
fn a_word_of_a_newer_version_is_listed_and_shown_as_it_is() {
    let folder = filled();
    let connection = rusqlite::Connection::open(folder.store()).unwrap();
    connection
        .execute_batch(
            "UPDATE deaths SET cause = 'boredom' WHERE pid = 4;
             UPDATE records SET json = replace(json, '\"cause\":\"cgroup_oom\"', '\"cause\":\"boredom\"')
                 WHERE key = (SELECT key FROM deaths WHERE pid = 4)",
        )
        .unwrap();
    drop(connection);
    let text = stdout(&oomtrace(&folder.store(), &["list"]));
    assert!(
        text.contains("boredom") && text.contains("fx-oom[4]"),
        "{text}"
    );
    let json = stdout(&oomtrace(&folder.store(), &["list", "-o", "json"]));
    assert!(json.contains(r#""cause":"boredom""#));
    let shown = oomtrace(&folder.store(), &["show", "10d4559a-4"]);
    assert_eq!(shown.status.code(), Some(0));
    assert!(
        stdout(&shown).contains(r#""cause": "boredom""#),
        "{}",
        stdout(&shown)
    );
    assert!(
        stderr(&shown).contains("a newer oomtrace"),
        "{}",
        stderr(&shown)
    );
}
