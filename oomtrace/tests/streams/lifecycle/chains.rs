//! Deaths that lead to others: a status that is passed on, and the end of a namespace.

use oomtrace::{
    event::Process,
    provenance::record::{Cause, Mechanism},
};

use super::{sender, victim};
use crate::support::{
    assert_code,
    make::{
        BY_SIGKILL, EXIT_137, KILLED_NS, MS, child, exit, exit_at, kernels, kill, process, sigkill,
        stream,
    },
    run,
};

#[test]
fn an_exit_with_137_leads_back_to_the_child_that_was_killed() {
    let shell = process(3000, "sh");
    let worker = child(&shell, 3001, "worker");
    let ran = run(stream([
        sigkill(&kill(&sender(), &worker)),
        exit(&worker, BY_SIGKILL),
        exit_at(&shell, EXIT_137, KILLED_NS + 5 * MS),
    ]));
    let [of_child, of_shell] = *ran.deaths() else {
        panic!("{ran:#?}")
    };
    assert_eq!(of_shell.cause, Cause::ExitCode);
    assert_eq!(of_shell.mechanism, Mechanism::Exit);
    assert_eq!(of_shell.caused_by.as_ref(), Some(&of_child.id));
    assert_eq!(of_shell.sender, None);
    assert_eq!(of_shell.outcome.unwrap().signal, None);
    assert_eq!(of_child.caused_by, None);
}

#[test]
fn a_killed_child_belongs_to_the_parent_that_it_had_when_it_was_killed() {
    // By the time that the worker has ended, a subreaper may stand above it.
    let shell = process(3000, "sh");
    let worker = child(&shell, 3001, "worker");
    let orphan = Process {
        ancestry: process(3001, "worker").ancestry,
        ..worker.clone()
    };
    let ran = run(stream([
        sigkill(&kill(&sender(), &worker)),
        exit(&orphan, BY_SIGKILL),
        exit_at(&shell, EXIT_137, KILLED_NS + 5 * MS),
    ]));
    assert_eq!(
        ran.deaths()[1].caused_by.as_ref(),
        Some(&ran.deaths()[0].id)
    );
}

#[test]
fn an_exit_with_137_alone_is_caused_by_nobody() {
    let death = run(stream([exit(&victim(), EXIT_137)])).the_death();
    assert_eq!((death.cause, death.caused_by), (Cause::ExitCode, None));
}

#[test]
fn a_status_that_is_passed_on_leads_back_to_where_it_began() {
    let entrypoint = process(3000, "entrypoint");
    let outer = child(&entrypoint, 3001, "bash");
    let inner = child(&outer, 3002, "sh");
    let job = child(&inner, 3003, "job");
    let ran = run(stream([
        sigkill(&kill(&sender(), &job)),
        exit(&job, BY_SIGKILL),
        exit_at(&inner, EXIT_137, KILLED_NS + 2 * MS),
        exit_at(&outer, EXIT_137, KILLED_NS + 3 * MS),
        exit_at(&entrypoint, EXIT_137, KILLED_NS + 4 * MS),
    ]));
    let deaths = ran.deaths();
    assert_eq!(deaths.len(), 4);
    for pair in deaths.windows(2) {
        assert_eq!(pair[1].cause, Cause::ExitCode);
        assert_eq!(pair[1].caused_by.as_ref(), Some(&pair[0].id));
    }
    // The first step names the killed child, the others where the chain began.
    assert!(
        deaths[1].summary.ends_with("job[3003] (manual_kill)"),
        "{}",
        deaths[1].summary
    );
    for later in &deaths[2..] {
        assert!(
            later
                .summary
                .ends_with("which began with job[3003] (manual_kill)"),
            "{}",
            later.summary
        );
    }
    // Its sibling's death is not its own child's.
    let sibling = child(&entrypoint, 3009, "sibling");
    let ran = run(stream([
        sigkill(&kill(&sender(), &job)),
        exit(&job, BY_SIGKILL),
        exit_at(&sibling, EXIT_137, KILLED_NS + 2 * MS),
    ]));
    assert_eq!(ran.deaths()[1].caused_by, None);
}

#[test]
fn the_end_of_a_namespace_leads_back_to_its_init() {
    let init = process(3000, "init");
    let inner = child(&init, 3001, "inner");
    let path = [
        "__send_signal_locked",
        "do_send_sig_info",
        "zap_pid_ns_processes",
        "do_exit",
    ];
    // The init's own end is seen before it kills the others.
    let ran = run(stream([
        sigkill(&kill(&sender(), &init)),
        exit(&init, BY_SIGKILL),
        sigkill(&kernels(&path, &init, &inner)),
        exit_at(&inner, BY_SIGKILL, KILLED_NS + 2 * MS),
    ]));
    let [of_init, of_inner] = *ran.deaths() else {
        panic!("{ran:#?}")
    };
    assert_eq!(of_inner.cause, Cause::NamespaceExit);
    assert_eq!(of_inner.caused_by.as_ref(), Some(&of_init.id));
    // An init that ended by itself has no death to lead to.
    let ran = run(stream([
        sigkill(&kernels(&path, &init, &inner)),
        exit(&inner, BY_SIGKILL),
    ]));
    assert_eq!(ran.the_death().caused_by, None);
}

#[test]
fn how_the_init_of_a_namespace_ended_is_told() {
    let path = [
        "__send_signal_locked",
        "do_send_sig_info",
        "zap_pid_ns_processes",
    ];
    let ended_with = |status: Option<i32>| {
        let init = Process {
            exit_code: status,
            ..process(3000, "init")
        };
        let inner = child(&init, 3001, "inner");
        run(stream([
            sigkill(&kernels(&path, &init, &inner)),
            exit(&inner, BY_SIGKILL),
        ]))
        .the_death()
    };
    let exited = ended_with(Some(5 << 8));
    assert_code(&exited, "init_exited");
    assert!(
        exited
            .evidence
            .iter()
            .any(|one| one.text.ends_with("status 5"))
    );
    let killed = ended_with(Some(BY_SIGKILL));
    assert_code(&killed, "init_killed");
    assert!(
        killed
            .evidence
            .iter()
            .any(|one| one.text.ends_with("SIGKILL"))
    );
    assert_code(&ended_with(None), "init_ended");
}
