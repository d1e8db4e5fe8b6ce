//! What the fields of a kernel record mean, for records made by hand.

use bytemuck::{Pod, Zeroable as _, bytes_of};
use bytes::Bytes;
use oomtrace::event::{
    Argv, Event, Process,
    decode::{DecodeError, Decoder},
    entry::Entry,
};
use oomtrace_common::wire::{
    ALIGN, ArgvHeader, ExitBody, MemcgLevel, QueuedKill, RecordHeader, SectionHeader, TaskFacts,
    VERSION, exit_seen, kind, memcg_flags, present, tag, who,
};

fn section(tag: u16, who: u16, payload: &[u8]) -> Vec<u8> {
    let header = SectionHeader {
        tag,
        who,
        len: payload.len() as u32,
    };
    let mut section = [bytes_of(&header), payload].concat();
    section.resize(section.len().next_multiple_of(ALIGN), 0xee);
    section
}

fn record(kind: u16, body: &impl Pod, sections: &[Vec<u8>]) -> Bytes {
    let mut record = [
        bytes_of(&RecordHeader::zeroed()),
        bytes_of(body),
        &sections.concat(),
    ]
    .concat();
    let header = RecordHeader {
        kind,
        version: VERSION,
        len: record.len() as u32,
        boottime_ns: 77,
        cpu: 0,
        pad: 0,
    };
    record[..size_of::<RecordHeader>()].copy_from_slice(bytes_of(&header));
    record.into()
}

/// The end of a process with these facts, and more sections.
fn exit(facts: &TaskFacts, more: &[Vec<u8>]) -> Result<Option<Event>, DecodeError> {
    let facts = section(tag::TASK, who::VICTIM, bytes_of(facts));
    let sections = [more, &[facts]].concat();
    let record = record(kind::EXIT, &ExitBody::zeroed(), &sections);
    Decoder::default().decode(&Entry::Kernel(record))
}

fn victim(facts: &TaskFacts, more: &[Vec<u8>]) -> Process {
    match exit(facts, more) {
        Ok(Some(Event::Exit(exit))) => {
            assert_eq!(exit.boottime_ns, 77);
            exit.victim
        }
        other => panic!("no end: {other:?}"),
    }
}

#[test]
fn an_end_tells_whether_it_was_seen_late() {
    for (seen, is_past) in [
        (exit_seen::NONE_LIVE, false),
        (exit_seen::DEAD, false),
        (exit_seen::TOLD, false),
        (exit_seen::FREED, true),
    ] {
        let body = ExitBody { tid: 5, seen };
        let facts = section(tag::TASK, who::VICTIM, bytes_of(&TaskFacts::zeroed()));
        let record = record(kind::EXIT, &body, &[facts]);
        match Decoder::default().decode(&Entry::Kernel(record)) {
            Ok(Some(Event::Exit(exit))) => assert_eq!(exit.is_past, is_past, "{seen}"),
            other => panic!("no end: {other:?}"),
        }
    }
}

#[test]
fn nothing_is_known_where_no_bit_is_set() {
    let facts = TaskFacts {
        present: 0,
        tgid: 5,
        tid: 6,
        ppid: 7,
        uid: 8,
        exit_code: 9,
        group_exit_code: 9,
        leader_exit_code: 9,
        live: 1,
        comm: *b"stale-stale-stal",
        ..TaskFacts::zeroed()
    };
    let victim = victim(&facts, &[]);
    let mut blank = Process::default();
    blank.group.tgid = 5;
    blank.tid = 6;
    assert_eq!(victim, blank);
}

#[test]
fn the_groups_status_counts_where_the_group_was_ended() {
    let mut facts = TaskFacts {
        present: present::SIGNAL_FLAGS | present::GROUP_EXIT_CODE | present::LEADER_EXIT_CODE,
        signal_flags: 4,
        group_exit_code: 9,
        leader_exit_code: 0x300,
        ..TaskFacts::zeroed()
    };
    assert_eq!(victim(&facts, &[]).exit_code, Some(9));
    // 5.10 ends a seccomp or ptrace death without the flag.
    facts.signal_flags = 0;
    assert_eq!(victim(&facts, &[]).exit_code, Some(0x300));
}

