//! How fast a store with a million deaths answers. By hand:
//!
//!     cargo test --release -p oomtrace --test store -- --ignored --nocapture a_million_deaths
//!
//! `OOMTRACE_DEATHS` sets another number.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use oomtrace::{
    identity::target::Target,
    provenance::record::{Cause, Container, Death, Role, Unit},
    sinks::Sink as _,
    store::{Filter, Limits, Options, Reader, Roles, StoreSink},
};
use rusqlite::Connection;

use crate::support::{Folder, at, death, record};

/// So many are stored as `run` stores them.
const STORED: u32 = 10_000;
const LIST: Duration = Duration::from_millis(100);
const WHY: Duration = Duration::from_millis(50);

/// One of 200 containers, each of which dies again and again; every third is a child.
fn one(number: u32, base: &Death) -> Death {
    let mut death = base.clone();
    death.id = format!(
        "10d4559a-{}-{}",
        number % 4_000_000,
        42_152_851_930 + u64::from(number)
    );
    death.victim.pid = number % 4_000_000;
    death.time = at(-f64::from(STORED - number));
    let name = format!("container-{}", number % 200);
    death.container = base.container.as_ref().map(|container| Container {
        id: format!("{:0>64x}", number / 3),
        name: Some(name.clone()),
        pod: Some(format!("{name}-pod")),
        namespace: Some(format!("namespace-{}", number % 20)),
        ..container.clone()
    });
    death.victim.role = Some(if number.is_multiple_of(3) {
        Role::Child
    } else {
        Role::ContainerInit
    });
    if number.is_multiple_of(5) {
        death.cause = Cause::StopTimeout;
    }
    death
}

/// The same deaths again and again, each time further back: this much is not to wait for what
/// makes their records.
fn copy(path: &Path, times: u32) {
    let connection = Connection::open(path).unwrap();
    for time in 1..times {
        let sql = format!(
            "BEGIN;
             INSERT INTO deaths SELECT key + {offset}, id || '-{time}', revision, final,
                 time_ns - {offset} * 1000000000, weight, boot_id, cause, mechanism, role, pid, comm,
                 container, container_id, pod, pod_uid, namespace, unit, slice, cgroup,
                 unified_cgroup, caused_by FROM deaths WHERE key <= {STORED};
             INSERT INTO records SELECT key + {offset}, json FROM records WHERE key <= {STORED};
             COMMIT",
            offset = time * STORED,
        );
        connection.execute_batch(&sql).unwrap();
    }
    connection
        .execute(
            "UPDATE meta SET value = (SELECT count(*) FROM deaths) WHERE name = 'deaths'",
            [],
        )
        .unwrap();
}

