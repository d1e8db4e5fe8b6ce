//! How SQLite goes about what is asked.

use rusqlite::{Connection, ToSql};

use super::{AT_A_TIME, Filter, Lead, Plan, Reader, Roles, Way};
use crate::{
    identity::target::Target,
    provenance::record::Cause,
    store::{query::bound::Bound, schema},
};

/// A store in memory, with so many deaths in each of two units, and one of the first in a cgroup
/// of its own.
fn reader(deaths: u32) -> Reader {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::bring_up(&mut connection, 0).unwrap();
    let sql = format!(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2 * {deaths})
         INSERT INTO deaths (key, id, revision, final, time_ns, weight, boot_id, cause, mechanism,
             role, pid, comm, unit, slice, cgroup)
         SELECT n, 'b-' || n, 1, 1, n, 2, 'b', 'app_kill', 'kill', 'unit_child', n,
             iif(n = 7, 'rare', 'sh'), 'u' || (n % 2) || '.service', 'system.slice',
             '/system.slice/u' || (n % 2) || '.service' || iif(n = 7, '/one', '') FROM n;
         INSERT INTO records SELECT key, '{{}}' FROM deaths"
    );
    connection.execute_batch(&sql).unwrap();
    Reader {
        bound: Bound::on(&mut connection).unwrap(),
        connection,
        path: "memory".into(),
    }
}

fn filter(targets: &[&str]) -> Filter {
    let targets = targets.iter().map(|typed| Target::parse(typed).unwrap());
    Filter {
        targets: targets.collect(),
        ..Filter::default()
    }
}

