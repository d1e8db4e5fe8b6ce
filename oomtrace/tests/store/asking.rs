//! What `list`, `show` and `why` ask.

use std::time::{Duration, Instant};

use oomtrace::{
    identity::target::Target,
    provenance::record::{Cause, Container, Death, Role, Unit},
    store::{Filter, Reader, Roles, StoreError, Trouble},
};

use crate::support::{Folder, all, death, pids, record, store};

/// In a container, as its init.
fn container(number: u32, name: &str) -> Death {
    let mut death = death(number);
    let container = death.container.take().unwrap();
    death.container = Some(Container {
        name: Some(name.to_owned()),
        id: format!("{:0>64}", format!("{name}{number}")),
        pod: Some(format!("{name}-pod")),
        namespace: Some(
            if number.is_multiple_of(2) {
                "even"
            } else {
                "odd"
            }
            .to_owned(),
        ),
        pod_uid: Some(format!("uid-{name}")),
        ..container
    });
    death.unit = None;
    death.victim.role = Some(Role::ContainerInit);
    death.victim.cgroup = Some(format!("/pods/{name}/{number}"));
    death
}

fn unit(number: u32, name: &str, role: Role) -> Death {
    let mut death = death(number);
    death.container = None;
    death.unit = Some(Unit {
        name: name.to_owned(),
        slice: Some("system.slice".to_owned()),
        user: None,
    });
    death.victim.role = Some(role);
    death.victim.cgroup = Some(format!("/system.slice/{name}"));
    death.cause = Cause::StopTimeout;
    death
}

fn along(number: u32, init: &Death) -> Death {
    let mut death = container(number, "web");
    death.victim.role = Some(Role::Child);
    death.cause = Cause::NamespaceExit;
    death.caused_by = Some(init.id.clone());
    death
}

fn helper(number: u32) -> Death {
    let mut death = death(number);
    death.victim.role = Some(Role::RuntimeHelper);
    death.container = None;
    death.unit = None;
    death.cause = Cause::AppKill;
    death
}

/// 1, 4: `web`; 2: `db`; 3: `cron.service`; 5: its child; 6, 7: went along with 4; 8: a helper.
fn filled() -> (Folder, Reader) {
    let folder = Folder::new();
    let web = container(4, "web");
    let deaths = vec![
        container(1, "web"),
        container(2, "db"),
        unit(3, "cron.service", Role::UnitMain),
        unit(5, "cron.service", Role::UnitChild),
        along(6, &web),
        along(7, &web),
        helper(8),
        web,
    ];
    store(&folder.store(), deaths.into_iter().map(record));
    let reader = Reader::open(&folder.store()).unwrap();
    (folder, reader)
}

fn listed(reader: &Reader, filter: &Filter) -> Vec<u32> {
    pids(&reader.list(filter, None, usize::MAX).unwrap())
}

fn of(reader: &Reader, target: &str, roles: Roles) -> Vec<u32> {
    let target = Target::parse(target).unwrap();
    pids(&reader.of_target(&target, roles, 100).unwrap())
}

#[test]
fn most_people_want_to_see_deaths_in_their_own_right() {
    let (_folder, reader) = filled();
    let filter = |roles| Filter {
        roles,
        ..Filter::default()
    };
    assert_eq!(listed(&reader, &Filter::default()), [5, 4, 3, 2, 1]);
    assert_eq!(listed(&reader, &filter(Roles::Main)), [4, 3, 2, 1]);
    assert_eq!(
        listed(&reader, &filter(Roles::Workloads)),
        [7, 6, 5, 4, 3, 2, 1]
    );
    assert_eq!(
        listed(&reader, &filter(Roles::All)),
        [8, 7, 6, 5, 4, 3, 2, 1]
    );
    assert_eq!(reader.latest_main().unwrap().unwrap().pid, 4);
    let hidden = reader.hidden(&Filter::default(), i64::MIN).unwrap();
    assert_eq!((hidden.along, hidden.helpers), (2, 1));
    let hidden = reader.hidden(&filter(Roles::Workloads), i64::MIN).unwrap();
    assert_eq!((hidden.along, hidden.helpers), (0, 1));
}

