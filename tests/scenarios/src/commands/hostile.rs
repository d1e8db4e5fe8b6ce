//! Output about processes with hostile names and arguments, byte for byte: nobody but the
//! tracer ends a line, and nothing in it moves a cursor.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::Read as _,
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Case, faithful};
use crate::{cli::Options, death, fixture, run::Program};

pub(crate) const CASES: &[Case] = &[Case {
    name: "hostile-output",
    run: hostile_output,
}];

/// Whose victims are looked at. The last one's is the last death.
const FIXTURES: &[(&str, &[&str])] = &[
    ("hostile-words", &[]),
    ("long-argv", &[]),
    ("long-argv", &["--many"]),
    ("own-argv", &[]),
    ("hostile-cgroups", &[]),
    ("hostile-exe", &[]),
    ("app-kill", &[]),
];

/// Colours of the tool's own.
const SGR: &[&str] = &["\x1b[1m", "\x1b[1;31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"];

fn hostile_output(options: &Options) -> Result<Vec<String>> {
    let recording = Temporary::new("rec");
    let (json, victims) = record(options, &recording.0)?;
    let mut problems = Vec::new();
    let deaths = check_json(&json, &victims, &mut problems);

    let limit = options.program_limit();
    let output = Temporary::new("pretty");
    let mut to_file = replay(options, &recording.0);
    to_file.stdout(File::create(&output.0)?);
    Program::start_with_stdout(&mut to_file)?.wait(limit)?;
    let plain = fs::read(&output.0)?;
    check_pretty(&plain, &deaths, &mut problems);
    let coloured = on_terminal(replay(options, &recording.0), limit)?;
    if !coloured.contains(SGR[0]) {
        problems.push("no colour on a terminal".to_owned());
    }
    let mut stripped = coloured.replace("\r\n", "\n");
    for colour in SGR {
        stripped = stripped.replace(colour, "");
    }
    if stripped.as_bytes() != plain {
        problems.push(format!("with colours it says something else: {stripped}"));
    }
    Ok(problems)
}

/// What the tracer prints of the fixtures as JSON, and the pids of the victims. It is recorded.
fn record(options: &Options, recording: &Path) -> Result<(Vec<u8>, Vec<i32>)> {
    let output = Temporary::new("json");
    let mut command = Command::new(&options.tracer);
    command
        .args(["run", "--no-store", "--output", "json", "--record"])
        .arg(recording)
        .stdout(File::create(&output.0)?);
    let tracer = Program::start_with_stdout(&mut command)?;
    let read = || fs::read(&output.0).unwrap_or_default();
    wait_for(options.program_limit(), || read().contains(&b'\n'))
        .context("the tracer did not start")?;
    let mut victims = Vec::new();
    for (name, args) in FIXTURES {
        let report = fixture::run(options, name, args)?;
        // None where the fixture was skipped.
        victims.extend(report.victims().map(|victim| victim.pid));
    }
    let last = victims.last().context("no victim")?;
    let last = format!("\"victim\":{{\"pid\":{last},");
    wait_for(options.record_limit(), || {
        read()
            .windows(last.len())
            .any(|part| part == last.as_bytes())
    })
    .context("the last death did not arrive")?;
    tracer.signal(libc::SIGTERM);
    let ended = tracer.wait(options.program_limit())?;
    if ended.status.code() != Some(0) {
        bail!("the tracer: {ended}");
    }
    Ok((read(), victims))
}

/// A record a line, and nothing but what the tracer wrote; returns the deaths.
fn check_json(json: &[u8], victims: &[i32], problems: &mut Vec<String>) -> Vec<Value> {
    check_bytes(json, problems);
    let text = String::from_utf8_lossy(json);
    let mut records = Vec::new();
    for line in text.lines() {
        match serde_json::from_str::<Value>(line) {
            Ok(record) if record.is_object() => records.push(record),
            _ => problems.push(format!("not a JSON object: {line}")),
        }
    }
    // What may have been missed is said by the way, and is no loss; a unit of the machine's may be
    // started again meanwhile.
    records.retain(|record| record["type"] != "gap" || record["certain"] == true);
    records.retain(|record| record["type"] != "restart");
    let types: Vec<&str> = records.iter().filter_map(|r| r["type"].as_str()).collect();
    let between = types.get(1..types.len() - 1).unwrap_or_default();
    if types.first() != Some(&"started")
        || types.last() != Some(&"stopped")
        || between.iter().any(|kind| *kind != "death")
    {
        let gaps = records.iter().filter(|record| record["type"] == "gap");
        let gaps: Vec<String> = gaps.map(ToString::to_string).collect();
        problems.push(format!(
            "other lines than start, deaths, end: {types:?} {gaps:?}"
        ));
    }
    for pid in victims {
        let of = death::of(&records, *pid);
        if of.is_empty() || of.iter().any(|death| death["id"] != of[0]["id"]) {
            problems.push(format!("not one death of pid {pid}: {of:?}"));
        }
    }
    records.retain(|record| record["type"] == "death");
    for death in &records {
        let texts = ["evidence", "advice"].map(|list| death[list].as_array());
        let texts = texts.into_iter().flatten().flatten();
        let sentences = texts.map(|entry| &entry["text"]).chain([&death["summary"]]);
        for sentence in sentences.filter_map(Value::as_str) {
            check_bytes(sentence.as_bytes(), problems);
            if sentence.contains('\n') {
                problems.push(format!("more than one line: {sentence:?}"));
            }
        }
    }
    records
}

