//! Containers, as their runtimes name their cgroups. A name counts only where the runtime's
//! prefix, or the folder that it stands in, tells it from one that anybody may have made.

use std::borrow::Cow;

/// Longer names exist in no file system.
pub(super) const MAX_NAME: usize = 255;

/// A container found in a name.
pub(super) struct Found<'a> {
    pub(super) runtime: Option<&'static str>,
    pub(super) id: Cow<'a, str>,
    /// The unit around it was made to run it.
    pub(super) in_unit: bool,
}

/// systemd's scopes, `<prefix><id>.scope`: the driver's prefix, and whose it is.
const SCOPES: &[(&str, &str)] = &[
    ("docker-", "docker"),
    ("cri-containerd-", "containerd"),
    ("nerdctl-", "containerd"),
    ("crio-", "cri-o"),
    ("libpod-", "podman"),
];

/// The same without systemd: `<prefix><id>`. The prefix for a container that Podman runs
/// inside its own unit comes first.
const FOLDERS: &[(&str, &str, bool)] = &[
    ("libpod-payload-", "podman", true),
    ("libpod-", "podman", false),
    ("crio-", "cri-o", false),
];

/// Used by themselves, with systemd: the name is the user's choice.
const RUNTIMES: &[(&str, &str)] = &[("runc-", "runc"), ("crun-", "crun")];

/// Namespaces of containerd's that are known; any name may be one.
const NAMESPACES: &[&str] = &["default", "k8s.io", "services.linuxkit"];

/// Whether this is the container's own, made by its runtime so that what is inside can have
/// cgroups of its own: crun's, and systemd-nspawn's.
pub(super) fn is_payload(name: &str) -> bool {
    matches!(name, "container" | "payload")
}

/// The container that has this name in this folder. `in_pod`: the folder is a pod's; `next`:
/// the name below.
pub(super) fn container<'a>(
    above: &[&str],
    name: &'a str,
    in_pod: bool,
    next: Option<&str>,
) -> Option<Found<'a>> {
    if name.len() > MAX_NAME || name.contains(char::is_control) {
        return None;
    }
    let found = |runtime, id: &'a str| {
        Some(Found {
            runtime,
            id: Cow::Borrowed(id),
            in_unit: false,
        })
    };
    if let Some((runtime, id, in_unit)) = by_prefix(name) {
        return found(Some(runtime), id).map(|found| Found { in_unit, ..found });
    }
    if let Some(machine) = machine(above, name, next) {
        return Some(machine);
    }
    match above {
        // containerd and Docker are alike here.
        _ if in_pod && is_hex_id(name) => found(None, name),
        [.., "docker"] | [.., "docker", "buildx"] if is_hex_id(name) => found(Some("docker"), name),
        ["buildkit"] | [.., "docker", "buildkit"] if is_build_id(name) => {
            found(Some("buildkit"), name)
        }
        ["ecs", task] | ["ecs", _, task] if is_ecs_task(task) && is_hex_id(name) => {
            found(Some("docker"), name)
        }
        ["ecs", task] | ["ecs", _, task] if is_fargate_id(name, task) => found(None, name),
        [namespace] if NAMESPACES.contains(namespace) && is_containerd_id(name) => {
            found(Some("containerd"), name)
        }
        ["lxc"] | [.., "lxc.payload" | "incus.payload"] => found(Some("lxc"), name),
        [.., "garden"] | [.., "garden", "good" | "bad"] if is_guid(name) => {
            found(Some("garden"), name)
        }
        _ => None,
    }
}

/// The container that a name tells of without its folder. An id by itself counts here: who
/// asks knows no more.
pub(super) fn container_alone(name: &str) -> Option<(Option<&'static str>, &str)> {
    if name.len() > MAX_NAME || name.contains(char::is_control) {
        return None;
    }
    if let Some((runtime, id, _)) = by_prefix(name) {
        return Some((Some(runtime), id));
    }
    is_hex_id(name).then_some((None, name))
}

