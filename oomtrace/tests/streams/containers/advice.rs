//! What to do, where a container's death tells more than its cause.

use oomtrace::{
    event::{
        Argv, Event, MemcgLevel, OomKill, Process, Sigkill, SignalResult, StopRequest,
        container::ContainerFacts, memory::NodeMemory,
    },
    provenance::{Output, record::Death},
};

use super::{ID, docker, facts, init, made, oom, pod, run, runc, web, worker};
use crate::support::{
    Ran, engine,
    make::{
        BY_SIGKILL, GLOBAL_OOM, KILLED_NS, MS, S, SIGTERM, exit, kernels, kill, level, oom_kill,
        opening, sigkill, stop, tick,
    },
};

const LIMIT_PAGES: u64 = 1 << 18;
const GIB: &str = "1.0 GiB";

fn with_argv(process: Process, line: &str) -> Process {
    Process {
        argv: Some(Argv {
            args: line.split(' ').map(str::to_owned).collect(),
            truncated: false,
        }),
        ..process
    }
}

/// The last revision of the death that this ends with.
fn death(before: impl IntoIterator<Item = Event>, kill: &Sigkill) -> Death {
    let end = [
        sigkill(kill),
        exit(&kill.victim, BY_SIGKILL),
        tick(KILLED_NS + 2 * S),
    ];
    let ran = run(before.into_iter().chain(end));
    ran.deaths().last().copied().unwrap().clone()
}

fn texts(death: &Death) -> Vec<(&str, &str)> {
    death
        .advice
        .iter()
        .map(|advice| (advice.code.as_str(), advice.text.as_str()))
        .collect()
}

#[track_caller]
fn text<'a>(death: &'a Death, code: &str) -> &'a str {
    let all = texts(death);
    let found = all.iter().find(|(its, _)| *its == code);
    found.unwrap_or_else(|| panic!("no {code} in {all:?}")).1
}

fn says(death: &Death, code: &str) -> bool {
    death.advice.iter().any(|advice| advice.code == code)
}

/// A container's process with a limit of 1 GiB, chosen by the OOM killer.
fn over_the_limit(victim: Process) -> Death {
    over_the_limit_of(victim, &web())
}

fn over_the_limit_of(victim: Process, container: &ContainerFacts) -> Death {
    over_the_limit_on(false, victim, container)
}

fn over_the_limit_on(is_v1: bool, victim: Process, container: &ContainerFacts) -> Death {
    let own = victim.memory_cgroup.clone().unwrap();
    let full = MemcgLevel {
        usage_pages: Some(LIMIT_PAGES),
        max_pages: Some(LIMIT_PAGES),
        oom_events: Some(1),
        v1: Some(is_v1),
        ..level(1, &own)
    };
    let victim = Process {
        memcg: vec![full, level(2, "/")],
        ..victim
    };
    death([made(&own), facts(container)], &oom(&victim))
}

#[test]
fn a_heap_that_may_grow_beyond_the_limit_is_named_with_its_setting() {
    let of = |line: &str| over_the_limit(with_argv(init(&docker()), line));
    let death = of("java -Xmx4g -jar app.jar");
    let said = text(&death, "heap_beyond_limit");
    for words in ["-Xmx4g", "4.0 GiB", GIB, "768.0 MiB"] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(death.advice[0].code, "check_memory_use");

    let tight = of("java -XX:MaxRAMPercentage=90 -jar app.jar");
    assert!(text(&tight, "heap_tight").contains("90 % of the limit"));

    // The container's environment says it, where the arguments do not.
    let victim = Process {
        comm: Some("server".to_owned()),
        ..with_argv(init(&docker()), "server")
    };
    let given = ContainerFacts {
        heap: vec!["GOMEMLIMIT=2GiB".to_owned()],
        ..web()
    };
    let death = over_the_limit_of(victim, &given);
    assert!(text(&death, "heap_beyond_limit").contains("GOMEMLIMIT=2GiB"));

    for line in ["java -Xmx512m -jar app.jar", "python3 app.py", "node a.js"] {
        let death = of(line);
        assert!(!says(&death, "heap_beyond_limit"), "{line}");
        assert!(!says(&death, "heap_tight"), "{line}");
    }
    // A heap has nothing to do with a stop that took too long.
    let mut killed = kill(&runc(), &with_argv(init(&docker()), "java -Xmx4g A"));
    killed.stops = vec![stop(SIGTERM, &runc(), 10 * S)];
    let stopped = self::death([made(&docker()), facts(&web())], &killed);
    assert!(!says(&stopped, "heap_beyond_limit"));
}

