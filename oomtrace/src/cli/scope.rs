//! `--scope`: what was typed, and what the programs are told of it.

use std::{collections::HashSet, fs, path::Path};

use anyhow::{Context as _, Result, anyhow};
use oomtrace_common::{maps::CgroupKey, wire::MAX_CGROUP_NAMES};

use crate::{
    event::{
        container::{CgroupChange, CgroupChangeKind},
        decode::ChildCgroup,
        entry::Absent,
    },
    identity::{
        cgroupfs, host,
        place::Place,
        target::{Naming, Target, TargetError, is_within, unknown_kind},
    },
    probe::{
        attach::{Probe, ScopeKind},
        own_place::{ChildrenOf, OwnPlace},
        scope::ScopeMap,
    },
    provenance::scope::Scope,
};

/// All that a scope can be.
const SCOPES: &str = "node, pod, container:NAME|ID, pod:[NAMESPACE/]NAME, unit:NAME or cgroup:PATH";

/// What was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum ScopeArg {
    #[default]
    Node,
    /// The pod that oomtrace itself runs in.
    Pod,
    Target(Target),
}

impl ScopeArg {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "node" => Ok(Self::Node),
            "pod" => Ok(Self::Pod),
            _ => Self::target(text),
        }
    }

    fn target(text: &str) -> Result<Self, String> {
        let target = match Target::parse(text) {
            Ok(target) => target,
            Err(TargetError::NoPlace(_)) => {
                return Err(format!(
                    "one process is no scope: a scope is {SCOPES}; take the cgroup: of that process \
                     (/proc/PID/cgroup has it) or its unit:, have `oomtrace exec` run it, or trace the node"
                ));
            }
            Err(error) => return Err(error.to_string()),
        };
        // Of all that has a name only a unit can be called so.
        if matches!(target, Target::Any(_))
            && let Some(kind) = unknown_kind(text)
        {
            return Err(format!(
                "there is no scope {kind}: a scope is {SCOPES}; a unit of that name is unit:{text}"
            ));
        }
        Ok(Self::Target(target))
    }

    /// What the programs must know before they are loaded.
    pub(super) fn kind(&self) -> ScopeKind {
        match self {
            Self::Node => ScopeKind::Node,
            Self::Pod => ScopeKind::Fixed,
            Self::Target(_) => ScopeKind::Changing,
        }
    }

    /// The scope of a recorded stream, which knows nothing of where oomtrace runs now.
    pub(super) fn recorded(&self) -> Result<Scope> {
        match self {
            Self::Node => Ok(Scope::Node),
            Self::Pod => Err(anyhow!(
                "--scope pod is the pod that oomtrace itself runs in, and a recording is of another time\n\
                 do: name it: --scope pod:NAMESPACE/NAME"
            )),
            Self::Target(target) => Ok(Scope::Target(target.clone())),
        }
    }
}

/// A scope in force.
pub(super) struct Scoping {
    pub(super) scope: Scope,
    pub(super) map: Option<ScopeMap>,
    pub(super) own_pod: Option<OwnPod>,
    /// Cgroups that are there already and may be in scope.
    pub(super) found: Vec<CgroupChange>,
    pub(super) awaited: Option<Awaited>,
    /// What cannot be seen from here.
    pub(super) absent: Vec<Absent>,
}

/// Tells the programs what is in scope now.
pub(super) fn set_up(arg: &ScopeArg, probe: &mut Probe) -> Result<Scoping> {
    let mut scoping = Scoping {
        scope: Scope::Node,
        map: probe.take_scope(),
        own_pod: None,
        found: Vec::new(),
        awaited: None,
        absent: Vec::new(),
    };
    match arg {
        ScopeArg::Node => {}
        ScopeArg::Pod => own_pod(probe, &mut scoping)?,
        ScopeArg::Target(target) => of_target(target, probe, &mut scoping)?,
    }
    if host::in_pid_namespace() {
        scoping.absent.push(Absent {
            what: "/proc of the node: the state of a victim that hangs, the files of its runtime"
                .to_owned(),
            why: "this PID namespace is not the node's; the kernel's own records have the ids of both (hostPID: true shows /proc as well)".to_owned(),
        });
    }
    Ok(scoping)
}

