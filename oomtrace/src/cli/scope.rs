//! `--scope`: what was typed, and what the programs are told of it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, anyhow};

use crate::{
    event::{
        container::{CgroupChange, CgroupChangeKind},
        entry::Absent,
    },
    identity::{
        cgroupfs, host,
        place::Place,
        target::{Naming, Target, is_within},
    },
    probe::{
        attach::{Probe, ScopeKind},
        own_place::OwnPlace,
        scope::ScopeMap,
    },
    provenance::scope::Scope,
};

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
            _ => Target::parse(text)
                .map(Self::Target)
                .map_err(|error| error.to_string()),
        }
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
    /// How far up from this process's cgroup the pod's is.
    up: u32,
}

impl OwnPod {
    /// The containers beside our own in which something runs still. Its sandbox does not
    /// count: it runs nothing of the user's, and ends last.
    pub(super) fn others(&self, probe: &Probe) -> Result<usize> {
        let children = probe.own_place(self.up)?.children;
        // The sandbox is made first. CRI-O has none that runs, unless it is told to.
        let has_sandbox = !self.own.starts_with("crio-")
            && children.first().is_some_and(|first| *first != self.own);
        let others = children.iter().filter(|child| **child != self.own).count();
        Ok(others.saturating_sub(usize::from(has_sandbox)))
    }
}

/// Of one hierarchy: the pod's path, how far up it is, the name below it, and its number.
fn pod_of(path: Option<&str>, levels: &[u64]) -> Option<(String, u32, String, u64)> {
    let path = path?;
    let pod = Place::of(path).pod?.cgroup;
    let below = path.strip_prefix(&pod)?.strip_prefix('/')?;
    let up = below.split('/').count();
    let own = below.split('/').next()?.to_owned();
    Some((pod, up as u32, own, *levels.get(up)?))
}

fn own_pod(probe: &Probe, scoping: &mut Scoping) -> Result<()> {
    let place = probe.own_place(0)?;
    let memory = pod_of(place.memory_cgroup.as_deref(), &place.memory_levels);
    let unified = pod_of(place.unified_cgroup.as_deref(), &place.unified_levels);
    let Some((path, up, own, _)) = memory.clone().or(unified.clone()) else {
        return Err(anyhow!(
            "--scope pod: this process is in no Kubernetes pod, as far as its cgroup tells: {}\n\
             do: run it as a container of the pod, or name the scope: --scope container:NAME, pod:NAMESPACE/NAME or cgroup:PATH",
            paths(&place)
        ));
    };
    if let Some(map) = &mut scoping.map {
        for (_, _, _, id) in memory.into_iter().chain(unified) {
            map.hold(id);
        }
    }
    scoping.scope = Scope::Below(path);
    scoping.own_pod = Some(OwnPod { own, up });
    Ok(())
}

fn paths(place: &OwnPlace) -> String {
    let path = |path: &Option<String>| path.clone();
    let paths: Vec<String> = [path(&place.memory_cgroup), path(&place.unified_cgroup)]
        .into_iter()
        .flatten()
        .collect();
    if paths.is_empty() {
        "unknown".to_owned()
    } else {
        paths.join(" and ")
    }
}

fn of_target(target: &Target, probe: &Probe, scoping: &mut Scoping) -> Result<()> {
    // In a cgroup namespace of its own, what this process sees starts at its own cgroup.
    if let Ok(place) = probe.own_place(0)
        && let Some(path) = &place.memory_cgroup
        && !own_paths().iter().any(|own| own == path)
    {
        return Err(anyhow!(
            "--scope {}: this cgroup namespace is not the node's, other cgroups cannot be looked for\n\
             found: the node calls this process's cgroup {path}\n\
             do: run it with the node's (docker run --cgroupns host); or take --scope pod, which works from inside",
            scope_name(target)
        ));
    }
    let mut found = Vec::new();
    let boottime_ns = host::now().boottime_ns;
    let visited = cgroupfs::walk(Path::new("/sys/fs/cgroup"), &mut |path, cgroup_id| {
        let place = Place::of(path);
        if target.holds(&[path], &place, &|_| Naming::Open) != Some(false) {
            found.push(CgroupChange {
                boottime_ns,
                path: path.to_owned(),
                cgroup_id,
                kind: CgroupChangeKind::Found,
            });
        }
    });
    visited.with_context(|| {
        format!(
            "--scope {}: the cgroups cannot be looked through",
            scope_name(target)
        )
    })?;
    // What is below one that is held is held with it.
    let is_below = |change: &CgroupChange, found: &[CgroupChange]| {
        found
            .iter()
            .any(|other| other.path != change.path && is_within(&change.path, &other.path))
    };
    let tops: Vec<CgroupChange> = found
        .iter()
        .filter(|change| !is_below(change, &found))
        .cloned()
        .collect();
    if let Some(map) = &mut scoping.map {
        for change in &tops {
            map.consider(change.cgroup_id);
        }
    }
    scoping.found = tops;
    scoping.scope = Scope::Target(target.clone());
    Ok(())
}

fn scope_name(target: &Target) -> String {
    match target {
        Target::Container(name) => format!("container:{name}"),
        Target::Pod { namespace, name } => match namespace {
            Some(namespace) => format!("pod:{namespace}/{name}"),
            None => format!("pod:{name}"),
        },
        Target::Unit(name) => format!("unit:{name}"),
        Target::Cgroup(path) => format!("cgroup:{path}"),
        Target::Any(name) => name.clone(),
    }
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
        assert_eq!(found, Some((pod.to_owned(), 2, id.to_owned(), 8)));
        assert_eq!(pod_of(Some(pod), &levels), None);
        assert_eq!(pod_of(Some("/docker/x"), &levels), None);
    }

    #[test]
    fn a_recording_knows_no_own_pod() {
        assert!(ScopeArg::parse("pod").unwrap().recorded().is_err());
        assert!(ScopeArg::parse("pod:a/b").unwrap().recorded().is_ok());
        assert!(ScopeArg::parse("cgroup:x").is_err());
    }
}
