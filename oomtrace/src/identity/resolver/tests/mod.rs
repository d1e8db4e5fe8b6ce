//! Against real sockets. The answers are those of real runtimes: Docker 20.10, Podman 4.3,
//! containerd 1.6.

mod servers;

use std::{
    collections::HashMap,
    io::Write as _,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use self::servers::System;
use super::{Options, Resolver};
use crate::{
    event::{
        container::{Ask, ContainerFacts, ContainerKind, ContainerState, ContainerUnknown, What},
        entry::Entry,
    },
    identity::runtime::files::Roots,
    privileges::Keep,
};

/// Longer than anything here takes, on any machine.
const LONG: Duration = Duration::from_secs(60);

const DOCKER: &str = include_str!("../samples/docker-inspect.json");
const PODMAN: &str = include_str!("../samples/podman-inspect.json");
const DOCKER_ID: &str = "a2433b22335ec662172ac3714150e8e94387b60b6a2e6b0321b0ff4494cd524a";
const PODMAN_ID: &str = "61030713f4698e740933ef404baf346abb7a0bfec6e36bc7b012f7f4476b5e20";
const CRI_ID: &str = "4e56a70e5a56d7f636f910e674d2156dc7bbdd3aa80a7de9362c66e3d9089ced";
const SANDBOX_ID: &str = "7fcd6d26ff297dab046639edc1f3c18e97b6edf9aa4dfecec727af94e3f78dc8";

struct Asked {
    resolver: Resolver,
    entries: Receiver<Entry>,
}

impl Asked {
    fn of(system: &System) -> Self {
        Self::with(Options {
            roots: Some(Roots::under(system.root())),
            docker_host: None,
            keep: Keep::all(),
        })
    }

    fn with(options: Options) -> Self {
        let (sender, entries) = channel();
        let resolver = Resolver::start(options, move |entry| sender.send(entry).is_ok()).unwrap();
        Self { resolver, entries }
    }

    fn ask(&self, id: &str, cgroup: String, what: What) {
        self.resolver.ask(Ask {
            id: id.to_owned(),
            cgroup,
            what,
        });
    }

    fn next(&self) -> Entry {
        self.entries.recv_timeout(LONG).unwrap()
    }

    fn facts(&self, id: &str, cgroup: String) -> ContainerFacts {
        self.ask(id, cgroup, What::Facts);
        loop {
            match self.next() {
                Entry::ContainerFacts(facts) if facts.is_final => return *facts,
                Entry::ContainerFacts(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn unknown(&self, id: &str, cgroup: String) -> ContainerUnknown {
        self.ask(id, cgroup, What::Facts);
        match self.next() {
            Entry::ContainerUnknown(unknown) => unknown,
            other => panic!("{other:?}"),
        }
    }

    fn end(&self, id: &str, cgroup: String, since_ns: u64) -> ContainerState {
        self.ask(id, cgroup, What::End { since_ns });
        match self.next() {
            Entry::ContainerState(state) => state,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn docker_says_who_it_is_and_how_it_ended() {
    let system = System::new();
    system.docker("run/docker.sock", DOCKER_ID, DOCKER, "");
    let asked = Asked::of(&system);
    let cgroup = system.cgroup("docker/") + DOCKER_ID;
    let facts = asked.facts(DOCKER_ID, cgroup.clone());
    assert_eq!(facts.runtime.as_deref(), Some("docker"));
    assert_eq!(facts.name.as_deref(), Some("web"));
    assert_eq!(facts.image.as_deref(), Some("bb"));
    assert_eq!(facts.stop_grace_ms, Some(30_000));
    assert_eq!(facts.stop_signal.as_deref(), Some("SIGQUIT"));
    assert_eq!(
        facts.labels.get("com.docker.compose.project").unwrap(),
        "shop"
    );
    assert!(facts.can_tell_end);
    let end = asked.end(DOCKER_ID, cgroup, 0);
    assert_eq!(end.words, r#"OOMKilled=true, ExitCode=3, Error="""#);
    assert_eq!(end.running, Some(false));
    assert_eq!(end.exit_code, Some(3));
    assert_eq!(end.oom_killed, Some(true));
    assert_eq!(end.runtime, "docker");
    assert!(end.source.contains("run/docker.sock"), "{}", end.source);
}

#[test]
fn podman_behind_dockers_socket_is_podman() {
    let system = System::new();
    let header = "Libpod-Api-Version: 4.3.1\r\n";
    system.docker("run/docker.sock", PODMAN_ID, PODMAN, header);
    let asked = Asked::of(&system);
    let cgroup = system.cgroup("libpod_parent/libpod-") + PODMAN_ID;
    let facts = asked.facts(PODMAN_ID, cgroup.clone());
    assert_eq!(facts.runtime.as_deref(), Some("podman"));
    assert_eq!(facts.name.as_deref(), Some("web"));
    assert_eq!(facts.stop_grace_ms, Some(5_000));
    assert_eq!(asked.end(PODMAN_ID, cgroup, 0).runtime, "podman");
}

#[test]
fn a_runtime_that_is_late_is_waited_for_where_its_files_tell_less() {
    let system = System::new();
    system.late_podman(
        "run/podman/podman.sock",
        PODMAN_ID,
        PODMAN,
        Duration::from_millis(1100),
    );
    let storage = "var/lib/containers/storage/overlay-containers";
    let bundle = include_str!("../../runtime/files/samples/podman-bundle.json");
    let list = format!(r#"[{{"id":"{PODMAN_ID}","names":["web"]}}]"#);
    for (path, text) in [
        (
            format!("{storage}/{PODMAN_ID}/userdata/config.json"),
            bundle,
        ),
        (format!("{storage}/containers.json"), &list),
        (
            format!("run/runc/{PODMAN_ID}/state.json"),
            r#"{"init_process_pid":7}"#,
        ),
    ] {
        system.file(&path, text);
    }
    let asked = Asked::of(&system);
    let cgroup = system.cgroup("libpod_parent/libpod-") + PODMAN_ID;
    let facts = asked.facts(PODMAN_ID, cgroup);
    // What the files tell needs nobody's help.
    assert_eq!(facts.name.as_deref(), Some("web"));
    assert!(
        facts
            .sources
            .iter()
            .any(|source| source.contains("containers.json"))
    );
    assert_eq!(facts.init_pid, Some(7));
    assert_eq!(facts.stop_grace_ms, Some(5_000));
}

#[test]
fn words_that_docker_has_not_do_not_hide_the_rest() {
    let system = System::new();
    // So Podman says for a moment, until it has cleaned up.
    let stopped = PODMAN.replace(r#""Status":"exited""#, r#""Status":"stopped""#);
    assert_ne!(stopped, PODMAN);
    let header = "Libpod-Api-Version: 4.3.1\r\n";
    system.docker("run/docker.sock", PODMAN_ID, stopped.leak(), header);
    let asked = Asked::of(&system);
    let cgroup = system.cgroup("libpod_parent/libpod-") + PODMAN_ID;
    let facts = asked.facts(PODMAN_ID, cgroup.clone());
    assert_eq!(facts.name.as_deref(), Some("web"));
    assert_eq!(facts.labels.get("a").unwrap(), "b");
    let end = asked.end(PODMAN_ID, cgroup, 0);
    assert_eq!(end.words, r#"OOMKilled=false, ExitCode=137, Error="""#);
}

fn containerd(system: &System) {
    let answers: [(_, &[u8]); 3] = [
        (
            "/runtime.v1.RuntimeService/ContainerStatus",
            include_bytes!("../samples/container-status.bin"),
        ),
        (
            "/runtime.v1.RuntimeService/ListContainers",
            include_bytes!("../samples/list-containers.bin"),
        ),
        (
            "/runtime.v1.RuntimeService/PodSandboxStatus",
            include_bytes!("../samples/sandbox-status.bin"),
        ),
    ];
    system.grpc("run/containerd/containerd.sock", HashMap::from(answers));
}

#[test]
fn the_cri_says_which_pod_it_is_and_how_it_ended() {
    let system = System::new();
    containerd(&system);
    let asked = Asked::of(&system);
    let facts = asked.facts(CRI_ID, system.cgroup(CRI_ID));
    assert_eq!(facts.runtime.as_deref(), Some("containerd"));
    assert_eq!(facts.kind, ContainerKind::Container);
    assert_eq!(facts.name.as_deref(), Some("hog"));
    assert_eq!(facts.image.as_deref(), Some("docker.io/library/bb:latest"));
    assert_eq!(facts.pod.as_deref(), Some("web-6"));
    assert_eq!(facts.namespace.as_deref(), Some("default"));
    assert_eq!(facts.sandbox_id.as_deref(), Some(SANDBOX_ID));
    let end = asked.end(CRI_ID, system.cgroup(CRI_ID), 0);
    assert_eq!(end.words, "state=EXITED, reason=OOMKilled, exitCode=3");
    assert_eq!(end.oom_killed, Some(true));
    assert_eq!(end.exit_code, Some(3));
    assert_eq!(end.runtime, "CRI");
}

#[test]
fn a_sandbox_is_asked_for_as_one() {
    let system = System::new();
    containerd(&system);
    let asked = Asked::of(&system);
    let facts = asked.facts(SANDBOX_ID, system.cgroup(SANDBOX_ID));
    assert_eq!(facts.kind, ContainerKind::Sandbox);
    assert_eq!(facts.name, None);
    assert_eq!(facts.pod.as_deref(), Some("web-6"));
}

#[test]
fn the_end_of_an_earlier_run_is_not_taken_for_this_one() {
    let system = System::new();
    system.docker("run/docker.sock", DOCKER_ID, DOCKER, "");
    let asked = Asked::of(&system);
    let now_ns = crate::identity::host::now().boottime_ns;
    let since_ns = now_ns + 10 * LONG.as_nanos() as u64;
    let cgroup = system.cgroup("docker/") + DOCKER_ID;
    asked.ask(DOCKER_ID, cgroup, What::End { since_ns });
    let Entry::ContainerUnknown(unknown) = asked.next() else {
        panic!("an earlier run is no answer");
    };
    assert!(unknown.of_end);
    assert!(unknown.why.contains("earlier run"), "{}", unknown.why);
}

#[test]
fn a_socket_that_hangs_keeps_nobody_back_and_is_left_in_peace() {
    let system = System::new();
    let hung = system.hang("run/docker.sock");
    let also = system.hang("run/containerd/containerd.sock");
    system.docker("run/podman/podman.sock", DOCKER_ID, DOCKER, "");
    let asked = Asked::of(&system);
    let facts = asked.facts(DOCKER_ID, system.cgroup(DOCKER_ID));
    assert_eq!(facts.name.as_deref(), Some("web"));
    for id in ["a", "b", "c", "d"] {
        let unknown = asked.unknown(id, system.cgroup(id));
        assert!(unknown.why.contains("docker.sock"), "{}", unknown.why);
    }
    let connections =
        |count: &std::sync::atomic::AtomicUsize| count.load(std::sync::atomic::Ordering::Relaxed);
    // Some may be asked at the same time, before either is late.
    assert!((1..=4).contains(&connections(&hung)), "{hung:?}");
    assert!((1..=8).contains(&connections(&also)), "{also:?}");
}

#[test]
fn nonsense_is_not_believed() {
    let nonsense: &[&'static [u8]] = &[
        b"",
        b"\0\xff\xfe not a protocol \r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n{\"Id\":",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        // The settings that begin a connection in HTTP/2, and then a frame without end.
        b"\0\0\0\x04\0\0\0\0\0\xff\xff\xff\0\0\0\0\0\x01garbage",
    ];
    for bytes in nonsense {
        let system = System::new();
        for path in ["run/docker.sock", "run/crio/crio.sock"] {
            system.serve(path, |mut stream| {
                let _ = stream.write_all(bytes);
            });
        }
        let asked = Asked::of(&system);
        let unknown = asked.unknown("c1", system.cgroup("c1"));
        let why = unknown.why;
        assert!(!unknown.of_end);
        assert!(
            why.contains("docker.sock") && why.contains("crio.sock"),
            "{bytes:?}: {why}"
        );
    }
}

#[test]
fn another_container_than_asked_for_is_not_believed() {
    let system = System::new();
    // As Docker does when it is asked for a name.
    system.docker("run/docker.sock", "web", DOCKER, "");
    let asked = Asked::of(&system);
    let unknown = asked.unknown("web", system.cgroup("web"));
    assert!(unknown.why.contains("does not know"), "{}", unknown.why);
}

#[test]
fn an_id_that_is_none_is_not_passed_on() {
    let system = System::new();
    let hung = system.hang("run/docker.sock");
    assert!(servers::exists(&system, "run/docker.sock"));
    let asked = Asked::of(&system);
    let unknown = asked.unknown("../../images/json?x=", system.cgroup("x"));
    assert!(unknown.why.contains("no id"), "{}", unknown.why);
    assert_eq!(hung.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn it_ends_while_a_socket_hangs() {
    let system = System::new();
    system.hang("run/docker.sock");
    let asked = Asked::of(&system);
    asked.ask("c1", system.cgroup("c1"), What::Facts);
    let Asked { resolver, entries } = asked;
    drop(resolver);
    let gone = std::iter::repeat_with(|| entries.recv_timeout(LONG)).find_map(Result::err);
    assert_eq!(gone, Some(RecvTimeoutError::Disconnected));
}

#[test]
fn it_ends_when_nobody_takes_its_answers() {
    let asked = Asked::with(Options::nobody());
    let (sender, entries) = channel();
    let resolver = Resolver::start(Options::nobody(), move |entry| {
        let _ = sender.send(entry);
        false
    })
    .unwrap();
    drop(asked);
    let ask = Ask {
        id: "c1".to_owned(),
        cgroup: "/c1".to_owned(),
        what: What::Facts,
    };
    resolver.ask(ask.clone());
    assert!(entries.recv_timeout(LONG).is_ok());
    assert_eq!(
        entries.recv_timeout(LONG),
        Err(RecvTimeoutError::Disconnected)
    );
    // Nobody is there any more; nothing waits for that.
    resolver.ask(ask);
    while resolver.pending() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn who_is_not_to_be_asked_is_not() {
    let system = System::new();
    let hung = system.hang("run/docker.sock");
    let asked = Asked::with(Options::nobody());
    asked.ask("c1", system.cgroup("c1"), What::End { since_ns: 0 });
    let Entry::ContainerUnknown(unknown) = asked.next() else {
        panic!("nobody can know");
    };
    assert!(unknown.of_end);
    assert_eq!(unknown.why, "container runtimes are not asked");
    assert_eq!(hung.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn to_ask_never_waits_and_what_finds_no_room_is_answered_with_that() {
    const ASKED: usize = super::QUEUE + super::REFUSED + 2;
    let (open, gate) = channel::<()>();
    let (sender, entries) = channel();
    let resolver = Resolver::start(Options::nobody(), move |entry| {
        let _ = gate.recv();
        sender.send(entry).is_ok()
    })
    .unwrap();
    for number in 0..ASKED {
        resolver.ask(Ask {
            id: format!("c{number}"),
            cgroup: "/".to_owned(),
            what: What::Facts,
        });
    }
    drop(open);
    while resolver.pending() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(resolver);
    // One may be held by the thread; and one at most found no room at all.
    assert!(entries.iter().count() >= ASKED - 2);
}