/// Of a slice, what died in it and what died in its units are found in two ways.
#[test]
fn what_is_hidden_in_a_slice_counts_once() {
    let folder = Folder::new();
    let of = |number, name: &str, slice: &str| {
        let mut death = unit(number, name, Role::UnitChild);
        death.cause = Cause::NamespaceExit;
        death.unit.as_mut().unwrap().slice = Some(slice.to_owned());
        death
    };
    let deaths = [
        of(1, "a.service", "x.slice"),
        of(2, "b.service", "x.slice"),
        of(3, "x.slice", "-.slice"),
        of(4, "x.slice", "x.slice"),
        of(5, "c.service", "y.slice"),
    ];
    store(&folder.store(), deaths.map(record));
    let reader = Reader::open(&folder.store()).unwrap();
    let hidden = |typed: &str| {
        let filter = Filter {
            targets: vec![Target::parse(typed).unwrap()],
            ..Filter::default()
        };
        let hidden = reader.hidden(&filter, i64::MIN).unwrap();
        assert!(!hidden.is_least);
        (hidden.along, hidden.helpers)
    };
    assert_eq!(hidden("unit:x.slice"), (4, 0));
    assert_eq!(hidden("x.slice"), (4, 0));
    assert_eq!(hidden("unit:y.slice"), (1, 0));
    assert_eq!(hidden("unit:c.service"), (1, 0));
}

/// However often one container of a pod has died since, the other one is found.
#[test]
fn every_workload_of_a_target_is_looked_at() {
    let folder = Folder::new();
    let of = |number, name: &str| {
        let mut death = container(number, name);
        let container = death.container.as_mut().unwrap();
        container.pod = Some("shop-0".to_owned());
        container.namespace = None;
        death
    };
    let deaths = std::iter::once(of(1, "web")).chain((2..=500).map(|number| of(number, "proxy")));
    store(&folder.store(), deaths.map(record));
    let reader = Reader::open(&folder.store()).unwrap();
    let filter = Filter {
        targets: vec![Target::parse("pod:shop-0").unwrap()],
        ..Filter::default()
    };
    let later = Instant::now() + Duration::from_secs(60);
    let (found, is_all) = reader.glances(&filter, later).unwrap();
    assert!(is_all);
    assert_eq!(found.len(), 500);
    assert!(found.is_sorted_by(|one, next| one.time_ns >= next.time_ns));
    let oldest = found.last().unwrap();
    assert_ne!(oldest.workload, found[0].workload);
    assert!(
        found[..499]
            .iter()
            .all(|one| one.workload == found[0].workload)
    );
    assert_eq!(reader.whole(oldest).unwrap().unwrap().pid, 1);
    assert_eq!(reader.whole(oldest).unwrap().unwrap().glance(), *oldest);
    // Without time it says that those are not all.
    let (few, is_all) = reader.glances(&filter, Instant::now()).unwrap();
    assert!(!is_all && few.len() < 500, "{}", few.len());
}

#[test]
fn filters_are_joined() {
    let (folder, reader) = filled();
    let filter = Filter {
        cause: Some(Cause::CgroupOom),
        ..Filter::default()
    };
    assert_eq!(listed(&reader, &filter), [4, 2, 1]);
    let filter = Filter {
        namespace: Some("even".to_owned()),
        ..filter
    };
    assert_eq!(listed(&reader, &filter), [4, 2]);
    let filter = Filter {
        targets: vec![Target::Container("web".to_owned())],
        ..filter
    };
    assert_eq!(listed(&reader, &filter), [4]);
    let times: Vec<i64> = all(&folder.store())
        .iter()
        .map(|stored| stored.time_ns)
        .collect();
    let filter = Filter {
        since_ns: Some(times[6]),
        until_ns: Some(times[3]),
        ..Filter::default()
    };
    assert_eq!(listed(&reader, &filter), [4, 3, 2]);
}

