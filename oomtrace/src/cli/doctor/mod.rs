//! `oomtrace doctor`: what this kernel and these privileges allow, and how to get the rest.

mod flags;
mod node;

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use self::flags::Flags;
use super::{
    args::{DoctorArgs, Format},
    code, output,
};
use crate::{
    event::text::printable,
    identity::host,
    probe::{
        attach::{self, Options, Probe},
        error::ProbeError,
        support::{Availability, Capability, KernelSupport},
    },
};

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    /// Tracing works without it, with less to say.
    Less,
    /// Tracing does not work without it.
    Missing,
    /// It cannot be told from here.
    Unknown,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    state: State,
    found: String,
    #[serde(rename = "do")]
    todo: Option<&'static str>,
    /// What gives it, for a container or a service.
    flags: Option<Flags>,
}

#[derive(Debug, Serialize)]
struct Diagnosis {
    r#type: &'static str,
    schema: u32,
    version: String,
    node: String,
    kernel: String,
    can_trace: bool,
    /// What the OOM killer would be watched with.
    oom_hook: Option<&'static str>,
    findings: Vec<Finding>,
    /// Why tracing does not start, if it does not.
    error: Option<String>,
}

pub(super) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let support = attach::support()?;
    // Attached for a moment: no list of features proves as much.
    let attached = Probe::attach(&Options {
        ring_bytes: 256 * 1024,
        hook: None,
        diagnostics: false,
        scope: attach::ScopeKind::Node,
        pins: None,
    });
    let diagnosis = diagnose(&support, attached.as_ref());
    drop(attached);
    match args.output {
        Format::Json => {
            let mut line = serde_json::to_vec(&diagnosis)?;
            line.push(b'\n');
            let _ = output::print(&line)?;
        }
        Format::Pretty => {
            let _ = output::print(pretty(&diagnosis).as_bytes())?;
        }
    }
    Ok(ExitCode::from(if diagnosis.can_trace {
        code::DONE
    } else {
        code::LACKING
    }))
}

fn diagnose(support: &KernelSupport, attached: Result<&Probe, &ProbeError>) -> Diagnosis {
    let session = host::session();
    let mut findings = vec![
        privileges(support),
        required(
            "type information (BTF)",
            &support.btf,
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y; in a container, mount the host's /sys",
        ),
        required(
            "BPF ring buffers",
            &support.ring_buffer,
            "use Linux 5.8 or later; as a user without CAP_BPF this cannot be told",
        ),
    ];
    let probe = attached.ok();
    findings.extend(hooks(support, probe));
    findings.push(symbols(support, probe));
    findings.push(useful(
        "the kernel's log",
        &support.kernel_log,
        "make /dev/kmsg readable (root, or CAP_SYSLOG where kernel.dmesg_restrict is 1): it confirms whose limit an OOM kill was for",
    ));
    let shielded = support.privileges.has(Capability::SysResource);
    findings.push(Finding {
        what: "shield against the OOM killer",
        state: if shielded { State::Ok } else { State::Less },
        found: if shielded {
            "oomtrace can take itself out of the OOM killer's choice".to_owned()
        } else {
            "CAP_SYS_RESOURCE is not there: the OOM killer may choose oomtrace itself".to_owned()
        },
        todo: (!shielded).then_some("give CAP_SYS_RESOURCE"),
        flags: (!shielded).then(|| flags::capabilities(&[Capability::SysResource])),
    });
    findings.extend(node::findings(support.privileges));
    Diagnosis {
        r#type: "doctor",
        schema: 1,
        version: session.version,
        node: session.node,
        kernel: session.kernel,
        can_trace: attached.is_ok(),
        oom_hook: attached.ok().map(|probe| probe.oom_hook().name()),
        findings,
        error: attached.err().map(ToString::to_string),
    }
}

fn privileges(support: &KernelSupport) -> Finding {
    let lacking = support.privileges.lacking();
    let names: Vec<&str> = lacking.iter().map(|capability| capability.name()).collect();
    Finding {
        what: "privileges",
        state: if lacking.is_empty() {
            State::Ok
        } else {
            State::Missing
        },
        found: if lacking.is_empty() {
            format!("user id {}, capabilities suffice", support.privileges.uid)
        } else {
            format!(
                "user id {}, lacks {}",
                support.privileges.uid,
                names.join(" and ")
            )
        },
        todo: (!lacking.is_empty()).then_some(match support.privileges.uid {
            0 => "to be root is not enough here: give it what it lacks, or make the container a privileged one; where a seccomp profile refuses bpf(2) or perf_event_open(2), without that",
            _ => "run it as root (sudo oomtrace …), or in a privileged container; where a seccomp profile refuses bpf(2) or perf_event_open(2), without that",
        }),
        flags: (!lacking.is_empty()).then(|| flags::capabilities(&lacking)),
    }
}

fn required(what: &'static str, availability: &Availability, todo: &'static str) -> Finding {
    finding(what, availability, todo, State::Missing)
}

fn useful(what: &'static str, availability: &Availability, todo: &'static str) -> Finding {
    finding(what, availability, todo, State::Less)
}

/// /proc/kallsyms, or in its place a program that asks the kernel.
fn symbols(support: &KernelSupport, probe: Option<&Probe>) -> Finding {
    let finding = useful(
        "names of kernel functions",
        &support.symbols,
        "set kernel.kptr_restrict to 0 or 1 and give CAP_SYSLOG: the call path then proves how a signal was sent",
    );
    if finding.todo.is_some() && probe.is_some_and(Probe::has_symbols) {
        return Finding {
            state: State::Ok,
            found: "/proc/kallsyms is closed; a BPF program asks the kernel instead".to_owned(),
            todo: None,
            ..finding
        };
    }
    finding
}

