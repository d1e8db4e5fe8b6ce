//! Why tracing cannot start, in words that say what to do.

use thiserror::Error;

use super::{btf::BtfError, pins::PinsError};

/// Tracing cannot start.
#[derive(Debug, Error)]
pub enum ProbeError {
    #[error(
        "oomtrace needs {lacking}, and this process does not have it\n\
         found: user id {uid}, effective capabilities {effective}\n\
         do: {}", how_to_give(*uid, lacking)
    )]
    Privileges {
        lacking: String,
        uid: u32,
        effective: String,
    },
    #[error(
        "this kernel shows no type information (BTF): {} is not there\n\
         do: use a kernel built with CONFIG_DEBUG_INFO_BTF=y (every major distribution's since \
         about 2021); in a container, mount /sys of the host",
        super::btf::KERNEL_BTF
    )]
    NoBtf,
    #[error(
        "the kernel's type information (BTF) cannot be used: {error}\n\
         do: check that what is mounted on /sys is the running kernel's own"
    )]
    Btf { error: BtfError },
    #[error(
        "this kernel has no BPF ring buffers: it refused to make one\n\
         do: use Linux 5.8 or later with CONFIG_BPF_SYSCALL=y"
    )]
    NoRingBuffer,
    #[error(
        "the kernel refused BPF although the capabilities are there: {0}\n\
         do: look for a security module, kernel lockdown or a container's seccomp profile that \
         forbids bpf(2); in a user namespace of its own, a container cannot trace the node"
    )]
    Refused(String),
    #[error(
        "the ring buffer of {bytes} bytes cannot be allocated: {error}\n\
         do: give a smaller one with --ring-bytes; on kernels before 5.11 also raise the limit \
         of locked memory (ulimit -l unlimited)"
    )]
    Ring { bytes: u32, error: String },
    #[error(
        "the ring buffer's size must be a power of two of at least {page_bytes} bytes (one page); \
         {bytes} is not\n\
         do: give, for example, --ring-bytes 8388608"
    )]
    RingSize { bytes: u32, page_bytes: u64 },
    #[error("the BPF program {program} cannot be loaded: {error}")]
    Load {
        program: &'static str,
        error: String,
    },
    #[error("the BPF program {program} cannot be attached: {error}")]
    Attach {
        program: &'static str,
        error: String,
    },
    #[error(
        "the hook that was asked for, {asked}, cannot be had: {why}\n\
         do: leave --hooks out; the best that this kernel gives is taken then"
    )]
    Hook { asked: &'static str, why: String },
    #[error(
        "where this process itself runs cannot be found out: {0}\n\
         do: use Linux 5.10 or later, or name the scope: --scope container:NAME or cgroup:PATH"
    )]
    OwnPlace(String),
    #[error(transparent)]
    Pins(PinsError),
    #[error("programs and maps cannot be pinned: {0}")]
    Pin(String),
    #[error("{0}")]
    Internal(String),
}

fn how_to_give(uid: u32, lacking: &str) -> String {
    if uid == 0 {
        // Root of a container, or of a service that is confined.
        return format!(
            "to be root is not enough here: give it {lacking} (docker run --cap-add, Kubernetes' \
             securityContext.capabilities.add, systemd's CapabilityBoundingSet=; `oomtrace doctor` \
             has the flags), or make the container a privileged one"
        );
    }
    "run it as root (sudo oomtrace …), or in a privileged container; else give the binary what it \
     needs: setcap cap_bpf,cap_perfmon,cap_sys_resource,cap_sys_ptrace,cap_syslog+ep"
        .to_owned()
}

impl ProbeError {
    /// The environment lacks something, as opposed to something going wrong.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        matches!(
            self,
            Self::Privileges { .. }
                | Self::NoBtf
                | Self::Btf { .. }
                | Self::NoRingBuffer
                | Self::Refused(_)
                | Self::Hook { .. }
                | Self::OwnPlace(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_told_what_it_lacks_and_others_to_become_root() {
        let error = |uid: u32| {
            let error = ProbeError::Privileges {
                lacking: "CAP_PERFMON".to_owned(),
                uid,
                effective: "0x0".to_owned(),
            };
            error.to_string()
        };
        let root = error(0);
        assert!(
            root.contains("give it CAP_PERFMON") && root.contains("--cap-add"),
            "{root}"
        );
        assert!(!root.contains("sudo"), "{root}");
        assert!(error(1000).contains("sudo oomtrace"));
    }
}