/// Fills a store, and says how that went.
fn fill(path: &Path, deaths: u32) -> String {
    let options = Options {
        limits: Limits {
            size_bytes: 64 << 30,
            ..Limits::default()
        },
        ..Options::at(path)
    };
    let mut sink = StoreSink::start(&options).unwrap();
    let stats = sink.stats();
    let base = death(1);
    let began = Instant::now();
    for number in 1..=STORED {
        sink.write(&record(one(number, &base))).unwrap();
        while stats.waiting() > 5_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    while stats.waiting() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = began.elapsed();
    sink.settle(true).unwrap();
    assert_eq!(stats.stored(), u64::from(STORED));
    copy(path, deaths / STORED);
    let deaths = deaths / STORED * STORED;
    let bytes = fs::metadata(path).unwrap().len();
    format!(
        "{STORED} deaths stored in {took:.1?}: {:.0} a second; of {deaths}, {} bytes each, {} of them JSON\n",
        f64::from(STORED) / took.as_secs_f64(),
        bytes / u64::from(deaths),
        serde_json::to_string(&record(base)).unwrap().len(),
    )
}

/// Takes the time of an answer: what it is, how long it may take, and what gives its rows.
type Measure<'a> = dyn FnMut(&str, Duration, &dyn Fn() -> usize) + 'a;

/// Whose deaths are very many.
fn of_many(reader: &Reader, path: &Path, measure: &mut Measure<'_>) {
    // As `why` does it: within its time.
    let workloads = |target: Target| {
        move || {
            let until = Instant::now() + Duration::from_millis(25);
            let filter = Filter {
                targets: vec![target.clone()],
                ..Filter::default()
            };
            reader.glances(&filter, until).unwrap().0.len()
        }
    };
    let pod = Target::parse("pod:container-77-pod").unwrap();
    measure("workloads of a pod", WHY, &workloads(pod));
    // The worst: all of it in one slice, and half of it with others.
    let other = Connection::open(path).unwrap();
    other
        .execute_batch(
            "UPDATE deaths SET unit = 'a.service', slice = 'big.slice', weight = 1 + key % 2",
        )
        .unwrap();
    let slice = Target::parse("unit:big.slice").unwrap();
    measure("workloads of a slice", WHY, &workloads(slice.clone()));
    measure("hidden ones of a slice", LIST, &|| {
        let filter = Filter {
            targets: vec![slice.clone()],
            ..Filter::default()
        };
        let hidden = reader.hidden(&filter, i64::MIN).unwrap();
        usize::try_from(hidden.along).unwrap()
    });
}

/// A node with few cgroups and very many deaths in each: half of all in `/`, the other half in
/// ten units of 5 % each, of which one has seen none for long.
fn in_few_cgroups(path: &Path, measure: &mut Measure<'_>) {
    Connection::open(path)
        .unwrap()
        .execute_batch(
            "UPDATE deaths SET container = NULL, container_id = NULL, pod = NULL, pod_uid = NULL,
                 namespace = NULL, slice = NULL, unit = NULL, cgroup = '/', role = 'host', weight = 2,
                 comm = iif(key % 250000 = 7, 'rare', 'sh'),
                 cause = iif(key % 3 = 0, 'app_kill', 'stop_timeout');
             UPDATE deaths SET slice = 'system.slice', unit = 'u' || (key / 2 % 10) || '.service',
                 cgroup = '/system.slice/u' || (key / 2 % 10) || '.service', role = 'unit_child'
                 WHERE key % 2 = 0 AND (key / 2 % 10 <> 9 OR time_ns < (SELECT max(time_ns) - 1000000000000 FROM deaths));
             ",
        )
        .unwrap();
    let reader = &Reader::open(path).unwrap();
    let id = |condition: &str| {
        let connection = Connection::open(path).unwrap();
        let sql = format!("SELECT id FROM deaths WHERE {condition} LIMIT 1");
        connection
            .query_row(&sql, [], |row| row.get::<_, String>(0))
            .unwrap()
    };
    // The record is another's, but for what is looked for.
    let whole = |condition: &str| {
        let stored = reader.by_id(&id(condition), 1).unwrap().pop().unwrap();
        let mut death = stored.death().unwrap();
        death.container = None;
        death.unit = stored.unit.clone().map(|name| Unit {
            name,
            slice: None,
            user: None,
        });
        death.victim.cgroup.clone_from(&stored.cgroup);
        death.victim.comm.clone_from(&stored.comm);
        death.victim.role = Some(if death.unit.is_some() {
            Role::UnitChild
        } else {
            Role::Host
        });
        death
    };
    for (what, condition) in [
        (
            "a host process with a rare comm",
            "comm = 'rare' AND unit IS NULL",
        ),
        (
            "a host process with a common comm",
            "comm = 'sh' AND unit IS NULL",
        ),
        ("a unit's child with a common comm", "unit = 'u2.service'"),
        (
            "a unit's child that no other is like",
            "unit = 'u9.service'",
        ),
    ] {
        let mut death = whole(condition);
        if what.ends_with("like") {
            death.victim.comm = Some("nobody".to_owned());
        }
        measure(
            &format!("earlier ones, and the next, of {what}"),
            WHY,
            &|| {
                let next = usize::from(reader.next(&death).unwrap().is_some());
                reader.earlier(&death, 1000).unwrap().len() + next
            },
        );
    }
    for typed in [
        "/",
        "/system.slice",
        "/system.slice/u2.service",
        "/system.slice/u9.service",
        "/none",
    ] {
        let target = Target::parse(&format!("cgroup:{typed}")).unwrap();
        measure(&format!("latest in {typed}"), WHY, &|| {
            reader.of_target(&target, Roles::Own, 1).unwrap().len()
        });
    }
    for (what, target, cause) in [
        (
            "container that is not there",
            "container:NOT-THERE",
            Cause::AppKill,
        ),
        ("unit that has none of it", "unit:u2", Cause::CgroupOom),
    ] {
        let filter = Filter {
            cause: Some(cause),
            targets: vec![Target::parse(target).unwrap()],
            ..Filter::default()
        };
        measure(&format!("newest 50 of a cause and a {what}"), LIST, &|| {
            reader.list(&filter, None, 50).unwrap().len()
        });
    }
}

#[test]
#[ignore = "takes minutes and gigabytes: see the module"]
fn a_million_deaths_are_asked_about() {
    let deaths: u32 = std::env::var("OOMTRACE_DEATHS")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(1_000_000);
    let folder = Folder::new();
    let path = folder.store();
    let mut report = fill(&path, deaths);

    let reader = Reader::open(&path).unwrap();
    let web = || vec![Target::Container("container-77".to_owned())];
    let filter = |targets: Vec<Target>, roles| Filter {
        targets,
        roles,
        ..Filter::default()
    };
    let mut too_slow = 0;
    let mut measure = |what: &str, bound: Duration, ask: &dyn Fn() -> usize| {
        let first = Instant::now();
        let rows = ask();
        let first = first.elapsed();
        let again = Instant::now();
        ask();
        writeln!(
            report,
            "{what}: {rows} rows, {first:.1?} the first time, {:.1?} the second",
            again.elapsed()
        )
        .unwrap();
        if first >= bound {
            writeln!(report, "    that is more than {bound:?}").unwrap();
            too_slow += 1;
        }
    };
    let list = |filter: Filter| {
        let reader = &reader;
        move || reader.list(&filter, None, 50).unwrap().len()
    };
    measure("newest 50", LIST, &list(Filter::default()));
    measure(
        "newest 50 of a container",
        LIST,
        &list(filter(web(), Roles::Own)),
    );
    let cause = Filter {
        cause: Some(Cause::StopTimeout),
        namespace: Some("namespace-10".to_owned()),
        ..Filter::default()
    };
    measure("newest 50 of a cause and a namespace", LIST, &list(cause));
    let any = filter(vec![Target::Any("container-77".to_owned())], Roles::Own);
    measure("newest 50 of any that is called so", LIST, &list(any));
    let id = filter(
        vec![Target::Container(format!("{:0>64x}", STORED / 3 - 1))],
        Roles::Own,
    );
    measure("newest 50 of a container's id", LIST, &list(id));
    measure("nothing found: what is there", LIST, &|| {
        usize::try_from(reader.span().unwrap().deaths).unwrap()
    });
    measure("latest main death", WHY, &|| {
        usize::from(reader.latest_main().unwrap().is_some())
    });
    measure("latest main death of a container", WHY, &|| {
        let target = &web()[0];
        reader.of_target(target, Roles::Main, 1).unwrap().len()
    });
    let last = reader.latest_main().unwrap().unwrap().death().unwrap();
    measure("20 earlier ones of the same workload", WHY, &|| {
        reader.earlier(&last, 20).unwrap().len()
    });
    measure("what it led to", WHY, &|| {
        reader.caused_by(&last.id, 20).unwrap().len()
    });
    measure("one by the start of its id", WHY, &|| {
        reader.by_id("10d4559a-777777", 20).unwrap().len()
    });
    of_many(&reader, &path, &mut measure);
    in_few_cgroups(&path, &mut measure);
    println!("{report}");
    assert_eq!(too_slow, 0, "{report}");
}
