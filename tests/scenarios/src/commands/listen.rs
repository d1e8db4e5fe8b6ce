//! `--listen`: metrics and health of a tracer at work, over HTTP.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{Case, Skipped, refusals::refused};
use crate::{
    cli::Options,
    fixture,
    run::Program,
    tracer::{Start, Tracer},
};

pub(crate) const CASES: &[Case] = &[Case {
    name: "listen",
    run: listen,
}];

const EXIT_FAILED: i32 = 1;
const AGAIN: Duration = Duration::from_millis(100);

fn listen(options: &Options) -> Result<Vec<String>> {
    let at = free_address()?;
    let listen = format!("--listen={at}");
    let (tracer, _) = match Tracer::start_with(&options.tracer, &[&listen])? {
        Start::Running(tracer, started) => (tracer, started),
        Start::Lacking(reason) => bail!("the tracer cannot run here: {reason}"),
    };
    let mut problems = Vec::new();
    // It says that it has started before the last of its threads has got so far.
    let limit = options.record_limit();
    if !within(limit, || get(at, "/healthz") == Some("ok\n".to_owned())) {
        problems.push(format!("health: {:?}", get(at, "/healthz")));
    }
    let deaths = "oomtrace_deaths_total{cause=\"app_kill\",namespace=\"\",container=\"\"} ";
    let counted = |least: u64| {
        let page = get(at, "/metrics").unwrap_or_default();
        let count = page.lines().find_map(|line| line.strip_prefix(deaths));
        count.is_some_and(|count| count.parse::<u64>().is_ok_and(|count| count >= least))
    };
    if !counted(0) {
        problems.push("no deaths to begin with: they should be there as 0".to_owned());
    }
    fixture::run(options, "app-kill", &[])?;
    if !within(limit, || counted(1)) {
        problems.push(format!(
            "the death is not counted: {:?}",
            get(at, "/metrics")
        ));
    }
    let mut second = Command::new(&options.tracer);
    second.args(["run", "--no-store", "--output", "json", &listen]);
    let second = Program::run(&mut second, options.program_limit())?;
    let words = [&at.to_string(), "something else listens", "do:"];
    problems.extend(refused(&second, &[EXIT_FAILED], &words));
    tracer.signal(libc::SIGTERM);
    problems.extend(tracer.wait(options.program_limit())?.problems());
    if get(at, "/healthz").is_some() {
        problems.push("somebody answers after the end".to_owned());
    }
    Ok(problems)
}

/// The tracer itself is told to choose one elsewhere; here two are to meet.
pub(super) fn free_address() -> Result<SocketAddr> {
    match TcpListener::bind("127.0.0.1:0") {
        Ok(listener) => listener.local_addr().context("a free port"),
        Err(error) => Err(Skipped(format!("nobody can listen here: {error}")).into()),
    }
}

pub(super) fn within(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        thread::sleep(AGAIN);
    }
}

/// What is answered, if all is well.
pub(super) fn get(at: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(at).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200 ").then(|| body.to_owned())
}
