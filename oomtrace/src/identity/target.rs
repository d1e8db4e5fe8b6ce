//! What a person points at: `container:web`, `pod:shop/web-6f`, `unit:nginx`, `cgroup:/a/b`.
//! Without a prefix it may be any of them.

use std::fmt;

use thiserror::Error;

use super::place::Place;
use crate::event::container::ContainerFacts;

/// It points at nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    #[error("there is nothing behind {0:?}: for example {0}{1}")]
    Empty(&'static str, &'static str),
    #[error("{0:?} is no path of a cgroup: it starts with a slash, as in /proc/PID/cgroup")]
    Relative(String),
    #[error(
        "{0} is one process or one death, and this is about a place: container:NAME|ID, pod:[NAMESPACE/]NAME, unit:NAME or cgroup:PATH"
    )]
    NoPlace(&'static str),
}

/// What can stand before a name, a process's id or a death's.
pub const KINDS: &str = "container:, pod:, unit:, cgroup:, pid: and id:";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A name, or the start of an id.
    Container(String),
    Pod {
        namespace: Option<String>,
        name: String,
    },
    /// With its suffix.
    Unit(String),
    Cgroup(String),
    /// The name of a container, a pod or a unit.
    Any(String),
}

impl fmt::Display for Target {
    /// As it is typed.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(name) => write!(to, "container:{name}"),
            Self::Pod {
                namespace: Some(namespace),
                name,
            } => write!(to, "pod:{namespace}/{name}"),
            Self::Pod {
                namespace: None,
                name,
            } => write!(to, "pod:{name}"),
            Self::Unit(name) => write!(to, "unit:{name}"),
            Self::Cgroup(path) => write!(to, "cgroup:{path}"),
            Self::Any(name) => to.write_str(name),
        }
    }
}

/// The start of an id that is long enough to be meant as one.
const ID_DIGITS: usize = 4;

impl Target {
    /// Reads what was typed.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let after = |prefix: &'static str, example: &'static str| {
            text.strip_prefix(prefix).map(|name| {
                if name.is_empty() {
                    Err(TargetError::Empty(prefix, example))
                } else {
                    Ok(name)
                }
            })
        };
        if let Some(name) = after("container:", "web") {
            return Ok(Self::Container(name?.to_owned()));
        }
        if let Some(name) = after("pod:", "shop/web-6f7d8b9c4-tq2nn") {
            let (namespace, name) = pod(name?);
            return Ok(Self::Pod {
                namespace: namespace.map(str::to_owned),
                name: name.to_owned(),
            });
        }
        if let Some(name) = after("unit:", "nginx.service") {
            return Ok(Self::Unit(with_suffix(name?)));
        }
        if let Some(path) = after("cgroup:", "/system.slice/nginx.service") {
            return cgroup(path?);
        }
        if let Some(one) = ["pid:", "id:"]
            .into_iter()
            .find(|one| text.starts_with(one))
        {
            return Err(TargetError::NoPlace(one));
        }
        if text.starts_with('/') {
            return cgroup(text);
        }
        if text.is_empty() {
            return Err(TargetError::Empty("", "container:web"));
        }
        Ok(Self::Any(text.to_owned()))
    }

    /// Whether a container can be meant of which the path tells nothing: only its runtime knows
    /// that it is one.
    #[must_use]
    pub const fn may_be_bare(&self) -> bool {
        matches!(self, Self::Container(_) | Self::Any(_))
    }

    /// Whether a process that runs at these paths, one of each hierarchy, is meant. `None`:
    /// that depends on what the innermost container is called, and it is not known.
    #[must_use]
    pub fn holds(&self, paths: &[&str], place: &Place, names: &Names<'_>) -> Option<bool> {
        match self {
            Self::Container(name) => of_container(name, place, names),
            Self::Pod { namespace, name } => of_pod(namespace.as_deref(), name, place, names),
            Self::Unit(name) => Some(of_unit(name, place)),
            Self::Cgroup(cgroup) => Some(paths.iter().any(|path| is_within(path, cgroup))),
            Self::Any(name) => {
                let (namespace, pod) = pod(name);
                let any = [
                    of_container(name, place, names),
                    of_pod(namespace, pod, place, names),
                    Some(of_unit(&with_suffix(name), place)),
                ];
                if any.contains(&Some(true)) {
                    Some(true)
                } else if any.contains(&None) {
                    None
                } else {
                    Some(false)
                }
            }
        }
    }
}

