//! Container runtimes that do not behave: sockets that hang or answer nonsense, files that are
//! huge, cut short or lead elsewhere. A death is written in time all the same.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use serde_json::Value;

use super::{Case, Skipped, scope::Group};
use crate::{
    cli::Options,
    death,
    tracer::{Start, Tracer},
};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "runtime-socket-hangs",
        run: socket_hangs,
    },
    Case {
        name: "runtime-socket-babbles",
        run: socket_babbles,
    },
    Case {
        name: "runtime-files-damaged",
        run: files_damaged,
    },
];

/// Docker's folder of containers.
const DOCKER: &str = "/var/lib/docker/containers";

/// A socket where Docker's API should be.
struct Socket(PathBuf);

impl Socket {
    /// `serve` gets each connection, on a thread of its own.
    fn new(serve: fn(UnixStream)) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let at = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("oomtrace-socket-{}-{at}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path)?;
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                thread::spawn(move || serve(connection));
            }
        });
        Ok(Self(path))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn start(options: &Options, socket: Option<&Path>) -> Result<Tracer> {
    let mut command = Command::new(&options.tracer);
    command.args(["run", "--no-store", "--output", "json"]);
    if let Some(socket) = socket {
        command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    }
    match Tracer::start_as(&mut command)? {
        Start::Running(tracer, _) => Ok(tracer),
        Start::Lacking(reason) => bail!("the tracer cannot run here: {reason}"),
    }
}

/// The revisions of a death in a container of Docker's with this id.
fn die(options: &Options, tracer: &Tracer, id: &str) -> Result<Vec<Value>> {
    let group = Group::new(&format!("docker/{id}"))?;
    let mut victim = group.shell("kill -9 $$").spawn()?;
    let pid = victim.id() as i32;
    victim.wait()?;
    let complete = |records: &[Value]| death::is_complete(&death::of(records, pid));
    tracer.wait_for(0, options.record_limit(), complete);
    let records = tracer.records(0);
    Ok(death::of(&records, pid).into_iter().cloned().collect())
}

/// What is wrong with a death of which nothing could be found out.
fn nameless(what: &str, deaths: &[Value], problems: &mut Vec<String>) {
    match deaths {
        [first, ..] => {
            let last = deaths.last().unwrap_or(first);
            if first["revision"] != 1 || last["final"] != true {
                problems.push(format!("{what}: first {first}, last {last}"));
            }
            if !last["container"]["id"].is_string() || !last["container"]["name"].is_null() {
                problems.push(format!("{what}: the container is {}", last["container"]));
            }
        }
        [] => problems.push(format!("{what}: the death was not written")),
    }
}

fn with_socket(options: &Options, serve: fn(UnixStream)) -> Result<Vec<String>> {
    let socket = Socket::new(serve)?;
    let tracer = start(options, Some(&socket.0))?;
    let mut problems = Vec::new();
    for id in ["a1", "b2"] {
        let deaths = die(options, &tracer, &id.repeat(32))?;
        nameless(id, &deaths, &mut problems);
    }
    tracer.signal(libc::SIGTERM);
    problems.extend(tracer.wait(options.program_limit())?.problems());
    Ok(problems)
}

/// It takes the question, and says nothing.
fn socket_hangs(options: &Options) -> Result<Vec<String>> {
    with_socket(options, |mut connection| {
        let mut question = [0; 4096];
        while connection.read(&mut question).is_ok_and(|read| read > 0) {}
        thread::sleep(Duration::from_secs(600));
    })
}

fn socket_babbles(options: &Options) -> Result<Vec<String>> {
    with_socket(options, |mut connection| {
        let _ = connection.read(&mut [0; 4096]);
        let nonsense = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{\"Id\":[[[[\xff\0";
        let _ = connection.write_all(nonsense);
    })
}

/// Docker keeps a file of each container.
struct Kept(PathBuf);

impl Kept {
    fn new(id: &str) -> Result<Self> {
        let folder = Path::new(DOCKER).join(id);
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    fn config(&self) -> PathBuf {
        self.0.join("config.v2.json")
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What is wrong with the death in a container whose name has control characters.
fn odd_name(options: &Options, tracer: &Tracer, id: &str) -> Result<Vec<String>> {
    let odd = Kept::new(id)?;
    let text =
        format!("{{\"ID\":{id:?},\"Name\":\"/a\\u001b[2Jb\\nc\",\"State\":{{}},\"Config\":{{}}}}");
    fs::write(odd.config(), text)?;
    let deaths = die(options, tracer, id)?;
    let mut problems = Vec::new();
    let name = deaths
        .last()
        .map(|death| death["container"]["name"].clone());
    if name != Some("a\u{1b}[2Jb\nc".into()) {
        problems.push(format!("control characters: the name is {name:?}"));
    }
    let summary = deaths.last().and_then(|death| death["summary"].as_str());
    if summary.is_none_or(|summary| summary.contains(char::is_control)) {
        problems.push("control characters: they stand in the summary as they are".to_owned());
    }
    Ok(problems)
}

fn files_damaged(options: &Options) -> Result<Vec<String>> {
    if std::env::var_os("OOMTRACE_GUEST").is_none_or(|value| value != "1") {
        let why = "only in a guest of the tests: it writes among Docker's own files";
        return Err(Skipped(why.to_owned()).into());
    }
    let tracer = start(options, None)?;
    let mut problems = Vec::new();
    let id = |start: &str| format!("{start}{}", "0".repeat(64 - start.len()));

    let huge = Kept::new(&id("aa"))?;
    let filler = format!("{{\"Name\":\"{}\"}}", "x".repeat(32 << 20));
    fs::write(huge.config(), filler)?;
    nameless("huge", &die(options, &tracer, &id("aa"))?, &mut problems);

    let cut = Kept::new(&id("bb"))?;
    fs::write(cut.config(), "{\"Name\":\"/we")?;
    nameless("cut", &die(options, &tracer, &id("bb"))?, &mut problems);

    let linked = Kept::new(&id("cc"))?;
    let elsewhere = std::env::temp_dir().join("oomtrace-elsewhere.json");
    fs::write(
        &elsewhere,
        format!("{{\"ID\":{:?},\"Name\":\"/secret\"}}", id("cc")),
    )?;
    std::os::unix::fs::symlink(&elsewhere, linked.config())?;
    nameless("linked", &die(options, &tracer, &id("cc"))?, &mut problems);
    let _ = fs::remove_file(&elsewhere);

    // Where the machine is slow the answer may come too late for one of them.
    let mut odd = Vec::new();
    for start in ["dd", "de", "df"] {
        odd = odd_name(options, &tracer, &id(start))?;
        if odd.is_empty() {
            break;
        }
    }
    problems.extend(odd);
    drop((huge, cut, linked));
    tracer.signal(libc::SIGTERM);
    problems.extend(tracer.wait(options.program_limit())?.problems());
    Ok(problems)
}