#[test]
fn a_shell_that_runs_the_program_is_told_from_the_program() {
    let of = |line: &str, stops: bool| {
        let mut killed = kill(&runc(), &with_argv(init(&docker()), line));
        if stops {
            let ignored = StopRequest {
                first_result: SignalResult::Ignored,
                last_result: SignalResult::Ignored,
                ..stop(SIGTERM, &runc(), 10 * S)
            };
            killed.stops = vec![ignored];
        }
        death([made(&docker()), facts(&web())], &killed)
    };
    assert!(text(&of("/bin/sh -c ./server", true), "shell_form").contains("SIGTERM"));
    for (line, stops) in [
        ("/bin/sh -c ./server", false),
        ("/bin/sh /entrypoint", true),
        ("nginx -c /etc/nginx.conf", true),
    ] {
        assert!(!says(&of(line, stops), "shell_form"), "{line}");
    }
}

#[test]
fn a_container_that_goes_on_broken_is_said_to() {
    let death = over_the_limit(worker(&docker()));
    assert!(text(&death, "left_behind").contains("set memory.oom.group of its cgroup"));
    assert!(!says(&over_the_limit(init(&docker())), "left_behind"));
    // Cgroup v1 has no such file.
    let death = over_the_limit_on(true, worker(&docker()), &web());
    let said = text(&death, "left_behind");
    assert!(
        said.contains("health check") && !said.contains("set memory.oom.group"),
        "{said}"
    );
}

/// Chosen by the OOM killer when the node, with 64 GiB and as much swap, ran out.
fn node_ran_out(cgroup: &str, adj: i32, seen: bool) -> Death {
    let victim = Process {
        oom_score_adj: Some(adj),
        ..init(cgroup)
    };
    let killed = kernels(GLOBAL_OOM, &victim, &victim);
    let hook = OomKill {
        boottime_ns: killed.boottime_ns - 50_000,
        sender_tid: killed.sender.tid,
        chosen_tgid: Some(victim.group.tgid),
        constraint: Some(oomtrace::event::Constraint::None),
        points: Some(1_000),
        total_pages: Some(1 << 25),
        gfp_mask: Some(0xcc0),
        order: Some(0),
        is_memcg: Some(false),
        limit: Vec::new(),
    };
    let events = [
        made(cgroup),
        facts(&web()),
        oom_kill(&hook),
        sigkill(&killed),
        exit(&killed.victim, BY_SIGKILL),
        tick(KILLED_NS + 2 * S),
    ];
    let mut engine = engine();
    let mut all = Vec::new();
    for event in opening().into_iter().chain(events) {
        let mut out = Vec::new();
        engine.handle(event, &mut out);
        let asks = seen && out.contains(&Output::AskNodeMemory);
        all.append(&mut out);
        if asks {
            let node = NodeMemory {
                boottime_ns: KILLED_NS + MS,
                total_bytes: Some(64 << 30),
                ..NodeMemory::default()
            };
            engine.handle(Event::NodeMemory(Box::new(node)), &mut all);
        }
    }
    let ran = Ran(all);
    ran.deaths().last().copied().unwrap().clone()
}

#[test]
fn the_class_of_a_pod_follows_from_its_score() {
    let best_effort = node_ran_out(&pod(), 1000, true);
    assert!(text(&best_effort, "qos_best_effort").contains("memory request"));
    // A quarter of the node.
    let burstable = node_ran_out(&pod(), 750, true);
    assert!(text(&burstable, "qos_burstable").contains("about 16.0 GiB"));
    let unseen = node_ran_out(&pod(), 750, false);
    assert!(!text(&unseen, "qos_burstable").contains('?'));
    // The ends of the scale say nothing of a size.
    for (adj, words) in [
        (999, "no memory request"),
        (3, "nearly all"),
        (2, "nearly all"),
    ] {
        let death = node_ran_out(&pod(), adj, true);
        let said = text(&death, "qos_burstable");
        assert!(said.contains(words) && !said.contains("iB"), "{said}");
    }
    let guaranteed = node_ran_out(&pod(), -997, true);
    assert!(text(&guaranteed, "qos_guaranteed").contains("-997"));
    // Nobody but Kubernetes gives these scores.
    let plain = node_ran_out(&format!("/docker/{ID}"), 1000, true);
    assert!(!says(&plain, "qos_best_effort"));
    assert!(!says(&over_the_limit(init(&pod())), "qos_burstable"));
}

#[test]
fn no_text_has_a_hole() {
    let all = [
        over_the_limit(with_argv(init(&docker()), "java -Xmx4g")),
        over_the_limit(worker(&docker())),
        node_ran_out(&pod(), 1000, true),
        node_ran_out(&pod(), 500, false),
    ];
    for death in &all {
        for (code, text) in texts(death) {
            assert!(!text.contains(['{', '}', '?']), "{code}: {text}");
        }
    }
}
