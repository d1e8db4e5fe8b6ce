//! `oomtrace doctor`: what this kernel and these privileges allow.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Case, lacks, run_as_nobody};
use crate::{
    cli::Options,
    run::{Ended, Program},
    tracer::EXIT_LACKING,
};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "doctor",
        run: pretty,
    },
    Case {
        name: "doctor-json",
        run: json,
    },
    Case {
        name: "doctor-unprivileged",
        run: unprivileged,
    },
];

const TIERS: &[&str] = &["fentry", "kprobe", "tracepoint"];

fn pretty(options: &Options) -> Result<Vec<String>> {
    let ended = doctor(options, &[])?;
    Ok(problems(&ended))
}

fn json(options: &Options) -> Result<Vec<String>> {
    let ended = doctor(options, &["--output", "json"])?;
    let mut problems = problems(&ended);
    match serde_json::from_str::<Value>(&ended.stdout.join("\n")) {
        Ok(value) if value.is_object() => {}
        Ok(_) => problems.push(format!("not a JSON object: {ended}")),
        Err(error) => problems.push(format!("not JSON: {error}: {ended}")),
    }
    Ok(problems)
}

/// Which flags give what is lacking.
fn unprivileged(options: &Options) -> Result<Vec<String>> {
    let ended = run_as_nobody(options, &["doctor"]).context("doctor")?;
    let mut problems = lacks(
        "it",
        &ended.stdout,
        &[
            "lacks CAP_BPF",
            "--cap-add BPF --cap-add PERFMON",
            "capabilities: {add: [BPF, PERFMON]}",
            "CapabilityBoundingSet=",
        ],
    );
    if ended.status.code() != Some(EXIT_LACKING) {
        problems.push(format!("no exit status {EXIT_LACKING}: {ended}"));
    }
    Ok(problems)
}

fn doctor(options: &Options, args: &[&str]) -> Result<Ended> {
    let mut command = Command::new(&options.tracer);
    command.arg("doctor").args(args);
    Program::run(&mut command, options.program_limit()).context("doctor")
}

fn problems(ended: &Ended) -> Vec<String> {
    let mut problems = Vec::new();
    if ended.status.code() != Some(0) {
        problems.push(format!("ended with other than exit status 0: {ended}"));
    }
    let text = ended.stdout.join("\n");
    if !TIERS.iter().any(|tier| text.contains(tier)) {
        problems.push(format!("it names no hook tier: {ended}"));
    }
    problems
}