fn finding(
    what: &'static str,
    availability: &Availability,
    todo: &'static str,
    otherwise: State,
) -> Finding {
    match availability {
        Availability::Yes => Finding {
            what,
            state: State::Ok,
            found: "there".to_owned(),
            todo: None,
            flags: None,
        },
        Availability::No(why) | Availability::Unknown(why) => Finding {
            what,
            state: if availability.is_no() {
                otherwise
            } else {
                State::Unknown
            },
            // What to do stands beside it.
            found: why.lines().next().unwrap_or_default().to_owned(),
            todo: Some(todo),
            flags: None,
        },
    }
}

/// A hook that seems to be there, and was not attached: kernels that know it may refuse it still.
fn untried(support: &KernelSupport, finding: Finding) -> Finding {
    if finding.state != State::Ok {
        return finding;
    }
    Finding {
        state: State::Unknown,
        found: "the kernel knows it; whether it can be attached is found out by doing so"
            .to_owned(),
        todo: Some(if support.privileges.lacking().is_empty() {
            "mend first what keeps tracing from starting"
        } else {
            "run doctor with the privileges that tracing takes: they tell"
        }),
        ..finding
    }
}

/// The hooks on the OOM killer, as attaching them went.
fn hooks(support: &KernelSupport, probe: Option<&Probe>) -> Vec<Finding> {
    let Some(probe) = probe else {
        return vec![
            untried(
                support,
                useful(
                    "fentry",
                    &support.fentry,
                    "use a kernel with BTF and function tracing",
                ),
            ),
            untried(
                support,
                useful(
                    "kprobes",
                    &support.kprobe,
                    "use a kernel built with CONFIG_KPROBES=y",
                ),
            ),
        ];
    };
    let mut findings: Vec<Finding> = ["fentry", "kprobe"]
        .into_iter()
        .filter_map(|name| {
            let absent = probe.absent().iter().find(|absent| absent.what.starts_with(name))?;
            Some(Finding {
                what: name,
                state: State::Less,
                found: absent.why.clone(),
                todo: Some("one of fentry and kprobe, on a kernel that allows it, names the cgroup of an OOM's limit exactly; without, it follows from counters and the kernel's log"),
                flags: None,
            })
        })
        .collect();
    findings.push(Finding {
        what: "hook on the OOM killer",
        state: State::Ok,
        found: match probe.oom_hook().name() {
            "tracepoint" => {
                "tracepoint (call path, page counters and the kernel's log have to do)".to_owned()
            }
            name => name.to_owned(),
        },
        todo: None,
        flags: None,
    });
    findings
}

fn pretty(diagnosis: &Diagnosis) -> String {
    let mut text = format!(
        "oomtrace {} on {} (Linux {})\n",
        diagnosis.version,
        printable(&diagnosis.node),
        printable(&diagnosis.kernel)
    );
    for finding in &diagnosis.findings {
        let mark = match finding.state {
            State::Ok => "ok",
            State::Less => "less",
            State::Missing => "MISSING",
            State::Unknown => "unknown",
        };
        text.push_str(&format!(
            "{mark:>8}  {}: {}\n",
            finding.what,
            printable(&finding.found)
        ));
        if let Some(todo) = finding.todo {
            text.push_str(&format!("{:>8}  do: {todo}\n", ""));
        }
        for (whose, flag) in finding.flags.iter().flat_map(Flags::each) {
            text.push_str(&format!("{:>8}      {whose}: {flag}\n", ""));
        }
    }
    match (&diagnosis.error, diagnosis.oom_hook) {
        (Some(error), _) => text.push_str(&format!("Tracing does not start here: {error}\n")),
        (None, hook) => text.push_str(&format!(
            "Tracing works here; OOM kills are watched by {}.\n",
            hook.unwrap_or("tracepoint")
        )),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::support::Privileges;

    fn support(uid: u32, effective: u64) -> KernelSupport {
        KernelSupport {
            privileges: Privileges { uid, effective },
            btf: Availability::Yes,
            ring_buffer: Availability::Unknown("bpf: not permitted".to_owned()),
            fentry: Availability::Yes,
            kprobe: Availability::No("no kprobes".to_owned()),
            symbols: Availability::Yes,
            kernel_log: Availability::Yes,
        }
    }

    const PERFMON: u64 = 1 << Capability::Perfmon as u64;
    const BPF: u64 = 1 << Capability::Bpf as u64;

    #[test]
    fn what_was_not_tried_is_not_known() {
        let found = hooks(&support(1000, 0), None);
        assert_eq!(found[0].state, State::Unknown);
        assert!(found[0].todo.unwrap().contains("privileges"));
        assert_eq!(found[1].state, State::Less, "what is certainly not there");
        let able = hooks(&support(0, BPF | PERFMON), None);
        assert!(able[0].todo.unwrap().contains("tracing"));
        let unasked = required("rings", &support(1000, 0).ring_buffer, "ask");
        assert_eq!(unasked.state, State::Unknown);
    }

    #[test]
    fn root_is_not_told_to_become_root() {
        let root = privileges(&support(0, BPF));
        assert!(root.found.contains("lacks CAP_PERFMON"));
        assert!(!root.todo.unwrap().contains("sudo"));
        assert!(root.flags.unwrap().docker.contains("--cap-add PERFMON"));
        let user = privileges(&support(1000, 0));
        assert!(user.todo.unwrap().contains("sudo"));
        let able = privileges(&support(0, BPF | PERFMON));
        assert_eq!((able.state, able.todo), (State::Ok, None));
    }
}