/// The pod that this process runs in.
pub(super) struct OwnPod {
    /// The name of this process's own container's cgroup, right below the pod's.
    own: String,
    /// Its sandbox's, which does not count: it runs nothing of the user's, and ends last. Looked
    /// for once, while all is there: what is left at the end tells nothing.
    sandbox: Option<String>,
    /// Where the pod's cgroup is.
    pod: ChildrenOf,
}

impl OwnPod {
    /// The containers beside our own in which something runs still.
    pub(super) fn others(&self, probe: &Probe) -> Result<usize> {
        let children = probe.own_place(Some(self.pod))?.children;
        let is_other = |child: &&ChildCgroup| {
            child.name != self.own
                && self.sandbox.as_ref() != Some(&child.name)
                && !child.name.starts_with(CONMON)
        };
        Ok(children.iter().filter(is_other).count())
    }
}

/// CRI-O has a cgroup for each container's conmon beside the container's own.
const CONMON: &str = "crio-conmon-";
/// What a sandbox runs, where the runtime's configuration names no other image.
const PAUSE: &str = "pause";

/// The cgroup of the pod's sandbox: the oldest in which `pause` runs. By another name it is known
/// only as the one that was made first; but CRI-O has a sandbox with a process only if it is told
/// to (`drop_infra_ctr = false`) or must (a shared PID namespace), and then it is called
/// `crio-<id>` like all others: there one by another name would be taken for a container, and
/// the sidecar stays until it is ended.
fn sandbox_of(children: &[ChildCgroup], own: &str) -> Option<String> {
    let pauses = |child: &&ChildCgroup| child.name != own && child.comm == PAUSE;
    let is_first = |child: &&ChildCgroup| child.name != own && !own.starts_with("crio-");
    let first = || children.first().filter(is_first);
    let sandbox = children.iter().find(pauses).or_else(first)?;
    Some(sandbox.name.clone())
}

/// A pod as one hierarchy has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PodPlace {
    path: String,
    /// So many levels above this process's own cgroup.
    up: u32,
    /// The name of the cgroup right below it.
    own: String,
    id: u64,
}

fn pod_of(path: Option<&str>, levels: &[u64]) -> Option<PodPlace> {
    let path = path?;
    let pod = Place::of(path).pod?.cgroup;
    let below = path.strip_prefix(&pod)?.strip_prefix('/')?;
    let up = below.split('/').count();
    let own = below.split('/').next()?.to_owned();
    Some(PodPlace {
        up: up as u32,
        own,
        id: *levels.get(up)?,
        path: pod,
    })
}

fn own_pod(probe: &Probe, scoping: &mut Scoping) -> Result<()> {
    let place = probe.own_place(None)?;
    let memory = pod_of(place.memory_cgroup.as_deref(), &place.memory_levels);
    // On v2 alone both paths are of the same hierarchy, and mostly the same.
    let of_v2 = || {
        place
            .memory_cgroup
            .as_deref()
            .filter(|_| place.memory_levels.is_empty())
    };
    let unified = place.unified_cgroup.as_deref().or_else(of_v2);
    let unified = pod_of(unified, &place.unified_levels);
    if let Some(map) = &mut scoping.map {
        for (pod, is_unified) in [(&memory, false), (&unified, true)] {
            if let Some(pod) = pod {
                map.hold(CgroupKey::new(pod.id, is_unified));
            }
        }
    }
    let is_unified = memory.is_none();
    let Some(pod) = memory.or(unified) else {
        return Err(anyhow!(
            "--scope pod: this process is in no Kubernetes pod, as far as its cgroup tells: {}\n\
             do: run it as a container of the pod, or name the scope: --scope container:NAME, pod:NAMESPACE/NAME or cgroup:PATH",
            paths(&place)
        ));
    };
    let children = ChildrenOf {
        up: pod.up,
        unified: is_unified,
    };
    let beside = probe.own_place(Some(children))?.children;
    scoping.scope = Scope::Below(pod.path);
    scoping.own_pod = Some(OwnPod {
        sandbox: sandbox_of(&beside, &pod.own),
        own: pod.own,
        pod: children,
    });
    Ok(())
}

fn paths(place: &OwnPlace) -> String {
    let paths: Vec<&str> = [&place.memory_cgroup, &place.unified_cgroup]
        .into_iter()
        .filter_map(|path| path.as_deref())
        .collect();
    if paths.is_empty() {
        "unknown".to_owned()
    } else {
        paths.join(" and ")
    }
}

