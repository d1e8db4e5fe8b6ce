//! The reader of the kernel's log: any record, and a line as the kernel writes it, of
//! which each field must come back.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use oomtrace::{event::text, probe::kmsg::parse};
use oomtrace_fuzz::{
    dice::{Dice, put_back},
    lines,
};

const SAMPLES: &[&str] = &[
    "6,339,5140900,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=/a/b,task=python3,pid=4242,uid=0",
    "6,1,2,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/,task=hog,pid=7,uid=0",
    " SUBSYSTEM=x",
    ",task=",
    ",task_memcg=/",
    ",pid=1,uid=0",
    "/kubepods.slice/pod-\u{e9}",
    "\\",
];
/// `TASK_COMM_LEN` of the kernel, less its NUL.
const COMM_BYTES: usize = 15;

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let new = lines::mutate(&data[..size], SAMPLES, &mut Dice::new(seed));
    put_back(&new, data, max_size)
});

fuzz_target!(|bytes: &[u8]| {
    if let Some(line) = parse(bytes) {
        assert!(!line.constraint.contains(','));
    }
    as_written(bytes);
});

/// The bytes as names: of the cgroup whose limit it was, of the victim's, of the victim.
fn as_written(bytes: &[u8]) {
    let mut names = bytes.splitn(3, |byte| *byte == b'\n');
    let mut name = |most: usize| {
        let name = names.next().unwrap_or_default();
        let end = name.iter().position(|byte| *byte == 0);
        &name[..end.unwrap_or(name.len()).min(most)]
    };
    let (limit, own, comm) = (name(255), name(255), name(COMM_BYTES));
    // A comma in a cgroup's name can look like the next field: nobody can tell.
    if limit.contains(&b',') || own.contains(&b',') {
        return;
    }
    let tgid = 1 + bytes.len() as u32;
    let mut record = b"6,339,5140900,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/".to_vec();
    record.extend(escaped(limit));
    record.extend(b",task_memcg=/");
    record.extend(escaped(own));
    record.extend(b",task=");
    record.extend(escaped(comm));
    record.extend(format!(",pid={tgid},uid=0\n SUBSYSTEM=x\n").into_bytes());
    let line = parse(&record).expect("a line of the kernel's");
    let path = |name: &[u8]| Some(text::utf8(&[b"/", name].concat()));
    assert_eq!(line.tgid, tgid);
    assert_eq!(line.oom_memcg, path(limit));
    assert_eq!(line.task_memcg, path(own));
}

/// As /dev/kmsg writes text: `append_char` and `msg_add_ext_text` of kernel/printk.
fn escaped(name: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for &byte in name {
        if (b' '..127).contains(&byte) && byte != b'\\' {
            text.push(byte);
        } else {
            text.extend(format!("\\x{byte:02x}").into_bytes());
        }
    }
    text
}