#[test]
fn what_was_said_of_a_queued_sigkill_is_kept() {
    let queued = |more: &[Vec<u8>]| match exit(&TaskFacts::zeroed(), more) {
        Ok(Some(Event::Exit(exit))) => exit.queued_kill,
        other => panic!("no end: {other:?}"),
    };
    let kill = QueuedKill { code: -2, pad: 0 };
    let bytes = bytes_of(&kill);
    assert_eq!(
        queued(&[section(tag::QUEUED_KILL, who::VICTIM, bytes)]),
        Some(-2)
    );
    // Not whole, or nobody's.
    assert_eq!(
        queued(&[section(tag::QUEUED_KILL, who::VICTIM, &bytes[..4])]),
        None
    );
    assert_eq!(queued(&[]), None);
}

#[test]
fn what_means_none_is_none() {
    let facts = TaskFacts {
        present: present::LOGIN_UID | present::TTY | present::PGID | present::RSS | present::COMM,
        login_uid: u32::MAX,
        rss_anon_pages: -3,
        comm: *b"sh\0ale-stale-sta",
        ..TaskFacts::zeroed()
    };
    let victim = victim(&facts, &[]);
    assert_eq!(victim.login_uid, None);
    assert_eq!(victim.tty, None);
    assert_eq!(victim.pgid, None);
    assert_eq!(victim.comm.as_deref(), Some("sh"));
    // Summed up late over the processors, a counter can be a little below zero.
    assert_eq!(victim.rss.unwrap().anon_pages, 0);
}

#[test]
fn sections_come_in_any_order_and_unknown_ones_are_skipped() {
    let more = [
        section(999, who::VICTIM, b"from the future"),
        section(tag::MEMORY_CGROUP, who::VICTIM, b"leaf\0slice\0"),
        section(tag::EXE, who::SENDER, b"not the victim's\0"),
    ];
    let victim = victim(&TaskFacts::zeroed(), &more);
    assert_eq!(victim.memory_cgroup.as_deref(), Some("/slice/leaf"));
    assert_eq!(victim.exe, None);
}

/// The victim's arguments, from an area of so many bytes of which these could be read.
fn argv(area_bytes: u64, read: &[u8]) -> Option<Argv> {
    let payload = [bytes_of(&ArgvHeader { area_bytes }), read].concat();
    victim(
        &TaskFacts::zeroed(),
        &[section(tag::ARGV, who::VICTIM, &payload)],
    )
    .argv
}

#[test]
fn arguments_that_were_not_read_whole_say_so() {
    let is = |argv: Option<Argv>, args: &[&str], truncated: bool| {
        let args = args.iter().map(ToString::to_string).collect();
        assert_eq!(argv, Some(Argv { args, truncated }));
    };
    is(argv(5, b"sh\0x\0"), &["sh", "x"], false);
    is(argv(9, b"sh\0x\0"), &["sh", "x"], true);
    // Started with none, as before 5.18.
    is(argv(0, b""), &[], false);
    // A title that has left no NUL goes on behind the area.
    is(argv(5, b"title"), &["title"], true);
    assert_eq!(argv(5, b""), None);
}

#[test]
fn a_cgroup_too_deep_for_its_path_is_named_from_the_leaf() {
    let names: Vec<String> = (5..=20).rev().map(|n: u32| n.to_string()).collect();
    let names = names.join("\0") + "\0\0";
    let level = |depth: u32| MemcgLevel {
        depth,
        flags: memcg_flags::DEPTH,
        ..MemcgLevel::NONE
    };
    let levels = [level(20), level(18), level(4)];
    let more = [
        section(tag::MEMORY_CGROUP, who::VICTIM, names.as_bytes()),
        section(tag::MEMCG, who::VICTIM, bytes_of(&levels)),
    ];
    let victim = victim(&TaskFacts::zeroed(), &more);
    let path = |last: u32| -> String {
        (5..=last).fold("…".to_owned(), |path, n| format!("{path}/{n}"))
    };
    assert_eq!(victim.memory_cgroup, Some(path(20)));
    let paths: Vec<_> = victim.memcg.into_iter().map(|level| level.path).collect();
    assert_eq!(paths, [Some(path(20)), Some(path(18)), None]);
}

#[test]
fn a_record_without_its_task_is_refused() {
    let record = record(kind::EXIT, &ExitBody::zeroed(), &[]);
    let decoded = Decoder::default().decode(&Entry::Kernel(record));
    assert_eq!(decoded, Err(DecodeError::Missing("victim")));
}
