//! Deaths in systemd units that belong together.

use oomtrace::{
    event::{Process, Sigkill},
    provenance::record::{ActorKind, Cause, Role},
};

use super::{in_unit, made, oom, run, systemd};
use crate::support::{
    assert_code, assert_no_code,
    make::{
        BY_SIGKILL, CGROUP_OOM, KILLED_NS, MS, S, SIGTERM, exit, exit_at, kernels, kill, sigkill,
        stop,
    },
};

#[test]
fn the_rest_of_a_unit_is_linked_to_its_oom() {
    let systemd = systemd();
    let (victim, rest) = (in_unit(1200, "hog"), in_unit(1201, "sleep"));
    let later = Sigkill {
        boottime_ns: KILLED_NS + S,
        ..kill(&systemd, &rest)
    };
    let ran = run([
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
        sigkill(&later),
        exit_at(&rest, BY_SIGKILL, KILLED_NS + S + MS),
    ]);
    let [first, second] = ran.deaths()[..] else {
        panic!("{ran:#?}")
    };
    assert_eq!(first.unit.as_ref().unwrap().name, "job.service");
    assert_eq!(first.victim.role, Some(Role::UnitMain));
    assert!(
        first.summary.starts_with("job.service (hog[1200])"),
        "{}",
        first.summary
    );
    assert_eq!(second.caused_by.as_ref(), Some(&first.id));
    assert_code(second, "unit_oom");
}

#[test]
fn what_a_main_process_leaves_behind_is_not_the_next_main() {
    let systemd = systemd();
    let unit = |tgid: u32| in_unit(tgid, "sh");
    // One that is started later is the next main process, though the cgroup never was empty.
    let mut next = unit(1250);
    next.group.start_ns = KILLED_NS + S;
    let next_kill = Sigkill {
        boottime_ns: KILLED_NS + 2 * S,
        ..kill(&systemd, &next)
    };
    let (main, left) = (unit(1200), unit(1201));
    let ran = run([
        sigkill(&kill(&systemd, &main)),
        exit(&main, BY_SIGKILL),
        sigkill(&kill(&systemd, &left)),
        exit(&left, BY_SIGKILL),
        sigkill(&next_kill),
        exit_at(&next, BY_SIGKILL, KILLED_NS + 2 * S + MS),
        made("/system.slice/job.service"),
        sigkill(&kill(&systemd, &unit(1300))),
        exit(&unit(1300), BY_SIGKILL),
    ]);
    let roles: Vec<_> = ran.deaths().iter().map(|death| death.victim.role).collect();
    let wanted = [
        Role::UnitMain,
        Role::UnitChild,
        Role::UnitMain,
        Role::UnitMain,
    ];
    assert_eq!(roles, wanted.map(Some));
}

#[test]
fn the_rest_of_a_unit_is_linked_to_an_oom_whose_victim_ends_later() {
    let systemd = systemd();
    let (victim, rest) = (in_unit(1200, "hog"), in_unit(1201, "sleep"));
    let elsewhere = Process {
        memory_cgroup: Some("/system.slice/other.service".to_owned()),
        ..in_unit(1202, "bystander")
    };
    let later = |of: &Process| Sigkill {
        boottime_ns: KILLED_NS + 10 * MS,
        ..kill(&systemd, of)
    };
    let ran = run([
        sigkill(&oom(&victim)),
        sigkill(&later(&rest)),
        sigkill(&later(&elsewhere)),
        exit_at(&rest, BY_SIGKILL, KILLED_NS + 20 * MS),
        exit_at(&elsewhere, BY_SIGKILL, KILLED_NS + 20 * MS),
        exit_at(&victim, BY_SIGKILL, KILLED_NS + 100 * MS),
    ]);
    let [rest, elsewhere, chosen] = ran.deaths()[..] else {
        panic!("{ran:#?}")
    };
    assert_code(rest, "unit_oom");
    assert_eq!(rest.caused_by.as_ref(), Some(&chosen.id));
    assert_no_code(elsewhere, "unit_oom");
    assert_eq!(chosen.caused_by, None);
}

/// `systemctl set-property MemoryMax=`: systemd is behind the OOM kills themselves.
#[test]
fn victims_of_a_limit_that_systemd_lowered_do_not_lead_to_each_other() {
    let systemd = systemd();
    let lowered: Vec<&str> = CGROUP_OOM[..6]
        .iter()
        .copied()
        .chain(["memory_max_write", "cgroup_file_write"])
        .collect();
    let victims = [in_unit(1200, "one"), in_unit(1201, "two")];
    let killed = victims.iter().enumerate().map(|(number, victim)| {
        sigkill(&Sigkill {
            boottime_ns: KILLED_NS + number as u64 * MS,
            ..kernels(&lowered, &systemd, victim)
        })
    });
    // Each ends while the other one is dying still.
    let ended = victims
        .iter()
        .map(|victim| exit_at(victim, BY_SIGKILL, KILLED_NS + 100 * MS));
    let ran = run(killed.chain(ended));
    assert_eq!(ran.deaths().len(), 2);
    for death in ran.deaths() {
        assert_eq!(death.cause, Cause::CgroupOom);
        assert_eq!(death.actor.kind, ActorKind::ServiceManager);
        assert_eq!(death.caused_by, None);
        assert_no_code(death, "unit_oom");
    }
}

#[test]
fn a_late_kill_by_the_service_manager_is_not_put_down_to_an_oom() {
    let systemd = systemd();
    let (victim, rest) = (in_unit(1200, "hog"), in_unit(1201, "sleep"));
    let later = Sigkill {
        boottime_ns: KILLED_NS + 60 * S,
        ..kill(&systemd, &rest)
    };
    let ran = run([
        sigkill(&oom(&victim)),
        exit(&victim, BY_SIGKILL),
        sigkill(&later),
        exit_at(&rest, BY_SIGKILL, KILLED_NS + 60 * S + MS),
    ]);
    assert_no_code(ran.deaths()[1], "unit_oom");
    assert_eq!(ran.deaths()[1].caused_by, None);
}

#[test]
fn what_comes_too_late_to_be_asked_is_said_to_be_of_a_unit_that_was() {
    let systemd = systemd();
    let (main, late) = (in_unit(1200, "sh"), in_unit(1201, "sleep"));
    let asked = Sigkill {
        stops: vec![stop(SIGTERM, &systemd, 2 * S)],
        ..kill(&systemd, &main)
    };
    let ran = run([
        sigkill(&asked),
        exit(&main, BY_SIGKILL),
        sigkill(&kill(&systemd, &late)),
        exit(&late, BY_SIGKILL),
    ]);
    assert_eq!(ran.deaths()[0].cause, Cause::StopTimeout);
    assert_code(ran.deaths()[1], "unit_was_asked");
}