#[test]
fn whom_a_person_points_at_is_found_by_any_of_its_names() {
    let (_folder, reader) = filled();
    for (target, found) in [
        ("container:web", vec![4, 1]),
        ("container:000000", vec![4, 2, 1]),
        ("container:we", vec![]),
        ("pod:web-pod", vec![4, 1]),
        ("pod:odd/web-pod", vec![1]),
        ("pod:uid-db", vec![2]),
        ("unit:cron", vec![5, 3]),
        ("unit:system.slice", vec![5, 3]),
        ("cgroup:/pods/web", vec![4, 1]),
        ("cgroup:/pods/web/1", vec![1]),
        ("cgroup:/pods/we", vec![]),
        ("cgroup:/system.slice", vec![5, 3]),
        ("cgroup:/", vec![5, 4, 3, 2, 1]),
        ("web", vec![4, 1]),
        ("even/web-pod", vec![4]),
        ("cron", vec![5, 3]),
        ("nobody", vec![]),
    ] {
        assert_eq!(of(&reader, target, Roles::Own), found, "{target}");
    }
    assert_eq!(of(&reader, "unit:cron", Roles::Main), [3]);
    assert_eq!(of(&reader, "web", Roles::All), [7, 6, 4, 1]);
    assert_eq!(pids(&reader.of_pid(8, 9).unwrap()), [8]);
}

#[test]
fn a_long_answer_comes_in_parts_without_gaps() {
    let folder = Folder::new();
    // Many at the same moment.
    let now = death(1).time;
    let deaths = (1..=700).map(|number| {
        let mut death = container(number, "web");
        death.time.clone_from(&now);
        record(death)
    });
    store(&folder.store(), deaths);
    let reader = Reader::open(&folder.store()).unwrap();
    for targets in [vec![], vec![Target::Any("web".to_owned())]] {
        let filter = Filter {
            targets,
            ..Filter::default()
        };
        let mut seen = std::collections::HashSet::new();
        let count = reader
            .each(&filter, usize::MAX, |stored| {
                seen.insert(stored.pid);
                Ok::<_, StoreError>(true)
            })
            .unwrap();
        assert_eq!((count, seen.len()), (700, 700));
        assert_eq!(
            reader
                .each(&filter, 300, |_| Ok::<_, StoreError>(true))
                .unwrap(),
            300
        );
    }
}

#[test]
fn an_id_may_be_cut_short() {
    let folder = Folder::new();
    store(
        &folder.store(),
        [4, 42, 421].map(|number| record(death(number))),
    );
    let reader = Reader::open(&folder.store()).unwrap();
    let found = |id: &str| pids(&reader.by_id(id, 10).unwrap());
    assert_eq!(found("10d4559a-42-42152851930"), [42]);
    assert_eq!(found("10d4559a-42"), [42], "a whole part goes first");
    assert_eq!(found("10d4559a-421"), [421]);
    assert_eq!(found("10d4559a-4"), [4]);
    assert_eq!(found("10d4"), [421, 42, 4]);
    assert_eq!(found("10d4559a-5"), [0; 0]);
    assert_eq!(reader.by_id("1", 2).unwrap().len(), 2);
}

#[test]
fn earlier_deaths_are_those_of_the_same_workload() {
    let folder = Folder::new();
    let mut child = container(5, "web");
    child.victim.role = Some(Role::Child);
    let deaths = vec![
        container(1, "web"),
        container(2, "web"),
        container(3, "web"),
        container(4, "db"),
        child,
        container(7, "web"),
        container(9, "web"),
    ];
    store(&folder.store(), deaths.into_iter().map(record));
    let reader = Reader::open(&folder.store()).unwrap();
    let earlier = |number| pids(&reader.earlier(&container(number, "web"), 10).unwrap());
    assert_eq!(
        earlier(7),
        [3, 1],
        "in the same namespace and the same role"
    );
    assert_eq!(earlier(1), [0; 0]);
    let one = reader.earlier(&container(9, "web"), 1).unwrap();
    assert_eq!(pids(&one), [7]);

    // Containers of one name in pods of two workloads.
    let of_pod = |number: u32, pod: &str| {
        let mut death = container(number, "app");
        death.container.as_mut().unwrap().pod = Some(pod.to_owned());
        death
    };
    let folder = Folder::new();
    let deaths = vec![
        of_pod(21, "shop-6f7d8b9c4-tq2nn"),
        of_pod(23, "bank-6f7d8b9c4-tq2nn"),
        of_pod(25, "shop-5c5d8b9c4-xk2pl"),
    ];
    store(&folder.store(), deaths.into_iter().map(record));
    let reader = Reader::open(&folder.store()).unwrap();
    let last = of_pod(27, "shop-7b7d8b9c4-zz2nn");
    assert_eq!(pids(&reader.earlier(&last, 10).unwrap()), [25, 21]);
}

