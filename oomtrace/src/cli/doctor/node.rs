//! What of the node can be seen from here: its processes, its cgroups, the files of its container
//! runtimes; and whether deaths can be kept, and programs.

use std::{ffi::CString, fs, os::unix::ffi::OsStrExt as _, path::Path};

use super::{Finding, State, flags};
use crate::{
    identity::{host, memory::Hierarchy},
    probe::{
        pins,
        support::{Capability, Privileges},
    },
    store::DEFAULT_PATH,
};

pub(super) fn findings(privileges: Privileges) -> Vec<Finding> {
    vec![
        processes(),
        cgroups(),
        runtimes(fs::read_dir("/proc/1/root/").is_ok(), privileges),
        store(),
        pins(),
    ]
}

fn there(what: &'static str, found: &str) -> Finding {
    Finding {
        what,
        state: State::Ok,
        found: found.to_owned(),
        todo: None,
        flags: None,
    }
}

fn processes() -> Finding {
    const WHAT: &str = "the node's processes";
    if !host::in_pid_namespace() {
        return there(WHAT, "there");
    }
    Finding {
        what: WHAT,
        state: State::Less,
        found: "this is a PID namespace of its own: the kernel tells of all deaths, but where a victim hangs cannot be looked at".to_owned(),
        todo: Some("share the node's PID namespace; a sidecar (--scope pod) does without"),
        flags: Some(flags::node_processes()),
    }
}

fn cgroups() -> Finding {
    const WHAT: &str = "the node's cgroups";
    match Hierarchy::find(host::page_bytes()) {
        Ok(_) => there(WHAT, "there"),
        Err(error) => Finding {
            what: WHAT,
            state: State::Less,
            found: format!(
                "{error}: the memory before an OOM kill is not watched, and a scope by name is not found"
            ),
            todo: Some(
                "share the node's cgroup namespace, and mount its cgroups; a sidecar (--scope pod) does without",
            ),
            flags: Some(flags::node_cgroups()),
        },
    }
}

/// Their files and sockets are looked for below the root folder of process 1.
fn runtimes(is_open: bool, privileges: Privileges) -> Finding {
    const WHAT: &str = "files of container runtimes";
    if is_open {
        return there(WHAT, "they can be looked for");
    }
    let is_lacking = !privileges.has(Capability::SysPtrace);
    Finding {
        what: WHAT,
        state: State::Less,
        found: "/proc/1/root cannot be looked into: containers have ids and no names, unless a runtime's socket is mounted here".to_owned(),
        todo: Some(if is_lacking {
            "give CAP_SYS_PTRACE (a profile of AppArmor or SELinux may keep it still), or mount the runtime's socket"
        } else {
            "CAP_SYS_PTRACE is there: what keeps it is a profile of AppArmor or SELinux (docker run --security-opt apparmor=unconfined, or label=disable), or a user namespace of its own (rootless, --userns, hostUsers: false); lift that, or mount the runtime's socket"
        }),
        flags: is_lacking.then(|| flags::capabilities(&[Capability::SysPtrace])),
    }
}

fn pins() -> Finding {
    const WHAT: &str = "a place for programs that stay (--pin)";
    let folder = Path::new(pins::DEFAULT_FOLDER);
    if pins::is_bpf(folder) {
        return there(WHAT, pins::DEFAULT_FOLDER);
    }
    Finding {
        what: WHAT,
        state: State::Less,
        found: "no BPF file system is mounted there: what dies while oomtrace is started anew is not seen"
            .to_owned(),
        todo: Some("mount one (mount -t bpf bpf /sys/fs/bpf)"),
        flags: Some(flags::folder(
            &folder.parent().unwrap_or(folder).to_string_lossy(),
            true,
        )),
    }
}

fn store() -> Finding {
    const WHAT: &str = "a place for deaths";
    let path = Path::new(DEFAULT_PATH);
    let folder = path.ancestors().skip(1).find(|folder| folder.is_dir());
    let folder = folder.unwrap_or(Path::new("/"));
    let is_writable = CString::new(folder.as_os_str().as_bytes()).is_ok_and(|folder| {
        // SAFETY: a string of C's, which lives for the call.
        unsafe { libc::access(folder.as_ptr(), libc::W_OK) == 0 }
    });
    if is_writable {
        return there(WHAT, DEFAULT_PATH);
    }
    let own = path.parent().unwrap_or(path).to_string_lossy();
    Finding {
        what: WHAT,
        state: State::Less,
        found: format!(
            "{} cannot be written: `run` keeps no deaths",
            folder.display()
        ),
        todo: Some("give it a folder, name another with --store, or say --no-store"),
        flags: Some(flags::folder(&own, true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_runtimes_files_is_named() {
        let with = |effective: u64| Privileges { uid: 0, effective };
        let lacking = runtimes(false, with(0));
        assert!(lacking.todo.unwrap().starts_with("give CAP_SYS_PTRACE"));
        let flags = lacking.flags.unwrap();
        assert_eq!(flags.docker, "--cap-add SYS_PTRACE");
        let kept = runtimes(false, with(1 << Capability::SysPtrace as u64));
        assert!(kept.todo.unwrap().contains("AppArmor") && kept.flags.is_none());
        assert_eq!(runtimes(true, with(0)).state, State::Ok);
    }
}