/// What stands before a colon as a kind does, and is none of them. Units and commands may be called
/// so (`runc:[2:INIT]`); containers and pods may not.
#[must_use]
pub fn unknown_kind(text: &str) -> Option<&str> {
    const KNOWN: [&str; 6] = ["container", "pod", "unit", "cgroup", "pid", "id"];
    let (kind, _) = text.split_once(':')?;
    let is_word = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphabetic());
    (is_word && !KNOWN.contains(&kind)).then_some(kind)
}

/// What is known of a container.
#[derive(Clone, Copy, Debug)]
pub enum Naming<'a> {
    /// More may come, unless it is final.
    Known(&'a ContainerFacts),
    /// Nobody knows it.
    Unknown,
    /// It is still asked for.
    Open,
}

/// What is known of containers, by their ids.
pub type Names<'a> = dyn Fn(&str) -> Naming<'a> + 'a;

/// `[NAMESPACE/]NAME`.
fn pod(text: &str) -> (Option<&str>, &str) {
    match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    }
}

fn cgroup(path: &str) -> Result<Target, TargetError> {
    if !path.starts_with('/') {
        return Err(TargetError::Relative(path.to_owned()));
    }
    let path = path.trim_end_matches('/');
    Ok(Target::Cgroup(
        if path.is_empty() { "/" } else { path }.to_owned(),
    ))
}

/// A unit's name as systemd has it: a bare one is a service's.
fn with_suffix(name: &str) -> String {
    const SUFFIXES: &[&str] = &[".service", ".scope", ".slice", ".socket", ".mount", ".swap"];
    if SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        name.to_owned()
    } else {
        format!("{name}.service")
    }
}

