//! What gives a container or a service what it lacks, flag by flag.

use serde::Serialize;

use crate::probe::support::Capability;

/// The flags of those who start programs. Podman's are Docker's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Flags {
    pub(super) docker: String,
    pub(super) kubernetes: String,
    /// `None`: a service has it.
    pub(super) systemd: Option<String>,
}

impl Flags {
    /// With the name of whose they are.
    pub(super) fn each(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("docker, podman", Some(self.docker.as_str())),
            ("Kubernetes", Some(self.kubernetes.as_str())),
            ("systemd", self.systemd.as_deref()),
        ]
        .into_iter()
        .filter_map(|(whose, flag)| Some((whose, flag?)))
    }
}

/// `CAP_BPF` is `BPF` to Docker and Kubernetes.
fn short(capability: Capability) -> &'static str {
    let name = capability.name();
    name.strip_prefix("CAP_").unwrap_or(name)
}

/// What gives capabilities.
pub(super) fn capabilities(lacking: &[Capability]) -> Flags {
    let join = |each: fn(Capability) -> String, by: &str| {
        let all: Vec<String> = lacking.iter().copied().map(each).collect();
        all.join(by)
    };
    let names = join(|one| one.name().to_owned(), " ");
    Flags {
        docker: join(|one| format!("--cap-add {}", short(one)), " "),
        kubernetes: format!(
            "securityContext: {{capabilities: {{add: [{}]}}}}",
            join(|one| short(one).to_owned(), ", ")
        ),
        systemd: Some(format!(
            "{names} in CapabilityBoundingSet=, and in AmbientCapabilities= where User= is set"
        )),
    }
}

/// What gives the PID namespace of the node.
pub(super) fn node_processes() -> Flags {
    Flags {
        docker: "--pid host".to_owned(),
        kubernetes: "hostPID: true".to_owned(),
        systemd: None,
    }
}

/// What gives a folder of the node.
pub(super) fn folder(path: &str, is_written: bool) -> Flags {
    let (mode, read_only) = if is_written {
        ("", "")
    } else {
        (":ro", ", readOnly: true")
    };
    Flags {
        docker: format!("-v {path}:{path}{mode}"),
        kubernetes: format!(
            "volumes: [{{name: NAME, hostPath: {{path: {path}}}}}], volumeMounts: [{{name: NAME, mountPath: {path}{read_only}}}]"
        ),
        systemd: None,
    }
}

/// What gives the cgroups of the node.
pub(super) fn node_cgroups() -> Flags {
    let folder = folder("/sys/fs/cgroup", false);
    Flags {
        docker: format!("--cgroupns host {}", folder.docker),
        ..folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_told_as_each_of_them_wants_them() {
        let flags = capabilities(&[Capability::Bpf, Capability::Perfmon]);
        assert_eq!(flags.docker, "--cap-add BPF --cap-add PERFMON");
        assert_eq!(
            flags.kubernetes,
            "securityContext: {capabilities: {add: [BPF, PERFMON]}}"
        );
        let systemd = flags.systemd.unwrap();
        assert!(systemd.starts_with("CAP_BPF CAP_PERFMON in CapabilityBoundingSet="));
    }

    #[test]
    fn what_is_only_read_is_mounted_so() {
        let cgroups = node_cgroups();
        assert_eq!(
            cgroups.docker,
            "--cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup:ro"
        );
        assert!(cgroups.kubernetes.contains("readOnly: true"));
        assert!(!folder("/var/lib/oomtrace", true).docker.contains(":ro"));
    }
}
