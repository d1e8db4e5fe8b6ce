//! When the memory before an OOM kill is asked for, and which answer counts.

use oomtrace::{
    event::{
        Event, MarkVictim, Sigkill,
        entry::{Entry, OomLine},
        memory::{MemoryCurve, MemorySplit, OomReport},
        recording::{Reader, Writer},
    },
    provenance::record::Reading,
};

use super::{answered, asked, leak, member, memory, oom, resident};
use crate::support::make::{
    BY_SIGKILL, CGROUP_OOM, GLOBAL_OOM, KILLED_NS, MS, S, exit, kernels, kill, process, sigkill,
    stack, tick,
};

/// Nobody watches, and the log says nothing: as in the recordings of older versions.
#[test]
fn without_an_answer_there_is_none() {
    let kill = oom(4000);
    let events = || [sigkill(&kill), exit(&kill.victim, BY_SIGKILL)];
    assert_eq!(
        answered(events(), None).the_death().oom.unwrap().memory,
        None
    );
    // Somebody watches, and has not seen it.
    let absent = MemoryCurve {
        samples: Vec::new(),
        absent: Some("its limit is new".to_owned()),
        ..leak()
    };
    let death = answered(events(), Some(&absent)).the_death();
    assert_eq!(memory(&death).reading, Some(Reading::TooShort));
    assert!(memory(&death).why.contains("its limit is new"));
    assert_eq!(memory(&death).samples.len(), 1, "the kill");
}

#[test]
fn only_an_oom_kill_below_a_limit_asks() {
    let by_hand = kill(&process(77, "sh"), &member(4000, "victim"));
    let global = kernels(GLOBAL_OOM, &member(2000, "t"), &member(4000, "victim"));
    for kill in [by_hand, global] {
        let ran = answered([sigkill(&kill), exit(&kill.victim, BY_SIGKILL)], None);
        assert_eq!(asked(&ran), []);
        assert!(ran.the_death().oom.is_none_or(|oom| oom.memory.is_none()));
    }
}

/// Without symbols it is the kernel's mark that says whose SIGKILL it was.
#[test]
fn a_mark_asks_where_no_call_path_does() {
    let kill = Sigkill {
        stack: None,
        ..oom(4000)
    };
    let mark = Event::MarkVictim(MarkVictim {
        boottime_ns: KILLED_NS + 1,
        victim_tid: 4000,
        sender_tid: 2000,
    });
    let end = exit(&kill.victim, BY_SIGKILL);
    let ran = answered([sigkill(&kill), mark, end], Some(&leak()));
    assert_eq!(asked(&ran).len(), 1);
    assert_eq!(memory(&ran.the_death()).reading, Some(Reading::Ramp));
}

/// A group goes at once, and a limit that is hit again and again is looked up once a second.
#[test]
fn kills_that_follow_one_another_share_a_curve() {
    let first = oom(4000);
    let mut member_path = CGROUP_OOM.to_vec();
    member_path.insert(2, "oom_kill_memcg_member");
    let mut events = vec![sigkill(&first), exit(&first.victim, BY_SIGKILL)];
    for tgid in 4001..4040 {
        let mut kill = oom(tgid);
        kill.stack = Some(stack(&member_path));
        kill.boottime_ns += u64::from(tgid - 4000) * MS;
        events.extend([sigkill(&kill), exit(&kill.victim, BY_SIGKILL)]);
    }
    let ran = answered(events, Some(&leak()));
    assert_eq!(asked(&ran).len(), 1);
    assert_eq!(ran.deaths().len(), 40);
    for death in ran.deaths() {
        assert_eq!(memory(death).reading, Some(Reading::Ramp));
    }

    let mut later = oom(5000);
    later.boottime_ns += 3 * S;
    let events = [
        sigkill(&first),
        exit(&first.victim, BY_SIGKILL),
        tick(KILLED_NS + 2 * S),
        sigkill(&later),
    ];
    assert_eq!(asked(&answered(events, Some(&leak()))).len(), 2);
}

/// An answer that nobody asked for, or for another cgroup, changes nothing.
#[test]
fn an_answer_belongs_to_its_question() {
    let kill = oom(4000);
    let other = MemoryCurve {
        cgroup: "/other".to_owned(),
        ..leak()
    };
    let ran = answered(
        [sigkill(&kill), exit(&kill.victim, BY_SIGKILL)],
        Some(&other),
    );
    assert_eq!(ran.the_death().oom.unwrap().memory, None);
}

#[test]
fn what_was_looked_up_survives_a_recording() {
    let line = OomLine {
        constraint: "CONSTRAINT_MEMCG".to_owned(),
        oom_memcg: None,
        task_memcg: None,
        tgid: 7,
        report: Some(Box::new(OomReport {
            split: Some(MemorySplit::default()),
            largest: vec![resident(1, 2)],
        })),
    };
    let entries = [
        Entry::MemoryCurve(Box::new(leak())),
        Entry::OomLine(line.clone()),
        Entry::OomLine(OomLine {
            report: None,
            ..line
        }),
    ];
    let mut writer = Writer::new(Vec::new()).unwrap();
    for entry in &entries {
        writer.write(entry).unwrap();
    }
    let bytes = writer.finish().unwrap();
    let read: Result<Vec<Entry>, _> = Reader::new(&*bytes).unwrap().collect();
    assert_eq!(read.unwrap(), entries);
}
