//! The kernel that runs the tests.

use super::Outcome;
use crate::probe::btf::{ArgKind, Btf, BtfError, KERNEL_BTF, Wanted};

/// Only what holds on every kernel from 5.8 on, of every configuration.
#[test]
#[expect(
    clippy::print_stderr,
    reason = "a test that does not run has to say so"
)]
fn the_running_kernel_answers() -> Outcome {
    const STATE: &str = "task_struct.__state | task_struct.state";
    const LIVE: &str = "signal_struct.live.counter";
    const TGID_PID: &str = "signal_struct.pids[PIDTYPE_TGID]";
    let fields = [
        STATE,
        LIVE,
        TGID_PID,
        "task_struct.pid",
        "task_struct.tgid",
        "task_struct.comm",
    ];
    let mut wanted = Wanted::new();
    for path in fields {
        wanted.path(path)?;
    }
    wanted
        .path("task_struct.no_such_field")?
        .type_name("upid")
        .type_name("task_struct");
    wanted
        .enumerator("PIDTYPE_TGID")
        .func("do_exit")
        .func("no_such_function");
    wanted
        .tracepoint("signal_generate")
        .tracepoint("sched_process_exec");

    let btf = match Btf::from_kernel() {
        Err(BtfError::NoKernelBtf) => {
            eprintln!("NOT RUN: this kernel has no {KERNEL_BTF}");
            return Ok(());
        }
        other => other?,
    };
    let index = btf.index(&wanted)?;
    assert!(index.type_count() > 10_000);
    let task_size = index.size_of("task_struct")?;
    for path in fields {
        let field = index.field(path)?;
        assert!(field.is_some_and(|field| field.size > 0), "{path}");
        if path.starts_with("task_struct.") {
            assert!(
                field.map(|field| field.offset + field.size) <= task_size,
                "{path}"
            );
        }
    }
    assert_eq!(index.field("task_struct.no_such_field")?, None);
    let [pid, tgid, comm] =
        ["task_struct.pid", "task_struct.tgid", "task_struct.comm"].map(|path| index.field(path));
    let (pid, tgid) = (pid?, tgid?);
    assert_eq!(pid.map(|field| field.size), Some(4));
    assert_eq!(
        pid.map(|field| field.offset + field.size),
        tgid.map(|field| field.offset)
    );
    assert_eq!(comm?.map(|field| field.size), Some(16));
    assert_eq!(index.field(TGID_PID)?.map(|field| field.size), Some(8));
    assert_eq!(index.size_of("upid")?, Some(16));
    assert_eq!(index.enumerator("PIDTYPE_TGID")?, Some(1));
    assert_eq!(index.func("do_exit")?.map(|func| func.params), Some(1));
    assert_eq!(index.func("no_such_function")?, None);

    let int = ArgKind::Int {
        size: 4,
        signed: true,
    };
    let task = ArgKind::PointerTo("task_struct");
    let generate = index.tracepoint_args("signal_generate")?;
    assert_eq!(
        generate,
        Some(vec![
            int,
            ArgKind::PointerTo("kernel_siginfo"),
            task,
            int,
            int
        ])
    );
    let exec = index.tracepoint_args("sched_process_exec")?;
    assert_eq!(
        exec,
        Some(vec![task, int, ArgKind::PointerTo("linux_binprm")])
    );
    Ok(())
}