fn steps(reader: &Reader, plan: &Plan, way: &Way, is_behind: bool) -> Vec<String> {
    let sql = format!("EXPLAIN QUERY PLAN {}", plan.statement(way, is_behind));
    let mut statement = reader.connection.prepare(&sql).unwrap();
    // With their values, which SQLite looks at, too.
    let (mut values, moment) = (plan.values(way), 5_i64);
    if is_behind {
        values.extend([&moment as &dyn ToSql; 3]);
    }
    values.push(&moment);
    let rows = statement.query_map(&*values, |row| row.get(3)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The index that is walked, of the only way, for a first page and for those behind it.
fn walked(reader: &Reader, filter: &Filter) -> String {
    let plan = reader.plan(filter).unwrap();
    let walks = [false, true].map(|is_behind| {
        let steps = steps(reader, &plan, &plan.ways[0], is_behind);
        let text = steps.join("\n");
        // Those of the same moment may have to be put in order by their keys.
        let text = text.replace("USE TEMP B-TREE FOR LAST TERM OF ORDER BY", "");
        assert!(!text.contains("TEMP B-TREE"), "{filter:?}: {text}");
        let walk = steps[0].clone();
        walk.split(' ')
            .find(|word| word.starts_with("deaths_"))
            .unwrap_or_else(|| panic!("{filter:?}: {text}"))
            .to_owned()
    });
    assert_eq!(walks[0], walks[1], "{filter:?}");
    walks[0].clone()
}

#[test]
fn an_index_gives_each_answer_in_order() {
    let reader = reader(20);
    let with = |change: &dyn Fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        walked(&reader, &filter)
    };
    assert_eq!(with(&|_| {}), "deaths_time");
    assert_eq!(with(&|filter| filter.roles = Roles::Main), "deaths_main");
    assert_eq!(
        with(&|filter| filter.cause = Some(Cause::AppKill)),
        "deaths_cause"
    );
    assert_eq!(
        with(&|filter| filter.caused_by = Some("b-1".to_owned())),
        "deaths_caused_by"
    );
    assert_eq!(
        with(&|filter| filter.cgroup = Some("/".to_owned())),
        "deaths_cgroup"
    );
    for (target, index) in [
        ("unit:u1", "deaths_unit"),
        ("pod:web", "deaths_pod"),
        ("pod:shop/web", "deaths_pod"),
        ("cgroup:/", "deaths_time"),
    ] {
        let mut filter = filter(&[target]);
        assert_eq!(walked(&reader, &filter), index, "{target}");
        filter.roles = Roles::Main;
        filter.until_ns = Some(9);
        let walked = walked(&reader, &filter);
        assert!(
            walked == index || index == "deaths_time" && walked == "deaths_main",
            "{target}: {walked}"
        );
    }
}

/// Of two conditions the one that fewer deaths fit.
#[test]
fn what_is_rare_leads() {
    let reader = reader(20);
    let mut filter = filter(&["unit:u1"]);
    filter.command = Some("rare".to_owned());
    assert_eq!(walked(&reader, &filter), "deaths_comm");
    filter.command = Some("sh".to_owned());
    assert_eq!(walked(&reader, &filter), "deaths_unit");
    filter.command = None;
    filter.cause = Some(Cause::AppKill);
    assert_eq!(walked(&reader, &filter), "deaths_unit");
    filter.cause = Some(Cause::CgroupOom);
    assert_eq!(walked(&reader, &filter), "deaths_cause");
}

/// Neither the start of an id nor a cgroup with all below it is one value of an index.
#[test]
fn only_keys_of_a_range_are_put_in_order() {
    let reader = reader(20);
    let filter = filter(&["cgroup:/system.slice"]);
    let plan = reader.plan(&filter).unwrap();
    assert!(
        matches!(plan.ways[0].lead, Lead::Sorted(_)),
        "{:?}",
        plan.ways[0].lead
    );
    for is_behind in [false, true] {
        let text = steps(&reader, &plan, &plan.ways[0], is_behind).join("\n");
        assert!(
            text.contains("deaths_cgroup (cgroup>? AND cgroup<?)"),
            "{text}"
        );
        assert!(text.contains("d USING INTEGER PRIMARY KEY"), "{text}");
        assert!(text.contains("r USING INTEGER PRIMARY KEY"), "{text}");
        assert!(!text.contains("SCAN"), "{text}");
    }
}

/// The newest of a large range are near; where they are not, the range is put in order.
#[test]
fn a_large_range_is_looked_for_along_the_time() {
    let reader = reader(20_000);
    let mut filter = filter(&["cgroup:/system.slice"]);
    assert_eq!(walked(&reader, &filter), "deaths_time");
    let found = reader.list(&filter, None, 3).unwrap();
    let pids: Vec<u32> = found.iter().map(|stored| stored.pid).collect();
    assert_eq!(pids, [40_000, 39_999, 39_998]);
    let plan = reader.plan(&filter).unwrap();
    let (limit, mut values) = (3_i64, plan.values(&plan.ways[0]));
    values.push(&limit);
    let sorted = plan.sorted(&plan.ways[0], false);
    assert_eq!(reader.rows(&sorted, &values).unwrap(), found);

    filter.targets = vec![Target::parse("cgroup:/system.slice/u1.service/one").unwrap()];
    let found = reader.list(&filter, None, AT_A_TIME).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].pid, 7);
}

/// Whoever asks in vain does not wait for all deaths to be looked at.
#[test]
fn a_look_ends_when_its_time_is_up() {
    let reader = reader(20_000);
    let count = "SELECT count(*) FROM deaths AS a, deaths AS b WHERE a.time_ns + b.time_ns < 0";
    let now = std::time::Instant::now();
    let look = || {
        let row = reader
            .connection
            .query_row(count, [], |row| row.get::<_, i64>(0));
        row.map(drop)
    };
    let found = reader
        .bound
        .until(now + std::time::Duration::from_millis(20), look);
    assert!(found.unwrap().is_none());
    let later = now + std::time::Duration::from_secs(3600);
    let one = reader.bound.until(later, || {
        reader
            .connection
            .query_row("SELECT 1", [], |row| row.get::<_, i64>(0))
    });
    assert_eq!(one.unwrap(), Some(1));
    assert!(!reader.was_cut());
    reader.bound.cut();
    assert!(reader.was_cut() && !reader.was_cut());
}
