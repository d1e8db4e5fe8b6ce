//! Places that the processes of runtimes tell of, and who may tell of whom.

use std::os::unix::fs::symlink;

use super::*;

/// A shim of containerd's whose tasks and store are not in the usual place.
fn shim(system: &Scratch, pid: u32, root: &str, cgroup: &str) {
    let args = [
        "/usr/bin/containerd-shim-runc-v2",
        "-namespace",
        "k8s.io",
        "-id",
        SANDBOX,
    ];
    let process = system.process(pid, &args, cgroup);
    let tasks = format!("/data/state/io.containerd.runtime.v2.task/k8s.io/{SANDBOX}");
    let work = format!("/data/store/io.containerd.runtime.v2.task/k8s.io/{SANDBOX}");
    symlink(system.path(root), system.path(&format!("{process}/root"))).unwrap();
    // What the kernel shows is a path of the process's own; reading through it is another thing.
    symlink(&tasks, system.path(&format!("{process}/cwd"))).unwrap();
    let bundle = format!("{root}/{tasks}");
    system.write(
        &format!("{bundle}/config.json"),
        include_str!("../samples/cri-sandbox.json"),
    );
    symlink(work, system.path(&format!("{bundle}/work"))).unwrap();
    let container = bundle.replace(SANDBOX, CRI);
    system.write(
        &format!("{container}/config.json"),
        include_str!("../samples/cri-container.json"),
    );
}

#[test]
fn a_shim_stands_in_its_bundle() {
    let system = Scratch::new();
    shim(&system, 42, "", "/system.slice/containerd.service");
    let facts = system.facts(CRI, &format!("{POD}/{CRI}")).unwrap();
    assert_eq!(facts.name.as_deref(), Some("web"));
    assert!(!facts.can_tell_end);
    // Its link leads to the store.
    let status = format!("data/store/io.containerd.grpc.v1.cri/containers/{CRI}/status");
    system.write(&status, include_str!("../samples/cri-running.json"));
    let facts = system.facts(CRI, &format!("{POD}/{CRI}")).unwrap();
    assert!(facts.can_tell_end);
}

#[test]
fn a_shim_in_a_container_tells_of_containers_in_it() {
    let system = Scratch::new();
    shim(
        &system,
        42,
        "node",
        &format!("/docker/{WEB}/system.slice/containerd.service"),
    );
    let inner = format!("/docker/{WEB}/kubelet{POD}/{CRI}");
    let facts = system.facts(CRI, &inner).unwrap();
    assert_eq!(facts.name.as_deref(), Some("web"));
    // Anybody in a container can start a process of this name.
    assert!(system.facts(CRI, &format!("{POD}/{CRI}")).is_none());
    let other = format!("/docker/{HOG}/kubelet{POD}/{CRI}");
    assert!(system.facts(CRI, &other).is_none());
}

#[test]
fn dockerds_arguments() {
    let system = Scratch::new();
    for (args, data) in [
        (
            &["/usr/sbin/dockerd", "--data-root", "/data/a"][..],
            "data/a",
        ),
        (&["dockerd", "--data-root=b"], "data/b"),
        (&["dockerd", "-g", "../data/c"], "data/c"),
        (&["dockerd", "--config-file", "/etc/mine.json"], "data/d"),
    ] {
        let process = system.process(42, args, "/system.slice/docker.service");
        let cwd = system.path(&format!("{process}/cwd"));
        let _ = fs::remove_file(&cwd);
        symlink("/data", cwd).unwrap();
        system.write("etc/mine.json", r#"{"data-root": "/data/d"}"#);
        let config = format!("{data}/containers/{WEB}/config.v2.json");
        let config = system.write(&config, DOCKER_RUNNING);
        let facts = system.facts(WEB, &format!("/docker/{WEB}")).unwrap();
        assert_eq!(facts.name.as_deref(), Some("web"), "{args:?}");
        fs::remove_file(config).unwrap();
    }
}

#[test]
fn a_new_runtime_is_found_when_it_comes() {
    let system = Scratch::new();
    let files = system.files();
    let ask = ask(CRI, &format!("{POD}/{CRI}"));
    assert!(files.facts(&ask, SECOND).unwrap().is_none());
    shim(&system, 42, "", "/system.slice/containerd.service");
    // It was looked for just now.
    assert!(files.facts(&ask, SECOND + 1).unwrap().is_none());
    assert!(files.facts(&ask, 2 * SECOND).unwrap().is_some());
}

#[test]
fn processes_that_make_no_sense() {
    let system = Scratch::new();
    for (pid, args) in [
        (1, &["conmon"][..]),
        (2, &["conmon", "-c"]),
        (3, &["conmon", "-c", CRI]),
        (4, &["conmon", "-c", CRI, "-b", ""]),
        (5, &["conmon", "-c", CRI, "-b", "\u{1b}[0m\n../.."]),
        (6, &["containerd-shim-runc-v2"]),
        (7, &["dockerd", "--data-root"]),
        (8, &["dockerd", "--config-file", "/"]),
        (9, &[""]),
    ] {
        system.process(pid, args, "/../../nonsense");
    }
    system.write("proc/10/comm", [0xff, 0xfe]);
    system.write("proc/11/comm", "conmon\n");
    system.write("proc/12/nothing", "");
    assert!(system.facts(CRI, &format!("{POD}/{CRI}")).is_none());
}