/// A first line for each death, and then lines that each start with a word of the tracer's.
fn check_pretty(pretty: &[u8], deaths: &[Value], problems: &mut Vec<String>) {
    const WORDS: &[&str] = &[
        "victim",
        "cgroup",
        "sender",
        "run by",
        "asked",
        "limit",
        "outcome",
        "path",
        "because",
        "do",
        "trigger",
        "container",
        "unit",
        "reported",
    ];
    // A later revision is told only if it says more.
    let first = |death: &&Value| death["revision"] == 1;
    let deaths: Vec<&Value> = deaths.iter().filter(first).collect();
    check_bytes(pretty, problems);
    let text = String::from_utf8_lossy(pretty);
    // As above: what may have been missed, and units of the machine's that were started again.
    let by_the_way = |line: &&str| {
        line.contains("events may have been missed between") || line.contains(" was started again")
    };
    let mut lines: Vec<&str> = text.lines().filter(|line| !by_the_way(line)).collect();
    let ends = (!lines.is_empty()).then(|| (lines.remove(0), lines.pop().unwrap_or_default()));
    if !ends.is_some_and(|(first, last)| {
        first.starts_with("oomtrace ") && last.starts_with("stopped: ")
    }) {
        problems.push(format!("no start, no end: {ends:?}"));
    }
    let row = |line: &str| {
        let name = line.get(..9).unwrap_or_default();
        WORDS.contains(&name.trim_start()) && line.get(9..11) == Some("  ")
    };
    let heads: Vec<&str> = lines.into_iter().filter(|line| !row(line)).collect();
    let as_said = heads.len() == deaths.len()
        && heads.iter().zip(&deaths).all(|(head, death)| {
            let time = death["time"].as_str().and_then(|time| time.get(11..23));
            let cause = death["cause"].as_str().unwrap_or_default();
            head.starts_with(&format!("{}Z  {cause}  ", time.unwrap_or_default()))
        });
    if !as_said {
        problems.push(format!("other lines than those of the deaths: {heads:#?}"));
    }
}

/// UTF-8, and nothing that a terminal would obey or that cannot be seen.
fn check_bytes(bytes: &[u8], problems: &mut Vec<String>) {
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            problems.push(format!("not UTF-8: {error}"));
            return;
        }
    };
    let bad = |c: char| {
        (c.is_control() && c != '\n')
            || "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2069}\u{200f}\u{61c}".contains(c)
            || "\u{2028}\u{2029}\u{feff}\u{ad}\u{2060}\u{fff9}\u{e0041}\u{180e}".contains(c)
    };
    for line in text.lines().filter(|line| line.contains(bad)) {
        problems.push(format!("a line that does something: {line:?}"));
    }
}

fn replay(options: &Options, recording: &Path) -> Command {
    let mut command = Command::new(&options.tracer);
    command.arg("replay").arg(recording);
    command
}

/// What a program prints on a terminal.
fn on_terminal(mut command: Command, limit: Duration) -> Result<String> {
    let (mut terminal, name) = faithful::terminal()?;
    let path = Path::new(OsStr::from_bytes(name.as_bytes()));
    let other_end = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(path)?;
    command
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdout(other_end);
    let program = Program::start_with_stdout(&mut command)?;
    // With this the last other end is the program's.
    command.stdout(Stdio::null());
    let (sender, printed) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        // An error says that nobody has the other end open any more.
        while let Ok(len @ 1..) = terminal.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..len]);
        }
        let _ = sender.send(bytes); // nobody waits any more: it took too long
    });
    program.wait(limit)?;
    let bytes = printed.recv_timeout(limit).context("the terminal's end")?;
    String::from_utf8(bytes).context("not UTF-8 on a terminal")
}

fn wait_for(limit: Duration, mut there: impl FnMut() -> bool) -> Result<()> {
    let pause = Duration::from_millis(20);
    for _ in 0..limit.as_millis() / pause.as_millis() {
        if there() {
            return Ok(());
        }
        thread::sleep(pause);
    }
    bail!("not within {} s", limit.as_secs())
}

/// A file that is removed when it goes out of scope.
struct Temporary(PathBuf);

impl Temporary {
    fn new(kind: &str) -> Self {
        Self(env::temp_dir().join(format!("oomtrace-hostile-{}.{kind}", process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
