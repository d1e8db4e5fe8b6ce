//! Files that are not what they should be.

use std::{
    ffi::CString,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
};

use super::*;
use crate::identity::runtime::files::FilesError;

fn refusal(system: &Scratch, id: &str, cgroup: &str) -> String {
    let asked = ask(id, cgroup);
    let error: FilesError = system.files().facts(&asked, 1).unwrap_err();
    error.to_string()
}

#[test]
fn cut_short_anywhere() {
    let system = Scratch::new();
    let whole = include_str!("../samples/docker-running.json").trim_end();
    for length in (0..whole.len()).step_by(97) {
        system.docker(WEB, &whole[..length]);
        let why = refusal(&system, WEB, &format!("/docker/{WEB}"));
        assert!(why.contains("config.v2.json"), "{why}");
    }
}

#[test]
fn of_another_form() {
    let system = Scratch::new();
    for config in [
        "[]",
        "3",
        "null",
        r#"{"Name": 3}"#,
        r#"{"State": 3}"#,
        r#"{"Config": {"Labels": {"a": {}}}}"#,
        r#"{"Config": {"StopTimeout": 1e99}}"#,
        "\u{feff}{}",
    ] {
        system.docker(WEB, config);
        let why = refusal(&system, WEB, &format!("/docker/{WEB}"));
        assert!(why.contains("config.v2.json"), "{config}: {why}");
    }
    let deep = "[".repeat(100_000);
    system.docker(WEB, &format!("{{\"x\":{deep}"));
    refusal(&system, WEB, "");
    // Empty is of the right form, and tells next to nothing.
    system.docker(WEB, "{}");
    let facts = system.facts(WEB, "").unwrap();
    assert_eq!(facts.name, None);
    let grace = r#"{"Config": {"StopTimeout": 9223372036854775807}}"#;
    system.docker(WEB, grace);
    assert_eq!(system.facts(WEB, "").unwrap().stop_grace_ms, Some(u64::MAX));
}

#[test]
fn huge_or_no_file_at_all() {
    let system = Scratch::new();
    let task = system.task("k8s.io", CRI, "");
    let config = system.path(&format!("{task}/config.json"));
    fs::File::create(&config).unwrap().set_len(1 << 30).unwrap();
    let cgroup = format!("{POD}/{CRI}");
    assert!(refusal(&system, CRI, &cgroup).contains("larger than 4 MiB"));
    fs::remove_file(&config).unwrap();
    let fifo = CString::new(config.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is a NUL-terminated string.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    assert!(refusal(&system, CRI, &cgroup).contains("not a regular file"));
    fs::remove_file(&config).unwrap();
    let elsewhere = system.write("secret", include_str!("../samples/cri-container.json"));
    symlink(elsewhere, &config).unwrap();
    assert!(refusal(&system, CRI, &cgroup).contains("leads out"));
    // A bundle that is itself a link to the outside is not looked into.
    fs::remove_dir_all(system.path(&task)).unwrap();
    fs::create_dir(system.path("bundle")).unwrap();
    system.write(
        "bundle/config.json",
        include_str!("../samples/cri-container.json"),
    );
    symlink(system.path("bundle"), system.path(&task)).unwrap();
    assert!(system.facts(CRI, &cgroup).is_none());
}

#[test]
fn one_that_is_whole_counts_beside_one_that_is_damaged() {
    let system = Scratch::new();
    system.docker(CRI, "{");
    system.task("k8s.io", CRI, include_str!("../samples/cri-container.json"));
    let facts = system.facts(CRI, &format!("{POD}/{CRI}")).unwrap();
    assert_eq!(facts.name.as_deref(), Some("web"));
}

#[test]
fn control_characters_are_data_and_long_texts_are_cut() {
    let system = Scratch::new();
    let name = "\\u001b[31mweb\\n\\u0000\\u202e";
    let config = DOCKER_RUNNING.replace("\"Name\":\"/web\"", &format!("\"Name\":\"/{name}\""));
    system.docker(WEB, &config);
    let facts = system.facts(WEB, "").unwrap();
    assert_eq!(facts.name.as_deref(), Some("\u{1b}[31mweb\n\0\u{202e}"));

    let long = "ü".repeat(100_000);
    let labels: Vec<String> = (0..500)
        .map(|at| format!("\"{at}{long}\":\"{long}\""))
        .collect();
    let labels = labels[..8].join(",");
    let many: Vec<String> = (0..500).map(|at| format!("\"k{at}\":\"v\"")).collect();
    let config = format!(
        r#"{{"Name":"/{long}","Config":{{"Image":"{long}","Labels":{{{labels},{}}}}}}}"#,
        many.join(",")
    );
    system.docker(WEB, &config);
    let facts = system.facts(WEB, "").unwrap();
    assert_eq!(facts.name.unwrap().len(), 1024);
    assert_eq!(facts.image.unwrap().len(), 1024);
    assert_eq!(facts.labels.len(), 64);
    assert!(
        facts
            .labels
            .iter()
            .all(|(key, value)| key.len() <= 1024 && value.len() <= 1024)
    );
}

#[test]
fn ends_that_make_no_sense() {
    let system = Scratch::new();
    let files = system.files();
    for status in [
        "",
        "{",
        "[]",
        r#"{"ExitCode":"x"}"#,
        r#"{"FinishedAt":99999999999999999999}"#,
    ] {
        system.cri_status(CRI, status);
        let ask = ask(CRI, &format!("{POD}/{CRI}"));
        let why = files.end(&ask, 0, 1).unwrap_err().to_string();
        assert!(why.contains("status"), "{status}: {why}");
    }
    system.write(&format!("run/crio/exits/{CRIO}"), "nonsense");
    let crio = ask(CRIO, &format!("{POD}/crio-{CRIO}"));
    assert_eq!(files.end(&crio, 0, 1).unwrap(), None);
    let time = r#"{"State":{"Running":false,"FinishedAt":"yesterday"}}"#;
    system.docker(WEB, time);
    let web = ask(WEB, &format!("/docker/{WEB}"));
    assert_eq!(files.end(&web, 0, 1).unwrap(), None);
}