fn of_target(target: &Target, probe: &Probe, scoping: &mut Scoping) -> Result<()> {
    let own = probe.own_place(None).ok();
    // In a cgroup namespace of its own, what this process sees starts at its own cgroup.
    if let Some(path) = own.as_ref().and_then(|place| place.memory_cgroup.as_ref())
        && !own_paths().iter().any(|own| own == path)
    {
        let found = format!("the node calls this process's cgroup {path}");
        return Err(not_the_nodes(target, &found));
    }
    let mut held = Vec::new();
    let mut open = Vec::new();
    let mut foreign = None;
    let boottime_ns = host::now().boottime_ns;
    let visited = cgroupfs::walk(Path::new("/sys/fs/cgroup"), &mut |cgroup| {
        if cgroup.path == "/" && own.as_ref().is_some_and(|own| !is_root(own, cgroup)) {
            foreign = Some(if cgroup.unified { "v2" } else { "memory" });
        }
        let place = Place::of(cgroup.path);
        let holds = target.holds(&[cgroup.path], &place, &|_| Naming::Open);
        let may_be_bare = target.may_be_bare() && place == Place::default() && cgroup.path != "/";
        let change = || CgroupChange {
            boottime_ns,
            path: cgroup.path.to_owned(),
            cgroup_id: cgroup.id,
            unified: cgroup.unified,
            kind: CgroupChangeKind::Found,
        };
        match holds {
            Some(true) => held.push(change()),
            None => open.push(change()),
            Some(false) if may_be_bare => open.push(change()),
            Some(false) => {}
        }
    });
    visited.with_context(|| format!("--scope {target}: the cgroups cannot be looked through"))?;
    if let Some(hierarchy) = foreign {
        let found = format!("what is mounted of the {hierarchy} hierarchy is a part of it");
        return Err(not_the_nodes(target, &found));
    }
    let found = tops(&held, open);
    if let Some(map) = &mut scoping.map {
        for change in &found {
            map.consider(change.key());
        }
    }
    scoping.awaited = Some(Awaited::new(target.to_string(), &found));
    scoping.found = found;
    scoping.scope = Scope::Target(target.clone());
    Ok(())
}

fn not_the_nodes(target: &Target, found: &str) -> anyhow::Error {
    anyhow!(
        "--scope {target}: the cgroups seen here are not all of the node's, others cannot be looked for\n\
         found: {found}\n\
         do: run it with the node's (docker run --cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup:ro); or take --scope pod, which works from inside"
    )
}

/// Whether what is mounted as a hierarchy's root is that.
fn is_root(own: &OwnPlace, mounted: cgroupfs::Found<'_>) -> bool {
    let levels = if mounted.unified {
        &own.unified_levels
    } else {
        &own.memory_levels
    };
    match levels.last() {
        // Of one that is deeper than is kept the root is not known.
        Some(root) if levels.len() <= MAX_CGROUP_NAMES => mounted.id == *root,
        _ => true,
    }
}

/// Those in scope and those of which it is not known yet: without what is below one in scope,
/// for it is held with that.
fn tops(held: &[CgroupChange], open: Vec<CgroupChange>) -> Vec<CgroupChange> {
    let is_top = |change: &CgroupChange| {
        !held
            .iter()
            .any(|other| other.path != change.path && is_within(&change.path, &other.path))
    };
    held.iter()
        .filter(|change| is_top(change))
        .cloned()
        .chain(open.into_iter().filter(is_top))
        .collect()
}

/// What was there at the start and is not decided about yet.
pub(super) struct Awaited {
    scope: String,
    open: HashSet<CgroupKey>,
}

impl Awaited {
    fn new(scope: String, found: &[CgroupChange]) -> Self {
        let open: HashSet<CgroupKey> = found.iter().map(CgroupChange::key).collect();
        if open.is_empty() {
            warn_of_nothing(&scope);
        }
        Self { scope, open }
    }

    /// Takes a decision; true if there is nothing more to wait for.
    pub(super) fn decided(&mut self, cgroup: CgroupKey, held: bool) -> bool {
        let was_open = self.open.remove(&cgroup);
        if was_open && self.open.is_empty() && !held {
            warn_of_nothing(&self.scope);
        }
        held || self.open.is_empty()
    }
}

