//! What the path of a cgroup tells, on real paths and on made-up ones.

use oomtrace::identity::place::{ContainerPlace, Place};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Table {
    row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    path: String,
    #[serde(default)]
    containers: Vec<String>,
    own: Option<String>,
    pod: Option<String>,
    unit: Option<String>,
    slice: Option<String>,
    user: Option<u32>,
    seen: String,
}

fn told(container: &ContainerPlace) -> String {
    format!("{}:{}", container.runtime.unwrap_or("?"), container.id)
}

/// What a place tells, in the form of a row.
fn read(path: &str) -> Row {
    let place = Place::of(path);
    let own = place.containers.first().map(|first| first.cgroup.clone());
    Row {
        path: path.to_owned(),
        containers: place.containers.iter().map(told).collect(),
        own: own.filter(|own| own != path),
        pod: place.pod.map(|pod| format!("{} {}", pod.uid, pod.qos)),
        slice: place.unit.as_ref().and_then(|unit| unit.slice.clone()),
        user: place.unit.as_ref().and_then(|unit| unit.user),
        unit: place.unit.map(|unit| unit.name),
        seen: String::new(),
    }
}

fn differences(want: &Row, got: &Row) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, want: String, got: String| {
        if want != got {
            found.push(format!("{what}: {got}, not {want}"));
        }
    };
    compare(
        "containers",
        format!("{:?}", want.containers),
        format!("{:?}", got.containers),
    );
    compare("own", format!("{:?}", want.own), format!("{:?}", got.own));
    compare("pod", format!("{:?}", want.pod), format!("{:?}", got.pod));
    compare(
        "unit",
        format!("{:?}", want.unit),
        format!("{:?}", got.unit),
    );
    compare(
        "slice",
        format!("{:?}", want.slice),
        format!("{:?}", got.slice),
    );
    compare(
        "user",
        format!("{:?}", want.user),
        format!("{:?}", got.user),
    );
    found
}

