//! What the fields of a kernel record mean, for records made by hand.

use bytemuck::{Pod, Zeroable as _, bytes_of};
use bytes::Bytes;
use oomtrace::event::{
    Event, Process,
    decode::{DecodeError, Decoder},
    entry::Entry,
};
use oomtrace_common::wire::{
    ALIGN, ExitBody, RecordHeader, SectionHeader, TaskFacts, VERSION, kind, present, tag, who,
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

#[test]
fn a_record_without_its_task_is_refused() {
    let record = record(kind::EXIT, &ExitBody::zeroed(), &[]);
    let decoded = Decoder::default().decode(&Entry::Kernel(record));
    assert_eq!(decoded, Err(DecodeError::Missing("victim")));
}
