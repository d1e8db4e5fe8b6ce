//! `cargo xtask bench`: what oomtrace costs beside bpftrace and sigsnoop, in one run.
//!
//! The machine is never quiet, so each round measures every tool, and what counts is medians
//! over the rounds and the ratios between tools. A measurement, not a test.
//!
//! The kernel's own times of programs have a floor, which is what reading its clock takes;
//! what a tool adds to kill(2) has none, and counts the way into the program.
//!
//! | module | owns |
//! |---|---|
//! | `tools` | what is compared: starting, stopping, counting what it told |
//! | `load` | the signals |
//! | `procfs` | what the kernel says of programs and memory |
//! | `results` | medians, the table, the JSON |

mod load;
mod procfs;
mod results;
mod tools;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use self::{
    load::{Load, Signal},
    procfs::Statistics,
    results::{
        ATTACH, CYCLE, KILL_CALL, KILL_PROGRAM, MEMORY, MEMORY_OWN, Metric, Results, SEEN,
        URG_CALL, URG_PROGRAM, USR1_CALL, USR1_PROGRAM,
    },
    tools::{Running, Tool},
};
use crate::{
    cli::{Arch, BenchArgs, BuildArgs},
    command, compile,
    project::Project,
    setup,
};

const PACKAGES: [&str; 2] = ["oomtrace", "oomtrace-fixtures"];
/// After a tool has gone, what it held is freed in the background.
const PAUSE: Duration = Duration::from_millis(200);

/// All that a round needs.
struct Bench<'a> {
    args: &'a BenchArgs,
    oomtrace: PathBuf,
    load: Load,
    logs: PathBuf,
    statistics: Statistics,
    results: Results,
}

pub(crate) fn run(project: &Project, args: &BenchArgs) -> Result<ExitCode> {
    if !command::is_root() {
        bail!("tracing needs root: run this as root");
    }
    let tools = setup::run(project)?;
    let build = BuildArgs {
        release: true,
        target: Arch::X86_64,
    };
    compile::packages(project, &tools, &build, false, &PACKAGES)?;
    let binaries = compile::folder(project, &build);
    let logs = project.logs("bench");
    fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let mut bench = Bench {
        args,
        oomtrace: binaries.join("oomtrace"),
        load: Load(binaries.join("oomtrace-load")),
        logs,
        statistics: Statistics::take_over()?,
        results: Results::default(),
    };
    let here = bench.here();
    for round in 0..args.rounds {
        eprintln!("round {} of {}", round + 1, args.rounds);
        // Another one is first each time.
        for at in 0..here.len() {
            if let Some(tool) = here.get((at + round as usize) % here.len()) {
                bench.measure(*tool)?;
                thread::sleep(PAUSE);
            }
        }
        bench.results.end_round();
    }
    bench.report()
}

impl Bench<'_> {
    fn here(&self) -> Vec<Tool> {
        let (here, missing): (Vec<Tool>, Vec<Tool>) = Tool::ALL
            .iter()
            .partition(|tool| tool.is_here(&self.oomtrace));
        for tool in missing {
            println!(
                "{} is not here: `apt-get install {}` to compare with it",
                tool.name(),
                tool.package()
            );
        }
        here
    }

    fn measure(&mut self, tool: Tool) -> Result<()> {
        let running = self.start(tool)?;
        let mut senders = Vec::new();
        let mut sent = 0;
        let loads = [
            (Signal::Urg, self.args.signals, URG_CALL, URG_PROGRAM),
            (Signal::Usr1, self.args.signals, USR1_CALL, USR1_PROGRAM),
            (Signal::Kill, self.args.kills, KILL_CALL, KILL_PROGRAM),
        ];
        for (signal, count, call, program) in loads {
            // First what the calls take, then with the kernel measuring, which takes time.
            self.statistics.switch(false)?;
            let took = self.load.run(signal, count)?;
            self.results.add(tool, call, took.kill_ns as f64);
            if signal == Signal::Kill {
                self.results.add(tool, CYCLE, took.cycle_ns as f64 / 1e3);
                senders.push(took.pid);
                sent += took.sent;
            }
            if let Some(running) = &running {
                let took = self.programs(running.pid(), signal, count, tool, program)?;
                if signal == Signal::Kill {
                    senders.push(took.pid);
                    sent += took.sent;
                }
            }
        }
        if let Some(running) = running {
            let (resident, shared) = procfs::memory_kib(running.pid())?;
            self.results.add(tool, MEMORY, resident as f64 / 1024.0);
            let own = resident.saturating_sub(shared);
            self.results.add(tool, MEMORY_OWN, own as f64 / 1024.0);
            let seen = running.stop(&senders)?;
            self.results
                .add(tool, SEEN, seen as f64 * 100.0 / sent.max(1) as f64);
        }
        Ok(())
    }

    fn start(&mut self, tool: Tool) -> Result<Option<Running>> {
        if tool == Tool::Nothing {
            return Ok(None);
        }
        self.statistics.switch(true)?;
        let drip = self.load.drip()?;
        let running = Running::start(tool, &self.oomtrace, &self.logs)?;
        drop(drip);
        self.results
            .add(tool, ATTACH, running.attached.as_secs_f64() * 1e3);
        Ok(Some(running))
    }

    /// What a tool's programs took for each signal that was sent.
    fn programs(
        &mut self,
        pid: u32,
        signal: Signal,
        count: u32,
        tool: Tool,
        metric: Metric,
    ) -> Result<load::Took> {
        self.statistics.switch(true)?;
        let before = procfs::runs(pid)?;
        let took = self.load.run(signal, count)?;
        let runs = procfs::runs(pid)?.since(before);
        // Of others' signals there are few beside these.
        let per = match signal {
            Signal::Kill => took.sent,
            Signal::Urg | Signal::Usr1 => runs.count,
        };
        if runs.count < took.sent {
            bail!(
                "{}'s programs ran {} times for {} signals",
                tool.name(),
                runs.count,
                took.sent
            );
        }
        self.results
            .add(tool, metric, runs.time_ns as f64 / per.max(1) as f64);
        Ok(took)
    }

    fn report(&self) -> Result<ExitCode> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut about = vec![
            ("kernel", kernel.trim().to_owned()),
            ("rounds", self.args.rounds.to_string()),
            ("signals", self.args.signals.to_string()),
            ("kills", self.args.kills.to_string()),
        ];
        for tool in Tool::ALL {
            if let Some(version) = tool.version(&self.oomtrace) {
                about.push((tool.name(), version));
            }
        }
        println!();
        for (name, value) in &about {
            println!("{name}: {value}");
        }
        println!("\n{}", self.results.table());
        let path = self.logs.join("results.json");
        write(&path, &self.results.json(&about))?;
        println!("{}", path.display());
        Ok(ExitCode::SUCCESS)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