/// One shell starts many programs that have the same comm.
#[test]
fn what_is_no_main_process_is_told_by_its_program() {
    let of = |number: u32, argv: Option<&[&str]>, cgroup: &str| {
        let mut death = death(number);
        death.victim.comm = Some("python3".to_owned());
        death.victim.exe = Some("/usr/bin/python3".to_owned());
        death.victim.argv = argv.map(|argv| argv.iter().map(|word| (*word).to_owned()).collect());
        death.victim.cgroup = Some(cgroup.to_owned());
        death.victim.role = Some(Role::Host);
        (death.container, death.unit) = (None, None);
        death
    };
    let (web, job) = (
        Some(&["python3", "web.py"][..]),
        Some(&["python3", "job.py"][..]),
    );
    let folder = Folder::new();
    let deaths = [
        of(1, web, "/user"),
        of(3, job, "/user"),
        of(5, web, "/user/below"),
        of(7, None, "/user"),
        of(11, job, "/user"),
    ];
    store(&folder.store(), deaths.into_iter().map(record));
    let reader = Reader::open(&folder.store()).unwrap();
    let now = of(9, web, "/user");
    // Of one whose arguments are not known, the executable is the same.
    assert_eq!(pids(&reader.earlier(&now, 10).unwrap()), [7, 1]);
    assert_eq!(reader.next(&now).unwrap().map(|next| next.pid), None);
    let again = of(8, job, "/user");
    assert_eq!(reader.next(&again).unwrap().map(|next| next.pid), Some(11));
}

/// Nobody waits for all of very many records to be read; that some were not is known.
#[test]
fn not_all_that_may_be_the_same_program_are_looked_into() {
    let of = |number: u32, program: &str| {
        let mut death = death(number);
        death.victim.comm = Some("sh".to_owned());
        death.victim.argv = Some(vec!["sh".to_owned(), program.to_owned()]);
        death.victim.cgroup = Some("/".to_owned());
        death.victim.role = Some(Role::Host);
        (death.container, death.unit) = (None, None);
        death
    };
    let folder = Folder::new();
    let others = (2..=1100).map(|number| of(number, "other"));
    let deaths = std::iter::once(of(1, "this")).chain(others);
    store(&folder.store(), deaths.map(record));
    let reader = Reader::open(&folder.store()).unwrap();
    let earlier = |now: &Death, limit| {
        let found = reader.earlier(now, limit).unwrap().len();
        (found, reader.was_cut())
    };
    assert_eq!(earlier(&of(1200, "this"), 10), (0, true));
    assert_eq!(earlier(&of(1200, "other"), 1), (1, false));
    assert_eq!(earlier(&of(4, "this"), 10), (1, false));
    let next = reader.next(&of(1, "other")).unwrap();
    assert_eq!(next.map(|next| next.pid), Some(2));
}

#[test]
fn what_a_death_led_to_is_found() {
    let (_folder, reader) = filled();
    let web = container(4, "web");
    assert_eq!(pids(&reader.caused_by(&web.id, 10).unwrap()), [7, 6]);
    assert!(reader.caused_by("nobody", 10).unwrap().is_empty());
}

#[test]
fn what_is_in_the_store_is_told() {
    let (folder, reader) = filled();
    let all = all(&folder.store());
    let span = reader.span().unwrap();
    assert_eq!(span.deaths, 8);
    assert_eq!(span.first_ns, all.last().map(|stored| stored.time_ns));
    assert_eq!(span.last_ns, all.first().map(|stored| stored.time_ns));
}

#[test]
fn there_need_be_no_store() {
    let folder = Folder::new();
    let error = Reader::open(&folder.store()).unwrap_err();
    assert_eq!(error.trouble(), Trouble::Missing);
    assert!(error.to_string().contains("oomtrace run"), "{error}");
    assert!(!folder.store().exists(), "reading makes nothing");
    std::fs::write(folder.store(), "").unwrap();
    let error = Reader::open(&folder.store()).unwrap_err();
    assert_eq!(error.trouble(), Trouble::Empty);
    let text = error.to_string();
    assert!(
        text.contains("it is empty (nothing was stored yet)") && !text.contains("no such file"),
        "{text}"
    );
    let error = Reader::open(folder.path()).unwrap_err();
    assert_eq!(error.trouble(), Trouble::NotAStore);
}
