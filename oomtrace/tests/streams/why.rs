//! Each recorded death told: what happened when, and what is said that it was not.

use std::collections::HashMap;

use oomtrace::{
    event::Sigkill,
    provenance::record::{Cause, Death, Gap, Inferred, Restart},
    sinks::{
        html,
        story::{self, Look},
    },
    why::{Around, Story, tell},
};

use crate::support::{
    make::{
        ATTACHED_NS, BY_SIGKILL, CGROUP_OOM, EXIT_137, KILLED_NS, S, SIGTERM, exit, exit_at,
        kernels, kill, process, sigkill, stop, stream,
    },
    recordings, run,
};

/// The last revision of each death of a recording.
fn deaths(of: &recordings::Recording) -> Vec<Death> {
    let ran = run(of.events.iter().cloned());
    let mut last: HashMap<String, Death> = HashMap::new();
    for death in ran.deaths() {
        last.insert(death.id.clone(), death.clone());
    }
    let mut deaths: Vec<Death> = last.into_values().collect();
    deaths.sort_by_key(|death| (death.boottime_ns, death.victim.pid));
    deaths
}

fn codes(story: &Story<'_>) -> Vec<&'static str> {
    story.not.iter().map(|not| not.code).collect()
}

fn page(story: &Story<'_>) -> String {
    let look = Look {
        colour: false,
        width: 100,
    };
    let mut to = Vec::new();
    story::write(&mut to, story, look).unwrap();
    String::from_utf8(to).unwrap()
}

const OOM: [Cause; 3] = [Cause::CgroupOom, Cause::GlobalOom, Cause::NumaOom];

#[test]
fn nothing_is_ruled_out_that_it_was() {
    for recording in recordings::ALL.iter() {
        let all = deaths(recording);
        for (at, death) in all.iter().enumerate() {
            let before: Vec<Death> = all.get(..at).unwrap().iter().rev().cloned().collect();
            let around = Around {
                before: &before,
                ..Around::default()
            };
            let story = tell(death, &around);
            let codes = codes(&story);
            let name = format!("{}: {}", recording.name, death.summary);
            let says = |code: &str| codes.contains(&code);
            assert!(!(says("not_oom") && OOM.contains(&death.cause)), "{name}");
            assert!(!says("not_sent") || OOM.contains(&death.cause), "{name}");
            assert_eq!(says("not_killed"), death.cause == Cause::ExitCode, "{name}");
            let is_signal = death
                .outcome
                .is_some_and(|outcome| outcome.signal.is_some());
            assert!(!says("not_own_status") || is_signal, "{name}");
            assert!(
                !(says("not_stop_timeout") && death.stop.is_some()),
                "{name}"
            );
            assert!(codes.is_empty() || death.cause != Cause::Unknown, "{name}");
            // The limit that was hit is not said to be another.
            let hit = death
                .oom
                .as_ref()
                .and_then(|oom| oom.limit_cgroup.as_deref());
            let not = story.not.iter().find(|not| not.code == "not_that_limit");
            if let (Some(hit), Some(not)) = (hit, not) {
                assert!(
                    !not.text.contains(&format!("{hit}:")),
                    "{name}: {}",
                    not.text
                );
            }
        }
    }
}

#[test]
fn what_happened_stands_in_its_order() {
    for recording in recordings::ALL.iter() {
        for death in deaths(recording) {
            let story = tell(&death, &Around::default());
            let name = format!("{}: {}", recording.name, death.summary);
            assert!(!story.timeline.is_empty(), "{name}");
            assert!(
                story.timeline.is_sorted_by_key(|moment| moment.offset_ms),
                "{name}"
            );
            let whats: Vec<&str> = story.timeline.iter().map(|moment| moment.what).collect();
            assert_eq!(
                whats.contains(&"stop_request"),
                death.stop.is_some(),
                "{name}"
            );
            assert_eq!(whats.contains(&"ended"), death.outcome.is_some(), "{name}");
            let mut html = Vec::new();
            html::write(&mut html, &story).unwrap();
            assert!(!html.contains(&0x1b), "{name}");
            for width in [40, 100] {
                let look = Look {
                    colour: false,
                    width,
                };
                let mut to = Vec::new();
                story::write(&mut to, &story, look).unwrap();
                let text = String::from_utf8(to).unwrap();
                assert!(!text.contains('\x1b'), "{name}");
                assert!(
                    text.lines().all(|line| line == line.trim_end()),
                    "{name}: {text}"
                );
            }
        }
    }
}

#[test]
fn what_the_kernel_did_by_itself_nobody_sent() {
    let (parent, victim) = (process(900, "parent"), process(1000, "nginx"));
    let told = |frames: &[&str]| {
        let killed = kernels(frames, &parent, &victim);
        let death = run(stream([sigkill(&killed), exit(&victim, BY_SIGKILL)])).the_death();
        let story = tell(&death, &Around::default());
        let moment = story
            .timeline
            .iter()
            .find(|moment| moment.what == "sigkill");
        moment.unwrap().text.clone()
    };
    let send = ["__send_signal_locked", "do_send_sig_info"];
    for (from, says) in [
        (
            "zap_pid_ns_processes",
            "SIGKILL by the kernel: process 1 of its PID namespace, parent[900], ended",
        ),
        (
            "do_exit",
            "SIGKILL by the kernel: its parent, parent[900], ended",
        ),
        (
            "exit_ptrace",
            "SIGKILL by the kernel: its tracer, parent[900], ended",
        ),
        (
            "posixtimer_send_sigqueue",
            "SIGKILL by the kernel: a POSIX timer of its own ran out",
        ),
        ("do_bpf_send_signal", "SIGKILL by a BPF program"),
        (
            "send_sig_all",
            "SIGKILL by the kernel: somebody told it to (SysRq)",
        ),
    ] {
        assert_eq!(told(&[send[0], send[1], from]), says);
    }
}

#[test]
fn a_stop_timeout_is_told_from_the_request_on() {
    let (runc, victim) = (process(900, "runc"), process(1000, "nginx"));
    let mut killed = kill(&runc, &victim);
    killed.stops = vec![stop(SIGTERM, &runc, 10 * S)];
    let death = run(stream([sigkill(&killed), exit(&victim, BY_SIGKILL)])).the_death();
    let story = tell(&death, &Around::default());
    let whats: Vec<&str> = story.timeline.iter().map(|moment| moment.what).collect();
    assert_eq!(whats, ["started", "stop_request", "sigkill", "ended"]);
    assert_eq!(story.timeline[1].offset_ms, -10_000);
    assert!(codes(&story).contains(&"not_at_once"), "{:?}", story.not);
    let page = page(&story);
    for words in [
        "what happened",
        "-10.0 s  SIGTERM from runc[900]",
        "what it was not",
    ] {
        assert!(page.contains(words), "{page}");
    }
}

#[test]
fn what_came_before_the_tracer_is_not_denied() {
    let (sender, victim) = (process(900, "sender"), process(1000, "victim"));
    for (after_ns, is_denied) in [(S, false), (3_600 * S, true)] {
        let at = ATTACHED_NS + after_ns;
        let killed = Sigkill {
            boottime_ns: at,
            ..kill(&sender, &victim)
        };
        let events = [sigkill(&killed), exit_at(&victim, BY_SIGKILL, at + S)];
        let death = run(stream(events)).the_death();
        assert_eq!(death.cause, Cause::AppKill);
        let story = tell(&death, &Around::default());
        assert_eq!(codes(&story).contains(&"not_stop_timeout"), is_denied);
        let is_said = death
            .evidence
            .iter()
            .any(|e| e.code == "stop_may_be_unseen");
        assert_eq!(is_said, !is_denied);
    }
}

/// A status of 137 may be a child's that the OOM killer took.
#[test]
fn the_oom_killer_is_ruled_out_for_the_process_itself_and_no_more() {
    let victim = process(1000, "entrypoint");
    let of = |at_ns: u64| run(stream([exit_at(&victim, EXIT_137, at_ns)])).the_death();
    let death = of(KILLED_NS);
    let story = tell(&death, &Around::default());
    let not = story.not.iter().find(|not| not.code == "not_oom").unwrap();
    assert!(
        not.text.starts_with("not the OOM killer itself"),
        "{}",
        not.text
    );
    assert!(not.text.contains("a child's end by it"), "{}", not.text);
    // Its child may have ended before the tracer was there.
    let death = of(ATTACHED_NS + 5 * S);
    assert!(death.has_evidence("child_may_be_unseen"));
    let story = tell(&death, &Around::default());
    assert_eq!(codes(&story), ["not_killed"]);
}

/// Deaths of one workload, each so many seconds after the one before, the latest first.
fn again(every: &[u64], usage: &[u64]) -> Vec<Death> {
    let hog = process(1000, "hog");
    let first = run(stream([
        sigkill(&kernels(CGROUP_OOM, &hog, &hog)),
        exit(&hog, BY_SIGKILL),
    ]))
    .the_death();
    let mut seconds = 0;
    let mut all: Vec<Death> = Vec::new();
    for (number, after) in [0].iter().chain(every).enumerate() {
        seconds += after;
        let mut death = first.clone();
        death.id = format!("{number}");
        let at = 1_795_258_301 + seconds;
        death.time = time::OffsetDateTime::from_unix_timestamp(i64::try_from(at).unwrap())
            .unwrap()
            .format(&time::format_description::well_known::Rfc3339)
            .unwrap();
        death.oom.as_mut().unwrap().usage_bytes = usage.get(number).copied();
        all.insert(0, death);
    }
    all
}

#[test]
fn deaths_that_are_alike_are_said_to_be() {
    const GIB: u64 = 1 << 30;
    let all = again(&[36_000; 6], &[2 * GIB; 7]);
    let around = Around {
        before: &all[1..],
        ..Around::default()
    };
    let earlier = tell(&all[0], &around).earlier.unwrap();
    assert_eq!(
        earlier.text,
        "the 7th death of it in 3 days, all by this cause, every 10 h, always at 2.0 GiB"
    );
    assert_eq!((earlier.count, earlier.same_cause), (6, 6));

    // Neither regular nor at one level.
    let all = again(&[36_000, 60, 90_000], &[GIB, 2 * GIB, GIB, GIB]);
    let around = Around {
        before: &all[1..],
        ..Around::default()
    };
    let earlier = tell(&all[0], &around).earlier.unwrap();
    assert_eq!((earlier.every_s, earlier.level_bytes), (None, None));
    assert_eq!(earlier.grace_too_short_ms, None);
    assert_eq!(tell(&all[3], &Around::default()).earlier, None);
}

/// It ran again when that was seen, and when the next one that died had started.
#[test]
fn that_it_runs_again_is_said() {
    let mut all = again(&[60], &[1; 2]);
    let (mut next, death) = (all.remove(0), all.remove(0));
    next.boottime_ns = death.boottime_ns + 60 * S;
    next.victim.age_ms = Some(59_000);
    next.victim.started_at = Some(next.time.clone());
    let seen = Restart {
        schema: 1,
        of: death.id.clone(),
        time: death.time.clone(),
        boottime_ns: death.boottime_ns + S,
        after_ms: 1_000,
        container: None,
        unit: None,
        summary: "web.service was started again".to_owned(),
    };
    let told = |restart, next| {
        let around = Around {
            restart,
            next,
            ..Around::default()
        };
        let story = tell(&death, &around);
        let moments = story.timeline.iter();
        let moments = moments.filter(|moment| ["restart", "next_start"].contains(&moment.what));
        let said: Vec<_> = moments
            .map(|moment| (moment.what, moment.offset_ms, moment.text.clone()))
            .collect();
        said
    };
    assert_eq!(told(None, None), []);
    let [(what, ..)] = &told(None, Some(&next))[..] else {
        panic!()
    };
    assert_eq!(*what, "next_start");
    let alone = told(Some(&seen), None);
    assert_eq!(
        alone,
        [("restart", 1_000, "web.service was started again".to_owned())]
    );
    // The next one that died may be another of its kind.
    let both = told(Some(&seen), Some(&next));
    let whats: Vec<&str> = both.iter().map(|(what, ..)| *what).collect();
    assert_eq!(whats, ["restart", "next_start"]);
}

/// What others tell of the time in which nobody traced belongs to the story where it happened there.
#[test]
fn what_may_have_come_after_it_unseen_is_said() {
    let kill = |pid, cgroup: &str| Inferred {
        code: "oom_kill_logged".into(),
        cgroup: Some(cgroup.to_owned()),
        kills: 1,
        pid: Some(pid),
        comm: Some("hog".to_owned()),
        limit_cgroup: None,
        text: format!("inferred, not seen: hog[{pid}]"),
        source: "kernel_log".to_owned(),
    };
    let mut all = again(&[60, 60], &[1; 3]);
    for death in &mut all {
        death.victim.cgroup = Some("/app/web".to_owned());
    }
    let gap = |from: &Death, to: &Death, inferred| Gap {
        schema: 1,
        lost: 0,
        kind: "any".to_owned(),
        cpu: None,
        from: from.time.clone(),
        to: to.time.clone(),
        from_boottime_ns: 0,
        to_boottime_ns: 0,
        certain: false,
        why: String::new(),
        inferred,
    };
    let kills = vec![kill(7, "/app/web/below"), kill(8, "/app/webhook")];
    let gaps = [
        gap(&all[1], &all[0], kills.clone()),
        gap(&all[2], &all[1], kills),
    ];
    let told = |death: &Death, next: Option<&Death>| {
        let around = Around {
            next,
            unwatched: &gaps,
            ..Around::default()
        };
        let story = tell(death, &around);
        let mut html = Vec::new();
        html::write(&mut html, &story).unwrap();
        let html = String::from_utf8(html).unwrap();
        let page = page(&story);
        assert_eq!(
            page.contains("nobody traced"),
            html.contains("nobody traced")
        );
        (story.unwatched.len(), page)
    };
    // The latest: nothing came after it.
    assert_eq!(told(&all[0], None).0, 0);
    let (count, page) = told(&all[1], None);
    assert_eq!(count, 1);
    assert!(
        page.contains("hog[7]") && !page.contains("hog[8]"),
        "{page}"
    );
    // The second stretch is after the next death, and something is inferred of it.
    assert_eq!(told(&all[2], Some(&all[1])).0, 2);
    let mut elsewhere = all[2].clone();
    elsewhere.victim.cgroup = Some("/db".to_owned());
    assert_eq!(told(&elsewhere, Some(&all[1])).0, 1);
}

/// Somebody traced then, and what was seen may be lost.
#[test]
fn what_was_not_kept_is_not_said_to_be_untraced() {
    let all = again(&[60], &[1; 2]);
    let unkept = [Gap {
        schema: 1,
        lost: 0,
        kind: "unkept".to_owned(),
        cpu: None,
        from: all[1].time.clone(),
        to: all[0].time.clone(),
        from_boottime_ns: 0,
        to_boottime_ns: 0,
        certain: false,
        why: String::new(),
        inferred: Vec::new(),
    }];
    let around = Around {
        unwatched: &unkept,
        ..Around::default()
    };
    let text = page(&tell(&all[1], &around));
    assert!(
        text.contains("may not have been kept") && !text.contains("nobody traced"),
        "{text}"
    );
}

/// The longest time that did not suffice is all that is known of what would.
#[test]
fn what_was_too_little_time_to_stop_is_said_and_no_more() {
    let victim = process(4000, "victim");
    let asked = Sigkill {
        stops: vec![stop(SIGTERM, &process(2000, "master"), 2 * S)],
        ..kill(&process(2000, "master"), &victim)
    };
    let slow = run(stream([sigkill(&asked), exit(&victim, BY_SIGKILL)])).the_death();
    let given = |grace_ms: u64, reason: &'static str| {
        let mut death = slow.clone();
        let stop = death.stop.as_mut().unwrap();
        (stop.grace_ms, stop.reason) = (grace_ms, reason.into());
        death
    };
    let said = |death: &Death, before: &[Death]| {
        let around = Around {
            before,
            ..Around::default()
        };
        let earlier = tell(death, &around).earlier.unwrap();
        (earlier.grace_too_short_ms, earlier.text)
    };
    let before = [
        given(2_000, "handled"),
        given(30_000, "ending"),
        // More time is of no use to one that ignores the request, or cannot take it.
        given(90_000, "ignored"),
        given(90_000, "frozen"),
    ];
    let (longest_ms, text) = said(&given(10_000, "handled"), &before);
    assert_eq!(longest_ms, Some(30_000));
    assert!(
        text.ends_with(
            "; it was given 2.0 s to 30.0 s to stop, and not even 30.0 s sufficed: how much longer it takes is not known"
        ),
        "{text}"
    );
    let (longest_ms, text) = said(&given(2_000, "handled"), &before[..1]);
    assert_eq!(longest_ms, Some(2_000));
    assert!(
        text.contains("it was given 2.0 s to stop, which did not suffice"),
        "{text}"
    );
    assert_eq!(said(&given(9_000, "ignored"), &before[2..]).0, None);
}
