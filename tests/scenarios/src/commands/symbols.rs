//! Where /proc/kallsyms hides its addresses (kernel.kptr_restrict is 2, which root meets
//! too), the kernel is asked in another way, and where it has none (before 5.13) the
//! mechanism is concluded.

use std::fs;

use anyhow::{Result, bail};
use serde_json::Value;

use super::{Case, Skipped};
use crate::{
    cli::Options,
    death, fixture,
    tracer::{Start, Tracer},
};

pub(crate) const CASES: &[Case] = &[Case {
    name: "hidden-symbols",
    run: hidden,
}];

const RESTRICT: &str = "/proc/sys/kernel/kptr_restrict";

/// Hides the kernel's addresses for as long as it lives.
struct Hidden(String);

impl Hidden {
    fn hide() -> Result<Self> {
        let before = fs::read_to_string(RESTRICT)?;
        fs::write(RESTRICT, "2")?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = fs::write(RESTRICT, &self.0);
    }
}

/// Fixtures whose mechanism only the call path tells, and that of an inference.
const FIXTURES: &[(&str, &str, &str)] = &[
    ("pidfd-kill", "pidfd_send_signal", "kill"),
    ("app-kill", "kill", "kill"),
    ("parent-death", "pdeathsig", "pdeathsig"),
    ("pid-namespace", "pid_namespace", "pid_namespace"),
];

fn hidden(options: &Options) -> Result<Vec<String>> {
    if options.guest.is_none() {
        return Err(Skipped("it would hide the symbols of the whole machine".into()).into());
    }
    let _hidden = Hidden::hide()?;
    let (tracer, started) = match Tracer::start_with(&options.tracer, &[])? {
        Start::Running(tracer, started) => (tracer, started),
        Start::Lacking(reason) => bail!("the tracer cannot run here: {reason}"),
    };
    let named = started["hooks"]["symbols"] == true;
    let mut reports = Vec::new();
    for (name, proven, inferred) in FIXTURES {
        reports.push((
            if named { proven } else { inferred },
            fixture::run(options, name, &[])?,
        ));
    }
    tracer.signal(libc::SIGTERM);
    let finished = tracer.wait(options.program_limit())?;
    let mut problems = finished.problems();
    for (mechanism, report) in reports {
        for victim in report.victims() {
            let deaths = death::of(&finished.records, victim.pid);
            let last = deaths.last().copied().unwrap_or(&Value::Null);
            if last["mechanism"] != *mechanism {
                problems.push(format!("not by {mechanism}: {last}"));
            }
        }
    }
    Ok(problems)
}
