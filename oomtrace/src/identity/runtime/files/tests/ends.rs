//! How a container ended, in its runtime's words.

use super::*;
use crate::event::container::ContainerState;

fn end(system: &Scratch, id: &str, cgroup: &str, since_ns: u64) -> Option<ContainerState> {
    system.files().end(&ask(id, cgroup), since_ns, 9).unwrap()
}

fn rfc3339(realtime_ns: i64) -> String {
    let time = ::time::OffsetDateTime::from_unix_timestamp_nanos(realtime_ns.into()).unwrap();
    time.format(&::time::format_description::well_known::Rfc3339)
        .unwrap()
}

#[test]
fn dockers_state() {
    let system = Scratch::new();
    let cgroup = format!("/docker/{HOG}");
    let (realtime_ns, boottime_ns) = ago(5 * SECOND);
    let finished = rfc3339(realtime_ns);
    let state = include_str!("../samples/docker-oom.json");
    let state = state.replace("2026-11-21T14:14:46.442009029Z", &finished);
    assert!(state.contains(&finished));
    system.docker(HOG, &state);
    let ended = end(&system, HOG, &cgroup, boottime_ns - SECOND).unwrap();
    assert_eq!(ended.words, "OOMKilled=true, ExitCode=137");
    assert_eq!(ended.runtime, "docker");
    assert_eq!(ended.exit_code, Some(137));
    assert_eq!(ended.oom_killed, Some(true));
    assert_eq!(ended.running, Some(false));
    assert_eq!(ended.id, HOG);
    assert_eq!(ended.boottime_ns, 9);
    // That was an earlier run.
    assert_eq!(end(&system, HOG, &cgroup, boottime_ns + SECOND), None);
    // It runs again.
    system.docker(HOG, &state.replace("\"Running\":false", "\"Running\":true"));
    let runs = end(&system, HOG, &cgroup, boottime_ns - SECOND).unwrap();
    assert_eq!(runs.running, Some(true));
    assert_eq!(runs.exit_code, None);
    // It never ran: Go's zero time.
    system.docker(HOG, &state.replace(&finished, "0001-01-01T00:00:00Z"));
    assert_eq!(end(&system, HOG, &cgroup, 0), None);
    // The same with another zone, as an older Docker writes.
    let zone = finished.replace('Z', "+00:00");
    system.docker(HOG, &state.replace(&finished, &zone));
    assert!(end(&system, HOG, &cgroup, boottime_ns - SECOND).is_some());
}

#[test]
fn containerds_status_file() {
    let system = Scratch::new();
    let cgroup = format!("{POD}/{CRI}");
    let (realtime_ns, boottime_ns) = ago(5 * SECOND);
    let status = include_str!("../samples/cri-exited.json");
    let status = status.replace("1795270533222516041", &realtime_ns.to_string());
    system.cri_status(CRI, &status);
    let ended = end(&system, CRI, &cgroup, boottime_ns - SECOND).unwrap();
    assert_eq!(ended.words, "Reason: Error, ExitCode: 137");
    assert_eq!(ended.runtime, "CRI");
    assert_eq!(ended.oom_killed, Some(false));
    assert_eq!(end(&system, CRI, &cgroup, boottime_ns + SECOND), None);
    let oom = status.replace("\"Reason\":\"\"", "\"Reason\":\"OOMKilled\"");
    let oom = oom.replace("137", "3");
    system.cri_status(CRI, &oom);
    let ended = end(&system, CRI, &cgroup, boottime_ns - SECOND).unwrap();
    assert_eq!(ended.words, "Reason: OOMKilled, ExitCode: 3");
    assert_eq!(ended.oom_killed, Some(true));
    system.cri_status(CRI, include_str!("../samples/cri-running.json"));
    assert_eq!(end(&system, CRI, &cgroup, 0), None);
}

#[test]
fn conmons_exit_files() {
    let system = Scratch::new();
    let bundle = "/data/storage/overlay-containers/x/userdata";
    let args = [
        "/usr/bin/conmon",
        "--api-version",
        "1",
        "-c",
        PODMAN,
        "-u",
        PODMAN,
        "-b",
        bundle,
        "-n",
        "web",
        "--exit-dir",
        "/run/libpod/exits",
        "--persist-dir",
        "/run/libpod/persist/x",
        "--exit-command",
        "/usr/bin/podman",
        "--exit-command-arg",
        "-n",
        "--exit-command-arg",
        "y",
    ];
    let process = system.process(42, &args, "/libpod_parent/conmon");
    system.write(
        &format!("{bundle}/config.json"),
        include_str!("../samples/podman-bundle.json"),
    );
    let files = system.files();
    let ask = ask(PODMAN, &format!("/libpod_parent/libpod-{PODMAN}"));
    let facts = files.facts(&ask, 1).unwrap().unwrap();
    // The list was not there: conmon told the name.
    assert_eq!(facts.name.as_deref(), Some("web"));
    assert_eq!(facts.sources.last().unwrap(), "conmon's arguments");

    // conmon has gone when the container is asked for.
    fs::remove_dir_all(system.path(&process)).unwrap();
    let (_, boottime_ns) = ago(0);
    let ended = |since_ns, now_ns| files.end(&ask, since_ns, now_ns).unwrap();
    assert_eq!(ended(boottime_ns - SECOND, SECOND), None);
    system.write(&format!("run/libpod/exits/{PODMAN}"), "");
    assert_eq!(ended(boottime_ns - SECOND, 2 * SECOND), None);
    system.write(&format!("run/libpod/exits/{PODMAN}"), "137");
    let state = ended(boottime_ns - SECOND, 3 * SECOND).unwrap();
    assert_eq!(state.words, "exit code 137");
    assert_eq!(state.oom_killed, None);
    // Left by an earlier run.
    assert_eq!(ended(boottime_ns + 60 * SECOND, 4 * SECOND), None);
    // Newer ones leave both in a folder of the container's.
    system.write("run/libpod/persist/x/exit", "137");
    system.write("run/libpod/persist/x/oom", "");
    let state = ended(boottime_ns - SECOND, 5 * SECOND).unwrap();
    assert_eq!(state.words, "exit code 137, with an oom file");
    assert_eq!(state.oom_killed, Some(true));
    assert_eq!(state.runtime, "podman");
}

#[test]
fn the_usual_folder_of_exits() {
    let system = Scratch::new();
    system.write(&format!("run/crio/exits/{CRIO}"), "1\n");
    let (_, boottime_ns) = ago(SECOND);
    let state = end(&system, CRIO, &format!("{POD}/crio-{CRIO}"), boottime_ns).unwrap();
    assert_eq!(state.runtime, "cri-o");
    assert_eq!(state.exit_code, Some(1));
    // Newer conmons leave more.
    system.write(&format!("run/crio/persist/{CRIO}/exit"), "137");
    system.write(&format!("run/crio/persist/{CRIO}/oom"), "");
    let state = end(&system, CRIO, &format!("{POD}/crio-{CRIO}"), boottime_ns).unwrap();
    assert_eq!(state.oom_killed, Some(true));
    // Docker leaves none there.
    assert_eq!(
        end(&system, CRIO, &format!("/docker/{CRIO}"), boottime_ns),
        None
    );
}
