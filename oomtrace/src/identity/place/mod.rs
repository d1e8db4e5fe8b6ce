//! From the path of a cgroup to what runs there: container, pod, unit. Pure: the path alone
//! is looked at, for the cgroup itself may be gone.

mod names;
mod pods;
mod units;

use self::units::Units;

/// Where a process runs, as far as its cgroup's path tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The containers around it, the innermost first.
    pub containers: Vec<ContainerPlace>,
    /// The innermost pod.
    pub pod: Option<PodPlace>,
    /// The innermost systemd unit that is a service, a scope or the like and not a
    /// container's own; of the node, or inside the innermost container.
    pub unit: Option<UnitPlace>,
}

/// A container in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPlace {
    /// What the path tells of its runtime.
    pub runtime: Option<&'static str>,
    pub id: String,
    /// The path up to its own cgroup.
    pub cgroup: String,
}

/// A Kubernetes pod in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlace {
    /// With dashes.
    pub uid: String,
    /// `guaranteed`, `burstable` or `besteffort`.
    pub qos: &'static str,
    /// The path up to its own cgroup.
    pub cgroup: String,
}

/// A systemd unit in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitPlace {
    pub name: String,
    /// The slice that it stands in.
    pub slice: Option<String>,
    /// Of the service manager of this user, not of the system's.
    pub user: Option<u32>,
    /// The path up to its own cgroup.
    pub cgroup: String,
}

impl Place {
    /// Reads a path as `/proc/PID/cgroup` and the kernel write it.
    #[must_use]
    pub fn of(path: &str) -> Self {
        // So /proc marks a cgroup of version 2 that has been removed: `proc_cgroup_show` of
        // kernel/cgroup/cgroup.c.
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        let steps: Vec<Step<'_>> = steps(path).collect();
        let mut walk = Walk::default();
        for (at, step) in steps.iter().enumerate() {
            walk.step(*step, steps.get(at + 1).map(|next| next.name));
        }
        walk.place()
    }

    /// Reads the last name of a path alone. What needs the names above it is not told, and
    /// no `cgroup` is.
    #[must_use]
    pub fn of_leaf(name: &str) -> Self {
        let mut place = Self::default();
        if let Some(slice) = pods::slice(name) {
            place.pod = Some(slice.place(String::new()));
        }
        if let Some((runtime, id)) = names::container_alone(name) {
            place.containers.push(ContainerPlace {
                runtime,
                id: id.to_owned(),
                cgroup: String::new(),
            });
        } else if place.pod.is_none() && units::kind(name) == units::Kind::Unit {
            place.unit = Some(UnitPlace {
                name: units::unescape(name).to_owned(),
                slice: None,
                user: None,
                cgroup: String::new(),
            });
        }
        place
    }
}

/// A name in a path.
#[derive(Clone, Copy)]
struct Step<'a> {
    name: &'a str,
    /// The path up to its end.
    path: &'a str,
}

/// The names of a path, the outermost first. What lies above the root of a cgroup namespace
/// (`..`) is not told.
fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    let mut end = 0;
    path.split('/').filter_map(move |name| {
        let start = end;
        // The slash after it; the last name has none.
        end = start + name.len() + 1;
        (!matches!(name, "" | "." | "..")).then(|| Step {
            name,
            path: &path[..start + name.len()],
        })
    })
}

/// What is known on the way down a path.
#[derive(Default)]
struct Walk<'a> {
    /// The outermost first.
    containers: Vec<ContainerPlace>,
    pod: Option<PodPlace>,
    /// The last name was the pod's.
    in_pod: bool,
    /// The names since the root or the last container.
    above: Vec<&'a str>,
    units: Units,
    /// Of a container that its unit was made for.
    outer_unit: Option<UnitPlace>,
}

impl<'a> Walk<'a> {
    fn step(&mut self, step: Step<'a>, next: Option<&str>) {
        let in_pod = std::mem::take(&mut self.in_pod);
        let at_top = self.above.is_empty();
        if at_top && !self.containers.is_empty() && names::is_payload(step.name) {
            // Of the container, and below it all begins anew as at the root.
            return;
        }
        if let Some(pod) = pods::slice(step.name) {
            let to = step.path.len() - step.name.len() + pod.name.len();
            self.pod = Some(pod.place(step.path[..to].to_owned()));
        } else if let Some(pod) = pods::folder(&self.above, step.name) {
            self.pod = Some(pod.place(step.path.to_owned()));
            self.in_pod = true;
        }
        if let Some(found) = names::container(&self.above, step.name, in_pod, next) {
            let unit = std::mem::take(&mut self.units).found();
            self.outer_unit = unit.filter(|_| found.in_unit);
            self.containers.push(ContainerPlace {
                runtime: found.runtime,
                id: found.id.into_owned(),
                cgroup: step.path.to_owned(),
            });
            self.above.clear();
            return;
        }
        self.units.step(step.name, step.path);
        self.above.push(step.name);
    }

    fn place(mut self) -> Place {
        self.containers.reverse();
        Place {
            containers: self.containers,
            pod: self.pod,
            unit: self.units.found().or(self.outer_unit),
        }
    }
}
