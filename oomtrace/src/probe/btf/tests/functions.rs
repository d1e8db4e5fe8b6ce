//! Enumerators, sizes, functions and tracepoints.

use super::{Blob, Kind, Outcome};
use crate::probe::btf::{ArgKind, Btf, FuncInfo, Wanted};

#[test]
fn enumerators_of_all_kinds_of_enums() -> Outcome {
    let mut blob = Blob::new();
    blob.enumeration(
        "named",
        false,
        &[("A", 0), ("memory_cgrp_id", 4), ("TOP", -1)],
    );
    blob.enumeration("", true, &[("MINUS", -2)]);
    blob.enumeration64("wide", &[("WIDE", 1 << 40), ("LOW", i64::MIN)]);
    blob.enumeration("again", false, &[("A", 0), ("TWICE", 1)]);
    blob.enumeration("differs", false, &[("TWICE", 2)]);
    let mut wanted = Wanted::new();
    for name in [
        "A",
        "memory_cgrp_id",
        "TOP",
        "MINUS",
        "WIDE",
        "LOW",
        "TWICE",
        "NONE",
    ] {
        wanted.enumerator(name);
    }
    let btf = Btf::parse(blob.bytes())?;
    let index = btf.index(&wanted)?;
    assert_eq!(index.enumerator("A")?, Some(0));
    assert_eq!(index.enumerator("memory_cgrp_id")?, Some(4));
    assert_eq!(index.enumerator("TOP")?, Some(0xffff_ffff));
    assert_eq!(index.enumerator("MINUS")?, Some(-2));
    assert_eq!(index.enumerator("WIDE")?, Some(1 << 40));
    assert_eq!(index.enumerator("LOW")?, Some(i64::MIN));
    // Which of the two values is meant, nobody can tell.
    assert_eq!(index.enumerator("TWICE")?, None);
    assert_eq!(index.enumerator("NONE")?, None);
    Ok(())
}

#[test]
fn sizes() -> Outcome {
    let mut blob = Blob::new();
    let int = blob.int("int", 4, 1);
    blob.link(Kind::Fwd, "upid", 0);
    blob.structure("upid", 16, &[("nr", int, 0)]);
    let anonymous = blob.structure("", 24, &[]);
    blob.link(Kind::Typedef, "named_t", anonymous);
    blob.link(Kind::Fwd, "unknown", 0);
    blob.enumeration("colour", false, &[]);
    blob.structure("two", 4, &[]);
    blob.structure("two", 8, &[]);
    let mut wanted = Wanted::new();
    for name in ["upid", "named_t", "unknown", "colour", "two"] {
        wanted.type_name(name);
    }
    let btf = Btf::parse(blob.bytes())?;
    let index = btf.index(&wanted)?;
    assert_eq!(index.size_of("upid")?, Some(16));
    assert_eq!(index.size_of("named_t")?, Some(24));
    assert_eq!(index.size_of("unknown")?, None);
    assert_eq!(index.size_of("colour")?, Some(4));
    assert_eq!(index.size_of("two")?, None);
    assert_eq!(index.type_count(), 9);
    Ok(())
}

#[test]
fn functions_and_their_parameters() -> Outcome {
    let mut blob = Blob::new();
    let long = blob.int("long", 8, 1);
    let prototype = blob.prototype(&[long, long, 0]);
    let func = blob.link(Kind::Func, "oom_kill_process", prototype);
    // A struct and a typedef of the name are something else.
    blob.structure("no_func", 8, &[]);
    let first = blob.link(Kind::Func, "twice", prototype);
    blob.link(Kind::Func, "twice", prototype);
    let mut wanted = Wanted::new();
    wanted
        .func("oom_kill_process")
        .func("no_func")
        .func("twice")
        .func("oom_kill");
    let btf = Btf::parse(blob.bytes())?;
    let index = btf.index(&wanted)?;
    assert_eq!(
        index.func("oom_kill_process")?,
        Some(FuncInfo {
            id: func,
            params: 3,
            unique: true
        })
    );
    let long = ArgKind::Int {
        size: 8,
        signed: true,
    };
    assert_eq!(
        index.func_args("oom_kill_process")?,
        Some(vec![long, long, ArgKind::Other])
    );
    assert_eq!(
        index.func("twice")?,
        Some(FuncInfo {
            id: first,
            params: 3,
            unique: false
        })
    );
    assert_eq!(index.func("no_func")?, None);
    assert_eq!(index.func("oom_kill")?, None);
    Ok(())
}

#[test]
fn tracepoint_arguments_tell_kernels_apart() -> Outcome {
    let mut blob = Blob::new();
    let int = blob.int("int", 4, 1);
    let bool = blob.int("_Bool", 1, 4);
    let task = blob.structure("task_struct", 8, &[("pid", int, 0)]);
    let constant = blob.link(Kind::Const, "", task);
    let task = blob.pointer(constant);
    let opaque = blob.link(Kind::Fwd, "opaque", 0);
    let opaque = blob.pointer(opaque);
    let void = blob.pointer(0);
    let pid_t = blob.link(Kind::Typedef, "pid_t", int);
    let anonymous = blob.structure("", 8, &[]);
    let to_anonymous = blob.pointer(anonymous);
    blob.tracepoint("sched_process_exit", &[task, bool]);
    blob.tracepoint("mark_victim", &[pid_t]);
    blob.tracepoint("pointers", &[opaque, void, to_anonymous, anonymous]);
    blob.tracepoint("nothing", &[]);
    let mut wanted = Wanted::new();
    let names = [
        "sched_process_exit",
        "mark_victim",
        "pointers",
        "nothing",
        "missing",
    ];
    for name in names {
        wanted.tracepoint(name);
    }
    let btf = Btf::parse(blob.bytes())?;
    let index = btf.index(&wanted)?;
    let [exit, victim, pointers, nothing, missing] = names.map(|name| index.tracepoint_args(name));
    assert_eq!(
        exit?,
        Some(vec![ArgKind::PointerTo("task_struct"), ArgKind::Bool])
    );
    assert_eq!(
        victim?,
        Some(vec![ArgKind::Int {
            size: 4,
            signed: true
        }])
    );
    let pointer = ArgKind::Pointer;
    let expected = vec![
        ArgKind::PointerTo("opaque"),
        pointer,
        pointer,
        ArgKind::Other,
    ];
    assert_eq!(pointers?, Some(expected));
    assert_eq!(nothing?, Some(vec![]));
    assert_eq!(missing?, None);
    Ok(())
}