/// Names that say it all: runtime, id, and whether the unit around it is the container's.
fn by_prefix(name: &str) -> Option<(&'static str, &str, bool)> {
    if let Some(name) = name
        .strip_prefix("lxc.payload.")
        .filter(|id| !id.is_empty())
    {
        return Some(("lxc", name, false));
    }
    if let Some(stem) = name.strip_suffix(".scope") {
        for (prefix, runtime) in SCOPES {
            let Some(id) = stem.strip_prefix(prefix) else {
                continue;
            };
            if is_hex_id(id) {
                return Some((runtime, id, false));
            }
            if *runtime == "docker" && is_build_id(id) {
                return Some(("buildkit", id, false));
            }
        }
        return RUNTIMES.iter().find_map(|(prefix, runtime)| {
            let id = stem.strip_prefix(prefix).filter(|id| !id.is_empty())?;
            Some((*runtime, id, false))
        });
    }
    for (prefix, runtime, in_unit) in FOLDERS {
        if let Some(id) = name.strip_prefix(prefix).filter(|id| is_hex_id(id)) {
            return Some((runtime, id, *in_unit));
        }
    }
    // A runtime whose driver is cgroupfs, told the path for systemd's.
    let (slice, rest) = name.split_once(".slice:")?;
    let (prefix, id) = rest.split_once(':')?;
    let (_, runtime) = SCOPES
        .iter()
        .find(|(known, _)| known.strip_suffix('-') == Some(prefix))?;
    (!slice.is_empty() && is_hex_id(id)).then_some((runtime, id, false))
}

/// systemd's machines: systemd-nspawn's, and those of libvirt that are containers.
fn machine<'a>(above: &[&str], name: &'a str, next: Option<&str>) -> Option<Found<'a>> {
    let escaped = if let Some(service) = name.strip_suffix(".service") {
        service.strip_prefix("systemd-nspawn@")?
    } else {
        let scope = name.strip_suffix(".scope")?.strip_prefix("machine-")?;
        let slice = above.last()?;
        (*slice == "machine.slice" || slice.starts_with("machine-")).then_some(scope)?
    };
    // systemd-nspawn itself, outside of its container.
    if next == Some("supervisor") || escaped.is_empty() {
        return None;
    }
    let id = unescape(escaped);
    let runtime = match libvirt_driver(&id) {
        None => "systemd-nspawn",
        Some("lxc") => "lxc",
        // A virtual machine.
        Some(_) => return None,
    };
    Some(Found {
        runtime: Some(runtime),
        id,
        in_unit: false,
    })
}

/// libvirt's machines are `<driver>-<number>-<name>`.
fn libvirt_driver(machine: &str) -> Option<&str> {
    let (driver, rest) = machine.split_once('-')?;
    let (number, _) = rest.split_once('-')?;
    let known = matches!(driver, "qemu" | "lxc" | "xen" | "ch" | "bhyve");
    (known && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        .then_some(driver)
}

/// systemd's escapes: `\x2d` for a dash, and a dash for a slash. A slash in a machine's name
/// there is none.
fn unescape(name: &str) -> Cow<'_, str> {
    if !name.contains("\\x") {
        return Cow::Borrowed(name);
    }
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("\\x") {
        plain.push_str(before);
        // ASCII alone: other characters stand as they are in names that are text.
        let byte = after
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .filter(|byte| byte.is_ascii() && !byte.is_ascii_control());
        if let Some(byte) = byte {
            plain.push(char::from(byte));
            rest = &after[2..];
        } else {
            plain.push_str("\\x");
            rest = after;
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Docker's, Podman's, CRI-O's, nerdctl's, and of containerd's CRI plugin.
fn is_hex_id(id: &str) -> bool {
    id.len() == 64 && is_hex(id)
}

/// BuildKit's: 25 digits to the base of 36.
fn is_build_id(id: &str) -> bool {
    id.len() == 25
        && id
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
}

/// `identifiers.Validate` of containerd: letters and digits, in between single marks.
fn is_containerd_id(id: &str) -> bool {
    id.len() <= 76
        && id
            .split(['.', '_', '-'])
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// With dashes in the first years, without since.
fn is_ecs_task(task: &str) -> bool {
    is_guid(task) || (task.len() == 32 && is_hex(task))
}

/// Fargate's: the task, and a number.
fn is_fargate_id(id: &str, task: &str) -> bool {
    is_ecs_task(task)
        && id
            .strip_prefix(task)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Four dashes after 8, 4, 4 and 4 hexadecimal digits; the last group has 12, or 4 in Cloud
/// Foundry.
fn is_guid(id: &str) -> bool {
    let mut groups = id.split('-');
    let mut group = |lengths: &[usize]| {
        groups
            .next()
            .is_some_and(|group| lengths.contains(&group.len()) && is_hex(group))
    };
    group(&[8])
        && group(&[4])
        && group(&[4])
        && group(&[4])
        && group(&[4, 12])
        && groups.next().is_none()
}