#[test]
fn paths_that_were_seen() {
    let table: Table = toml::from_str(include_str!("paths.toml")).unwrap();
    assert!(table.row.len() >= 50);
    let mut wrong = String::new();
    for row in &table.row {
        assert!(
            !row.seen.is_empty(),
            "{}: nobody says where it is from",
            row.path
        );
        for difference in differences(row, &read(&row.path)) {
            wrong.push_str(&format!("{}\n  {difference}\n", row.path));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn names_that_no_cgroup_can_have() {
    let long = "a".repeat(4096);
    for path in [
        format!("/lxc/{long}"),
        format!("/lxc.payload.{long}"),
        format!("/system.slice/{long}.service"),
        format!("/system.slice/runc-{long}.scope"),
        format!("/kubepods/pod{long}"),
        format!("/machine.slice/machine-{long}.scope"),
        format!("/default/{long}"),
        "/lxc/a\u{1b}[31mb".to_owned(),
        "/lxc.payload.a\nb".to_owned(),
        "/system.slice/runc-a\u{7f}.scope".to_owned(),
        "/system.slice/a\0.service".to_owned(),
        "/system.slice/a\u{202e}.service".to_owned(),
    ] {
        assert_eq!(Place::of(&path), Place::default(), "{path:?}");
    }
}

#[test]
fn the_last_name_alone() {
    const ID: &str = "2377af6f47e9c2e2225515adaa6048c8bd465b03eef056f7ff82701d7abfe877";
    let container = |name: String| {
        let place = Place::of_leaf(&name);
        assert!(place.containers.iter().all(|found| found.cgroup.is_empty()));
        assert_eq!(place.unit, None, "{name}");
        place.containers.first().map(told)
    };
    assert_eq!(
        container(format!("libpod-{ID}.scope")),
        Some(format!("podman:{ID}"))
    );
    assert_eq!(container(ID.to_owned()), Some(format!("?:{ID}")));
    assert_eq!(
        container("lxc.payload.web".to_owned()),
        Some("lxc:web".to_owned())
    );
    assert_eq!(container("conmon".to_owned()), None);
    assert_eq!(container(String::new()), None);
    assert_eq!(container("/".to_owned()), None);

    let shim = Place::of_leaf(&format!(
        "kubepods-besteffort-poda_b.slice:cri-containerd:{ID}"
    ));
    assert_eq!(shim.pod.unwrap().uid, "a-b");
    assert_eq!(told(&shim.containers[0]), format!("containerd:{ID}"));

    let unit = |name: &str| Place::of_leaf(name).unit.map(|unit| unit.name);
    assert_eq!(unit("sshd.service").as_deref(), Some("sshd.service"));
    assert_eq!(unit("session-3.scope").as_deref(), Some("session-3.scope"));
    assert_eq!(unit("user.slice"), None);
    let conmon = format!("libpod-conmon-{ID}.scope");
    assert_eq!(unit(&conmon), Some(conmon));
}

/// Names that the reader looks for, and others.
fn name() -> impl Strategy<Value = String> {
    let hex = "[0-9a-f]{64}";
    prop_oneof![
        Just("docker".to_owned()),
        Just("kubepods".to_owned()),
        Just("burstable".to_owned()),
        Just("default".to_owned()),
        Just("lxc".to_owned()),
        Just("lxc.payload".to_owned()),
        Just("payload".to_owned()),
        Just("supervisor".to_owned()),
        Just("container".to_owned()),
        Just("machine.slice".to_owned()),
        Just("user-1000.slice".to_owned()),
        Just("user@1000.service".to_owned()),
        Just("ecs".to_owned()),
        hex,
        "(docker|crio|libpod|cri-containerd|libpod-conmon)-[0-9a-f]{64}(\\.scope)?",
        "(pod|kubepods-pod|kubepods-burstable-pod)[0-9a-f_-]{0,36}(\\.slice)?(:[a-z-]{0,15}:[0-9a-f]{0,64})?",
        "(machine-|systemd-nspawn@|runc-)(\\\\x[0-9a-zé]{0,2}|[a-z])*\\.(scope|service)",
        "[a-z@_.-]{0,8}\\.(service|scope|slice|mount)",
        "\\PC{0,12}",
        any::<String>(),
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => prop::collection::vec(name(), 0..8).prop_map(|names| format!("/{}", names.join("/"))),
        1 => any::<String>(),
    ]
}

proptest! {
    #[test]
    fn what_is_told_is_in_the_path(path in path()) {
        let place = Place::of(&path);
        let mut outer = path.as_str();
        for container in &place.containers {
            prop_assert!(!container.id.is_empty());
            prop_assert!(!container.id.chars().any(char::is_control));
            prop_assert!(!container.cgroup.is_empty());
            // Each is above the one before it.
            prop_assert!(outer.starts_with(&container.cgroup), "{outer:?} {container:?}");
            outer = &container.cgroup;
        }
        for own in place.pod.iter().map(|pod| &pod.cgroup).chain(place.unit.iter().map(|unit| &unit.cgroup)) {
            prop_assert!(!own.is_empty() && path.starts_with(own), "{own:?}");
        }
        if let Some(unit) = place.unit {
            prop_assert!(unit.name.contains('.') && unit.name.is_ascii());
        }
    }

    #[test]
    fn a_name_alone_is_read_without_panic(name in name()) {
        let place = Place::of_leaf(&name);
        for container in place.containers {
            prop_assert!(!container.id.is_empty() && container.cgroup.is_empty());
        }
    }

    #[test]
    fn what_a_container_makes_below_itself_does_not_change_what_it_is(
        id in "[0-9a-f]{64}", below in prop::collection::vec("[a-z]{1,8}", 0..4)
    ) {
        let own = format!("/docker/{id}");
        let mut path = own.clone();
        for name in below.iter().filter(|name| !matches!(name.as_str(), "docker" | "default" | "lxc")) {
            path.push('/');
            path.push_str(name);
        }
        let place = Place::of(&path);
        prop_assert_eq!(place.containers.len(), 1);
        prop_assert_eq!(&place.containers[0].cgroup, &own);
        prop_assert_eq!(place.unit, None);
    }
}
