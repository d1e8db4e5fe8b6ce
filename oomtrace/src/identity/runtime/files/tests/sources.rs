//! What each source tells of a container that runs.

use super::*;
use crate::event::container::ContainerKind;

#[test]
fn dockers_config() {
    let system = Scratch::new();
    system.docker(WEB, DOCKER_RUNNING);
    let task = system.task("moby", WEB, include_str!("../samples/docker-bundle.json"));
    system.write(&format!("{task}/init.pid"), "29862");
    let facts = system.facts(WEB, &format!("/docker/{WEB}")).unwrap();
    assert_eq!(facts.id, WEB);
    assert_eq!(facts.boottime_ns, 7);
    assert_eq!(facts.runtime.as_deref(), Some("docker"));
    assert_eq!(facts.name.as_deref(), Some("web"));
    assert_eq!(facts.image.as_deref(), Some("bb:latest"));
    assert_eq!(facts.labels["com.docker.compose.service"], "web");
    assert_eq!(facts.labels.len(), 3);
    assert_eq!(facts.init_pid, Some(29862));
    assert_eq!(facts.stop_grace_ms, Some(3000));
    assert_eq!(facts.stop_signal.as_deref(), Some("SIGUSR1"));
    assert_eq!(facts.kind, ContainerKind::Container);
    assert_eq!(facts.sources, ["docker's config.v2.json", "the OCI bundle"]);
    assert!(facts.can_tell_end && facts.is_final && !facts.pre_stop);
}

#[test]
fn docker_stops_after_ten_seconds_unless_told_otherwise() {
    let system = Scratch::new();
    system.docker(HOG, include_str!("../samples/docker-oom.json"));
    let facts = system.facts(HOG, &format!("/docker/{HOG}")).unwrap();
    assert_eq!(facts.stop_grace_ms, Some(10_000));
    assert_eq!(facts.stop_signal, None);
    // It has ended.
    assert_eq!(facts.init_pid, None);

    let for_ever = DOCKER_RUNNING.replace("\"StopTimeout\":3", "\"StopTimeout\":-1");
    system.docker(WEB, &for_ever);
    assert_eq!(system.facts(WEB, "").unwrap().stop_grace_ms, None);
    let null = DOCKER_RUNNING.replace("\"StopTimeout\":3", "\"StopTimeout\":null");
    system.docker(WEB, &null);
    assert_eq!(system.facts(WEB, "").unwrap().stop_grace_ms, Some(10_000));
}

