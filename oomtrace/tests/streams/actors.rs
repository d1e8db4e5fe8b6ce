//! Who stands behind a sender: what counts as proof of it, and sessions in containers.

use oomtrace::{
    event::Process,
    provenance::record::{ActorKind, Cause, Death},
};

use crate::support::{
    assert_code, assert_no_code,
    make::{BY_SIGKILL, child, exit, kill, process, sigkill, stream},
    run,
};

fn death(sender: &Process, victim: &Process) -> Death {
    run(stream([
        sigkill(&kill(sender, victim)),
        exit(victim, BY_SIGKILL),
    ]))
    .the_death()
}

fn victim() -> Process {
    process(4000, "victim")
}

fn with_exe(exe: &str, process: Process) -> Process {
    Process {
        exe: Some(exe.to_owned()),
        ..process
    }
}

/// A process in a PID namespace of its own, with this id there.
fn inside(ns_tgid: u32, process: Process) -> Process {
    Process {
        ns_tgid: Some(ns_tgid),
        ns_level: 1,
        ..process
    }
}

/// What a person is put down to: the text of the evidence.
fn why(death: &Death) -> &str {
    let actor = death.evidence.iter().find(|one| one.code == "actor");
    &actor.unwrap().text
}

#[test]
fn a_name_that_a_program_gave_itself_proves_nothing() {
    let liar = with_exe("/app/server", process(700, "systemd-oomd"));
    let death_by_liar = death(&liar, &victim());
    assert_eq!(death_by_liar.cause, Cause::AppKill);
    let real = with_exe(
        "/usr/lib/systemd/systemd-oomd",
        process(700, "systemd-oomd"),
    );
    let by_real = death(&real, &victim());
    assert_eq!(by_real.cause, Cause::UserspaceOom);
    assert!(why(&by_real).contains("by its executable"));
    // Where no executable is known, the name is all there is: and it is said.
    let unknown = death(&process(700, "systemd-oomd"), &victim());
    assert_eq!(unknown.cause, Cause::UserspaceOom);
    assert!(why(&unknown).contains("by its name alone"));
}

#[test]
fn the_executables_of_ancestors_count_too() {
    let shim = with_exe(
        "/usr/bin/containerd-shim-runc-v2",
        process(900, "containerd-shim"),
    );
    let runc = with_exe("/usr/sbin/runc", child(&shim, 901, "runc"));
    let by_shim = death(&runc, &victim());
    assert_eq!(by_shim.actor.name.as_deref(), Some("containerd"));
    let impostor = with_exe("/app/worker", process(900, "containerd-shim"));
    let runc = with_exe("/usr/sbin/runc", child(&impostor, 901, "runc"));
    let by_impostor = death(&runc, &victim());
    assert_eq!(by_impostor.actor.name.as_deref(), Some("runc"));
}

#[test]
fn the_humans_end_of_the_chain_is_named() {
    let sshd = with_exe("/usr/sbin/sshd", process(100, "sshd"));
    let bash = with_exe("/usr/bin/bash", child(&sshd, 200, "bash"));
    let tool = Process {
        tty: Some("pts/3".to_owned()),
        login_uid: Some(1000),
        ..with_exe("/usr/bin/kill", child(&bash, 300, "kill"))
    };
    let death = death(&tool, &victim());
    assert_eq!(death.cause, Cause::ManualKill);
    assert_eq!(death.actor.comm.as_deref(), Some("bash"));
    let why = why(&death);
    for part in ["run by bash[200] < sshd[100]", "on pts/3", "login uid 1000"] {
        assert!(why.contains(part), "{why}");
    }
}

#[test]
fn a_session_opened_in_a_container_is_recognised() {
    let shim = process(900, "containerd-shim");
    // docker exec: a child of the shim, in the container's namespace, and not its init.
    let shell = inside(37, with_exe("/bin/bash", child(&shim, 950, "bash")));
    let tool = inside(38, with_exe("/bin/kill", child(&shell, 951, "kill")));
    let by_tool = death(&tool, &victim());
    assert_eq!(by_tool.cause, Cause::ManualKill);
    assert_code(&by_tool, "exec_session");
    let by_builtin = death(&shell, &victim());
    assert_code(&by_builtin, "exec_session");
    // Any other program in such a session.
    let program = inside(39, with_exe("/app/ctl", child(&shell, 952, "ctl")));
    let by_program = death(&program, &victim());
    assert_eq!(by_program.actor.kind, ActorKind::Human);
    assert_code(&by_program, "exec_session");
}

#[test]
fn the_containers_own_processes_are_no_session() {
    let shim = process(900, "containerd-shim");
    let init = inside(1, with_exe("/bin/sh", child(&shim, 950, "sh")));
    let tool = inside(7, with_exe("/bin/kill", child(&init, 951, "kill")));
    assert_no_code(&death(&tool, &victim()), "exec_session");
    let server = inside(8, with_exe("/app/server", child(&init, 952, "server")));
    assert_eq!(death(&server, &victim()).cause, Cause::AppKill);
    // On the node there is no container to open a session in.
    let bash = with_exe("/bin/bash", child(&shim, 960, "bash"));
    assert_no_code(&death(&bash, &victim()), "exec_session");
}

#[test]
fn sudo_does_not_hide_who_is_behind_it() {
    let sshd = with_exe("/usr/sbin/sshd", process(100, "sshd"));
    let bash = with_exe("/usr/bin/bash", child(&sshd, 200, "bash"));
    let sudo = with_exe("/usr/bin/sudo", child(&bash, 250, "sudo"));
    let tool = with_exe("/usr/bin/kill", child(&sudo, 300, "kill"));
    let death = death(&tool, &victim());
    assert_eq!(death.actor.comm.as_deref(), Some("bash"));
    assert!(why(&death).contains("sudo[250] < bash[200] < sshd[100]"));
}

#[test]
fn an_init_that_docker_brings_is_no_supervisor() {
    let shim = process(900, "containerd-shim");
    let tini = inside(
        1,
        with_exe("/sbin/docker-init", child(&shim, 950, "docker-init")),
    );
    let server = inside(7, with_exe("/app/server", child(&tini, 951, "server")));
    let worker = inside(8, with_exe("/app/other", child(&tini, 952, "other")));
    let death = death(&server, &worker);
    assert_eq!(death.cause, Cause::AppKill);
    assert_no_code(&death, "exec_session");
}

#[test]
fn a_containers_own_terminal_proves_no_person() {
    let shim = process(900, "containerd-shim");
    let init = inside(1, with_exe("/app/init", child(&shim, 950, "init")));
    let server = Process {
        tty: Some("pts/0".to_owned()),
        login_uid: Some(1000),
        ..inside(7, with_exe("/app/server", child(&init, 951, "server")))
    };
    assert_eq!(death(&server, &victim()).cause, Cause::AppKill);
}

#[test]
fn only_a_relative_is_called_one_of_the_application() {
    let server = with_exe("/app/server", process(700, "server"));
    let stranger = death(&server, &victim());
    assert!(!stranger.summary.contains("of the application"));
    let worker = child(&server, 701, "worker");
    assert!(
        death(&server, &worker)
            .summary
            .contains("of the application")
    );
}