fn warn_of_nothing(scope: &str) {
    log::warn!("--scope {scope}: nothing that runs is in it; what comes is looked at");
}

/// This process's cgroups, as it sees them itself.
fn own_paths() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.splitn(3, ':').nth(2).map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_is_found_above_the_container() {
        let pod = "/kubepods/burstable/pod0123abcd-0123-0123-0123-0123456789ab";
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let levels = [10, 9, 8, 7, 6];
        let found = pod_of(Some(&format!("{pod}/{id}/inner")), &levels);
        let wanted = PodPlace {
            path: pod.to_owned(),
            up: 2,
            own: id.to_owned(),
            id: 8,
        };
        assert_eq!(found, Some(wanted));
        assert_eq!(pod_of(Some(pod), &levels), None);
        assert_eq!(pod_of(Some("/docker/x"), &levels), None);
    }

    fn children(of: &[(&str, &str)]) -> Vec<ChildCgroup> {
        let child = |(name, comm): &(&str, &str)| ChildCgroup {
            name: (*name).to_owned(),
            comm: (*comm).to_owned(),
        };
        of.iter().map(child).collect()
    }

    #[test]
    fn the_sandbox_is_the_one_that_pauses_or_else_the_first() {
        let sandbox = |of: &[(&str, &str)], own: &str| sandbox_of(&children(of), own);
        let of_containerd = [("aa", "sleep"), ("bb", "oomtrace"), ("cc", "app")];
        assert_eq!(sandbox(&of_containerd, "bb").as_deref(), Some("aa"));
        assert_eq!(sandbox(&of_containerd, "aa"), None);
        let of_crio = [
            ("crio-conmon-aa.scope", "conmon"),
            ("crio-aa.scope", "pause"),
            ("crio-bb.scope", "oomtrace"),
            ("crio-cc.scope", "pause"),
        ];
        let own = "crio-bb.scope";
        assert_eq!(sandbox(&of_crio, own).as_deref(), Some("crio-aa.scope"));
        let without = [("crio-cc.scope", "app"), ("crio-bb.scope", "oomtrace")];
        assert_eq!(sandbox(&without, own), None);
    }

    #[test]
    fn what_is_below_one_in_scope_is_held_with_it() {
        let found = |path: &str| CgroupChange {
            boottime_ns: 0,
            path: path.to_owned(),
            cgroup_id: 1,
            unified: true,
            kind: CgroupChangeKind::Found,
        };
        let tops = tops(
            &[found("/a"), found("/a/b")],
            vec![found("/a/c"), found("/d"), found("/d/e")],
        );
        let paths: Vec<&str> = tops.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["/a", "/d", "/d/e"]);
    }

    #[test]
    fn a_part_of_a_hierarchy_is_not_its_root() {
        let own = OwnPlace {
            memory_levels: vec![9, 5, 1],
            unified_levels: vec![1],
            ..OwnPlace::default()
        };
        let mounted = |id: u64, unified: bool| cgroupfs::Found {
            path: "/",
            id,
            unified,
        };
        assert!(is_root(&own, mounted(1, false)));
        assert!(!is_root(&own, mounted(9, false)));
        assert!(is_root(&own, mounted(1, true)));
        assert!(!is_root(&own, mounted(9, true)));
        assert!(is_root(&OwnPlace::default(), mounted(9, true)));
    }

    #[test]
    fn a_recording_knows_no_own_pod() {
        assert!(ScopeArg::parse("pod").unwrap().recorded().is_err());
        assert!(ScopeArg::parse("pod:a/b").unwrap().recorded().is_ok());
        assert!(ScopeArg::parse("cgroup:x").is_err());
    }

    #[test]
    fn what_can_be_no_scope_is_refused_with_what_can() {
        for wrong in ["pid:12", "id:9f2c", "foo:bar"] {
            let error = ScopeArg::parse(wrong).unwrap_err();
            assert!(error.contains(SCOPES), "{wrong}: {error}");
        }
        let error = ScopeArg::parse("foo:bar").unwrap_err();
        assert!(error.contains("no scope foo:") && error.contains("unit:foo:bar"));
        for fine in [
            "web",
            "unit:foo:bar",
            "dbus-:1.2.service",
            "node",
            "pod",
            "/a:b",
        ] {
            assert!(ScopeArg::parse(fine).is_ok(), "{fine}");
        }
    }
}