/// Whether a cgroup is another one or below it.
#[must_use]
pub fn is_within(path: &str, outer: &str) -> bool {
    outer == "/"
        || path
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn of_container(name: &str, place: &Place, names: &Names<'_>) -> Option<bool> {
    let mut is_open = false;
    for container in &place.containers {
        let by_id = name.len() >= ID_DIGITS && container.id.starts_with(name);
        // As runtimes print ids: nobody calls a container so.
        let is_id = name.len() >= 12 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let of_name = match names(&container.id) {
            Naming::Known(facts) => {
                is_open |= facts.name.is_none() && !facts.is_final;
                facts.name.as_deref() == Some(name)
            }
            Naming::Unknown => false,
            Naming::Open => {
                is_open |= !is_id;
                false
            }
        };
        if by_id || of_name || container.id == name {
            return Some(true);
        }
    }
    (!is_open).then_some(false)
}

fn of_pod(namespace: Option<&str>, name: &str, place: &Place, names: &Names<'_>) -> Option<bool> {
    if place.pod.as_ref().is_some_and(|pod| pod.uid == name) {
        return Some(true);
    }
    let mut is_open = false;
    for container in &place.containers {
        match names(&container.id) {
            Naming::Known(facts) => {
                let in_namespace =
                    namespace.is_none_or(|namespace| facts.namespace.as_deref() == Some(namespace));
                if in_namespace && facts.pod.as_deref() == Some(name) {
                    return Some(true);
                }
                is_open |= facts.pod.is_none() && !facts.is_final;
            }
            Naming::Unknown => {}
            Naming::Open => is_open = true,
        }
    }
    (!is_open).then_some(false)
}

fn of_unit(name: &str, place: &Place) -> bool {
    place
        .unit
        .as_ref()
        .is_some_and(|unit| unit.name == name || unit.slice.as_deref() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "/docker/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn holds(target: &str, path: &str, naming: Naming<'_>) -> Option<bool> {
        let target = Target::parse(target).unwrap();
        target.holds(&[path], &Place::of(path), &move |_| naming)
    }

    #[test]
    fn what_is_typed_is_read() {
        let pod = |namespace: Option<&str>, name: &str| Target::Pod {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        };
        assert_eq!(Target::parse("pod:shop/web"), Ok(pod(Some("shop"), "web")));
        assert_eq!(Target::parse("pod:web"), Ok(pod(None, "web")));
        assert_eq!(
            Target::parse("unit:ssh"),
            Ok(Target::Unit("ssh.service".into()))
        );
        assert_eq!(Target::parse("/a/b/"), Ok(Target::Cgroup("/a/b".into())));
        assert!(Target::parse("container:").is_err());
        assert!(Target::parse("cgroup:a").is_err());
        assert!(Target::parse("").is_err());
        assert_eq!(Target::parse("pid:12"), Err(TargetError::NoPlace("pid:")));
        assert_eq!(Target::parse("id:9f"), Err(TargetError::NoPlace("id:")));
    }

    #[test]
    fn a_kind_that_is_none_is_known_by_its_colon() {
        assert_eq!(unknown_kind("foo:bar"), Some("foo"));
        assert_eq!(unknown_kind("Pod:web"), Some("Pod"));
        for fine in [
            "pod:a:b",
            "web",
            ":1.2",
            "dbus-:1.2.service",
            "/a:b",
            "pid:x",
        ] {
            assert_eq!(unknown_kind(fine), None, "{fine}");
        }
    }

    #[test]
    fn a_container_is_known_by_id_or_name() {
        let facts = ContainerFacts {
            name: Some("web".to_owned()),
            pod: Some("web-1".to_owned()),
            namespace: Some("shop".to_owned()),
            ..ContainerFacts::default()
        };
        let known = Naming::Known(&facts);
        assert_eq!(holds("container:web", WEB, known), Some(true));
        assert_eq!(holds("web", WEB, known), Some(true));
        assert_eq!(holds("pod:shop/web-1", WEB, known), Some(true));
        assert_eq!(holds("pod:other/web-1", WEB, known), Some(false));
        assert_eq!(holds("container:db", WEB, known), Some(false));
        assert_eq!(holds("container:0123", WEB, Naming::Open), Some(true));
        assert_eq!(holds("container:web", WEB, Naming::Open), None);
        assert_eq!(holds("container:web", WEB, Naming::Unknown), Some(false));
        assert_eq!(
            holds("container:web", "/user.slice", Naming::Open),
            Some(false)
        );
    }

    #[test]
    fn what_is_known_of_a_container_may_lack_the_pod_yet() {
        let facts = |is_final: bool| ContainerFacts {
            name: Some("web".to_owned()),
            is_final,
            ..ContainerFacts::default()
        };
        let (first, last) = (facts(false), facts(true));
        assert_eq!(holds("pod:web-1", WEB, Naming::Known(&first)), None);
        assert_eq!(holds("web-1", WEB, Naming::Known(&first)), None);
        assert_eq!(
            holds("container:db", WEB, Naming::Known(&first)),
            Some(false)
        );
        assert_eq!(holds("pod:web-1", WEB, Naming::Known(&last)), Some(false));
        assert_eq!(holds("web-1", WEB, Naming::Known(&last)), Some(false));
    }

    #[test]
    fn units_and_cgroups_are_known_by_the_path() {
        let unit = "/system.slice/ssh.service/sub";
        assert_eq!(holds("unit:ssh", unit, Naming::Open), Some(true));
        assert_eq!(holds("ssh", unit, Naming::Open), Some(true));
        assert_eq!(holds("unit:sshd", unit, Naming::Open), Some(false));
        assert_eq!(holds("/system.slice", unit, Naming::Open), Some(true));
        assert_eq!(holds("/system", unit, Naming::Open), Some(false));
        assert_eq!(holds("/", unit, Naming::Open), Some(true));
    }
}