#[test]
fn dockers_data_may_be_elsewhere() {
    let system = Scratch::new();
    system.write("etc/docker/daemon.json", r#"{"data-root": "/data/docker"}"#);
    let config = format!("data/docker/containers/{WEB}/config.v2.json");
    system.write(&config, DOCKER_RUNNING);
    let facts = system.facts(WEB, &format!("/docker/{WEB}")).unwrap();
    assert_eq!(facts.name.as_deref(), Some("web"));
}

#[test]
fn a_container_of_kubernetes_in_docker() {
    let system = Scratch::new();
    system.docker(WEB, include_str!("../samples/docker-kubernetes.json"));
    let facts = system.facts(WEB, &format!("{POD}/{WEB}")).unwrap();
    assert_eq!(facts.name.as_deref(), Some("web"));
    assert_eq!(facts.pod.as_deref(), Some("web-6f7"));
    assert_eq!(facts.namespace.as_deref(), Some("shop"));
    assert_eq!(facts.stop_grace_ms, Some(30_000));
    assert!(facts.pre_stop);
    assert!(facts.sandbox_id.unwrap().starts_with("b902509005a9"));
}

#[test]
fn containerds_cri_annotations() {
    let system = Scratch::new();
    let task = system.task("k8s.io", CRI, include_str!("../samples/cri-container.json"));
    system.write(&format!("{task}/init.pid"), "30330");
    system.cri_status(CRI, include_str!("../samples/cri-running.json"));
    system.task(
        "k8s.io",
        SANDBOX,
        include_str!("../samples/cri-sandbox.json"),
    );
    let facts = system.facts(CRI, &format!("{POD}/{CRI}")).unwrap();
    assert_eq!(facts.runtime.as_deref(), Some("containerd"));
    assert_eq!(facts.name.as_deref(), Some("web"));
    assert_eq!(facts.image.as_deref(), Some("docker.io/library/bb:latest"));
    assert_eq!(facts.pod.as_deref(), Some("web-6f7"));
    assert_eq!(facts.namespace.as_deref(), Some("default"));
    assert_eq!(facts.sandbox_id.as_deref(), Some(SANDBOX));
    assert_eq!(facts.init_pid, Some(30330));
    assert!(facts.can_tell_end);
    // Labels and the grace period are to be had over the socket alone.
    assert!(!facts.is_final);

    let sandbox = system.facts(SANDBOX, &format!("{POD}/{SANDBOX}")).unwrap();
    assert_eq!(sandbox.kind, ContainerKind::Sandbox);
    assert_eq!(sandbox.name, None);
    assert_eq!(sandbox.pod.as_deref(), Some("web-6f7"));
    assert!(!sandbox.can_tell_end);
}

#[test]
fn a_container_of_ctr_is_named_by_its_id() {
    let system = Scratch::new();
    system.task("default", "c1", include_str!("../samples/ctr.json"));
    let facts = system.facts("c1", "/default/c1").unwrap();
    assert_eq!(facts.runtime.as_deref(), Some("containerd"));
    assert_eq!(facts.name.as_deref(), Some("c1"));
    // One of the same name inside of a container is another.
    let inner = format!("/docker/{WEB}/default/c1");
    assert!(system.facts("c1", &inner).is_none());
}

#[test]
fn of_the_environment_only_the_heap_is_read() {
    let system = Scratch::new();
    let bundle = r#"{"process":{"env":["PATH=/bin","TOKEN=hunter2","GOMEMLIMIT=900MiB"]}}"#;
    system.task("default", "c1", bundle);
    let facts = system.facts("c1", "/default/c1").unwrap();
    assert_eq!(facts.heap, ["GOMEMLIMIT=900MiB"]);
    assert!(!format!("{facts:?}").contains("hunter2"));
}

#[test]
fn the_process_is_in_runcs_state_before_it_is_in_the_bundle() {
    let system = Scratch::new();
    let task = system.task("moby", WEB, include_str!("../samples/docker-bundle.json"));
    let options = r#"{"binary_name":"runc","root":"/data/exec/runtime-runc"}"#;
    system.write(&format!("{task}/options.json"), options);
    let state = include_str!("../samples/runc-state.json");
    system.write(
        &format!("data/exec/runtime-runc/moby/{WEB}/state.json"),
        state,
    );
    let facts = system.facts(WEB, &format!("/docker/{WEB}")).unwrap();
    assert_eq!(facts.init_pid, Some(30330));
    // Docker's data was not found.
    assert_eq!(facts.runtime.as_deref(), Some("docker"));
    assert_eq!(facts.name, None);
}

#[test]
fn podmans_storage() {
    let system = Scratch::new();
    let storage = "var/lib/containers/storage/overlay-containers";
    let bundle = include_str!("../samples/podman-bundle.json");
    system.write(&format!("{storage}/{PODMAN}/userdata/config.json"), bundle);
    let list = include_str!("../samples/podman-containers.json");
    system.write(&format!("{storage}/containers.json"), list);
    system.write(
        &format!("run/runc/{PODMAN}/state.json"),
        include_str!("../samples/runc-state.json"),
    );
    let cgroup = format!("/machine.slice/libpod-{PODMAN}.scope/container");
    let facts = system.facts(PODMAN, &cgroup).unwrap();
    assert_eq!(facts.runtime.as_deref(), Some("podman"));
    assert_eq!(facts.name.as_deref(), Some("web-6f7"));
    assert_eq!(facts.image.as_deref(), Some("docker.io/library/bb:latest"));
    assert_eq!(facts.stop_signal.as_deref(), Some("10"));
    assert_eq!(facts.stop_grace_ms, None);
    assert_eq!(facts.init_pid, Some(30330));
    assert!(facts.is_final && !facts.can_tell_end);

    // With `--rm`.
    fs::rename(
        system.path(&format!("{storage}/containers.json")),
        system.path(&format!("{storage}/volatile-containers.json")),
    )
    .unwrap();
    let facts = system.facts(PODMAN, &cgroup).unwrap();
    assert_eq!(facts.name.as_deref(), Some("web-6f7"));
}

#[test]
fn crios_annotations() {
    let system = Scratch::new();
    let storage = "run/containers/storage/overlay-containers";
    let config = format!("{storage}/{CRIO}/userdata/config.json");
    system.write(&config, include_str!("../samples/crio-kubernetes.json"));
    let cgroup = format!("{POD}/crio-{CRIO}");
    let facts = system.facts(CRIO, &cgroup).unwrap();
    assert_eq!(facts.runtime.as_deref(), Some("cri-o"));
    assert_eq!(facts.name.as_deref(), Some("web"));
    assert_eq!(
        facts.image.as_deref(),
        Some("registry.example.com/shop/web:7")
    );
    assert_eq!(facts.pod.as_deref(), Some("web-6f7"));
    assert_eq!(facts.namespace.as_deref(), Some("shop"));
    assert_eq!(facts.stop_grace_ms, Some(45_000));
    assert_eq!(facts.stop_signal.as_deref(), Some("SIGQUIT"));
    assert!(facts.pre_stop && facts.is_final);

    system.write(&config, include_str!("../samples/crio-container.json"));
    let facts = system.facts(CRIO, &cgroup).unwrap();
    assert_eq!(facts.name.as_deref(), Some("podsandbox1-redis"));
    assert_eq!(facts.pod.as_deref(), Some("podsandbox1"));
    assert_eq!(facts.image.as_deref(), Some("quay.io/crio/redis:alpine"));
    assert_eq!(facts.labels["tier"], "backend");
    assert_eq!(facts.stop_grace_ms, None);

    system.write(&config, include_str!("../samples/crio-sandbox.json"));
    let facts = system.facts(CRIO, &cgroup).unwrap();
    assert_eq!(facts.kind, ContainerKind::Sandbox);
    assert_eq!(facts.name, None);
    assert_eq!(facts.pod.as_deref(), Some("podsandbox1"));
    assert_eq!(facts.pod_uid.as_deref(), Some("uid-1"));
}

#[test]
fn runc_and_crun_alone() {
    let system = Scratch::new();
    let state = include_str!("../samples/runc-state.json");
    system.write("run/runc/k1/state.json", state);
    let facts = system.facts("k1", "/system.slice/runc-k1.scope").unwrap();
    assert_eq!(facts.runtime.as_deref(), Some("runc"));
    assert_eq!(facts.name.as_deref(), Some("k1"));
    assert_eq!(facts.init_pid, Some(30330));
    let state = include_str!("../samples/crun-status.json");
    system.write("run/crun/k2/status", state);
    let facts = system.facts("k2", "/system.slice/crun-k2.scope").unwrap();
    assert_eq!(facts.runtime.as_deref(), Some("crun"));
    assert_eq!(facts.init_pid, Some(4711));
    assert_eq!(facts.sources, ["crun's state"]);
}

#[test]
fn what_runs_is_found_in_cgroupfs() {
    let system = Scratch::new();
    let mut want = vec![
        format!("/docker/{WEB}"),
        format!("{POD}/{CRI}"),
        format!("/docker/{WEB}/docker/{HOG}"),
        "/default/c1".to_owned(),
    ];
    for path in &want {
        system.write(&format!("sys/fs/cgroup/memory{path}/cgroup.procs"), "");
        system.write(&format!("sys/fs/cgroup/unified{path}/cgroup.procs"), "");
    }
    system.write("sys/fs/cgroup/memory/docker/notes/cgroup.procs", "");
    system.write("sys/fs/cgroup/memory/cgroup.procs", "");
    system.write("sys/fs/cgroup/unified/cgroup.procs", "");
    std::os::unix::fs::symlink("/", system.path("sys/fs/cgroup/memory/link")).unwrap();
    let running = system.files().running();
    let mut got: Vec<String> = running.iter().map(|ask| ask.cgroup.clone()).collect();
    want.sort();
    got.sort();
    assert_eq!(got, want);
    assert!(running.iter().any(|ask| ask.id == HOG));
    assert!(Scratch::new().files().running().is_empty());
}

#[test]
fn nobody_knows() {
    let system = Scratch::new();
    system.docker(WEB, DOCKER_RUNNING);
    assert!(system.facts(HOG, &format!("/docker/{HOG}")).is_none());
    for id in ["", ".", "..", "../../etc", "a/b", "a\0b", &"x".repeat(300)] {
        assert!(system.facts(id, "").is_none(), "{id:?}");
    }
}
