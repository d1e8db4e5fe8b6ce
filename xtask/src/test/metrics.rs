//! The step of `cargo xtask test` about metrics: what `--listen` serves, the rules and the
//! dashboard, by the tools that people read them with. A Prometheus of our own scrapes a tracer
//! that runs, and is asked for a death.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Ground, steps};
use crate::{
    cases::Outcome,
    command::{self, Guard},
    packages,
};

/// Debian's package has the server, too.
const PACKAGE: &str = "prometheus";
const FOLDER: &str = "deploy/prometheus";
const DASHBOARD: &str = "deploy/grafana/oomtrace.json";
const RULES: &str = "oomtrace.rules.yml";
const RULES_TEST: &str = "oomtrace.rules.test.yml";
const SCRAPE: &str = "oomtrace.scrape.yml";
const LIMIT: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(200);

pub(super) fn run(ground: &Ground<'_>) -> Result<Outcome> {
    const NAMES: [&str; 6] = [
        "metrics-dashboard",
        "metrics-rules",
        "metrics-rules-tested",
        "metrics-scrape-config",
        "metrics-promtool",
        "metrics-scraped",
    ];
    if command::find("promtool").is_none() {
        if let Err(error) = packages::install(&[PACKAGE], "no promtool, which checks metrics") {
            let mut outcome = Outcome::default();
            for name in NAMES {
                outcome.absorb(Outcome::skip(name, format!("{error:#}")));
            }
            return Ok(outcome);
        }
    }
    let [dashboard, rules, tested, scrape, page, scraped] = NAMES;
    let questions = questions(ground)?;
    let questions = questions.to_string_lossy();
    let mut outcome = promtool(ground, dashboard, &["check", "rules", &questions])?;
    outcome.absorb(promtool(ground, rules, &["check", "rules", RULES])?);
    outcome.absorb(promtool(ground, tested, &["test", "rules", RULES_TEST])?);
    // The syntax only: what it names is where it is installed to.
    let config = ["check", "config", "--syntax-only", SCRAPE];
    outcome.absorb(promtool(ground, scrape, &config)?);
    if !command::is_root() {
        let why = "the tracer needs root: run the tests as root to have these";
        outcome.absorb(Outcome::skip(page, why));
        outcome.absorb(Outcome::skip(scraped, why));
        return Ok(outcome);
    }
    let tracer = Tracer::start(&steps::built(ground).join("oomtrace"), &ground.logs)?;
    tracer.is_well()?;
    kill_one()?;
    outcome.absorb(case(page, || checked(ground, &tracer)));
    if command::find("prometheus").is_some() {
        outcome.absorb(case(scraped, || by_prometheus(ground, &tracer)));
    } else {
        let why = "promtool is here and prometheus is not: install both, or neither";
        outcome.absorb(Outcome::skip(scraped, why));
    }
    Ok(outcome)
}

fn case(name: &str, run: impl FnOnce() -> Result<()>) -> Outcome {
    match run() {
        Ok(()) => Outcome::pass(),
        Err(error) => Outcome::fail(name, format!("{error:#}"), None),
    }
}

fn promtool(ground: &Ground<'_>, name: &str, args: &[&str]) -> Result<Outcome> {
    let mut promtool = command::clean("promtool");
    promtool.args(args);
    promtool.current_dir(ground.project.root.join(FOLDER));
    ground.case(name, &mut promtool)
}

/// What the dashboard asks for, as rules, with something for each of Grafana's variables.
fn questions(ground: &Ground<'_>) -> Result<PathBuf> {
    let path = ground.project.root.join(DASHBOARD);
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let dashboard: Value = serde_json::from_str(&text).context("the dashboard")?;
    let targets = dashboard["panels"].as_array().into_iter().flatten();
    let targets = targets.filter_map(|panel| panel["targets"].as_array());
    let rules: Vec<Value> = targets
        .flatten()
        .filter_map(|target| target["expr"].as_str())
        .enumerate()
        .map(|(number, question)| {
            let mut question = question.to_owned();
            for variable in ["$__rate_interval", "$__range"] {
                question = question.replace(variable, "5m");
            }
            json!({"record": format!("panel:{number}"), "expr": question})
        })
        .collect();
    let file = ground.logs.join("dashboard.rules.yml");
    let rules = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    fs::write(&file, rules.to_string())?;
    Ok(file)
}

/// A tracer that serves metrics.
struct Tracer {
    _running: Guard,
    at: SocketAddr,
}

impl Tracer {
    fn start(binary: &Path, logs: &Path) -> Result<Self> {
        let store = logs.join("metrics-store");
        if store.exists() {
            fs::remove_dir_all(&store).context("what another run has left")?;
        }
        let records = logs.join("metrics-records.json");
        let records = File::create(&records)
            .with_context(|| format!("cannot write {}", records.display()))?;
        let mut tracer = command::clean(binary);
        tracer.args(["run", "--output", "json", "--listen", "127.0.0.1:0"]);
        tracer.arg("--store").arg(store.join("deaths.db"));
        tracer.stdin(Stdio::null()).stdout(records);
        let child = tracer.stderr(Stdio::piped()).spawn();
        let mut running = Guard(child.context("cannot start the tracer")?);
        let said = running.0.stderr.take().context("the tracer's messages")?;
        // Where it listens is said first; whatever follows must find a reader.
        let mut said = BufReader::new(said).lines();
        let mut at = None;
        for line in said.by_ref() {
            let line = line.context("the tracer's messages")?;
            let address = line
                .split_once("http://")
                .and_then(|(_, rest)| rest.split_once('/'));
            if let Some((address, _)) = address {
                at = Some(address.parse().with_context(|| line.clone())?);
                break;
            }
        }
        thread::spawn(move || said.for_each(drop));
        Ok(Self {
            at: at.context("the tracer does not say where it listens")?,
            _running: running,
        })
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.at).context("the tracer's metrics")?;
        stream.set_read_timeout(Some(LIMIT))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
            _ => bail!("{path}: {answer}"),
        }
    }

    /// Waits for every hook.
    fn is_well(&self) -> Result<()> {
        until("the tracer is well", || {
            self.get("/healthz").map(|said| said == "ok\n")
        })
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + LIMIT;
    let mut latest = None;
    while Instant::now() < end {
        match is_so() {
            Ok(true) => return Ok(()),
            Ok(false) => latest = None,
            Err(error) => latest = Some(error),
        }
        thread::sleep(AGAIN);
    }
    match latest {
        Some(error) => Err(error.context(format!("{what}: not within {} s", LIMIT.as_secs()))),
        None => bail!("{what}: not within {} s", LIMIT.as_secs()),
    }
}

/// Starts a process and kills it.
fn kill_one() -> Result<()> {
    let mut victim: Child = command::clean("sleep")
        .arg("1000")
        .spawn()
        .context("cannot start a process to kill")?;
    victim.kill()?;
    victim.wait()?;
    Ok(())
}

/// What the tracer serves, as promtool sees it.
fn checked(ground: &Ground<'_>, tracer: &Tracer) -> Result<()> {
    let file = ground.logs.join("metrics.prom");
    until("the death is counted", || {
        let page = tracer.get("/metrics")?;
        fs::write(&file, &page)?;
        Ok(page
            .lines()
            .any(|line| line.starts_with("oomtrace_deaths_total{") && !line.ends_with(" 0")))
    })?;
    let page = File::open(&file)?;
    let mut promtool = command::clean("promtool");
    promtool.args(["check", "metrics"]).stdin(page);
    let said = promtool.output().context("cannot start promtool")?;
    let complaints = [said.stdout, said.stderr].concat();
    if !said.status.success() || !complaints.is_empty() {
        let complaints = String::from_utf8_lossy(&complaints);
        bail!("promtool ({}): {}", said.status, complaints.trim());
    }
    Ok(())
}

/// A server with our rules scrapes the tracer, which it does in OpenMetrics.
fn by_prometheus(ground: &Ground<'_>, tracer: &Tracer) -> Result<()> {
    let folder = ground.logs.join("prometheus");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("what another run has left")?;
    }
    fs::create_dir_all(&folder)?;
    let config = folder.join("prometheus.yml");
    let rules: PathBuf = ground.project.root.join(FOLDER).join(RULES);
    // What is JSON is YAML.
    let text = json!({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [rules],
        "scrape_configs": [{
            "job_name": "oomtrace",
            "honor_labels": true,
            "static_configs": [{"targets": [tracer.at.to_string()]}],
        }],
    });
    fs::write(&config, text.to_string())?;
    let log = File::create(folder.join("log"))?;
    let at = free_address()?;
    let mut server = Command::new("prometheus");
    server
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("data").display()
        ))
        .arg(format!("--web.listen-address={at}"));
    server
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let _running = Guard(server.spawn().context("cannot start prometheus")?);
    let ask = |question: &str| {
        let mut promtool = command::clean("promtool");
        promtool.args(["query", "instant", &format!("http://{at}"), question]);
        command::output(&mut promtool)
    };
    until("Prometheus has the death", || {
        Ok(ask("sum(oomtrace_deaths_total{job=\"oomtrace\"}) > 0")?.contains("=>"))
    })?;
    for question in [
        "up{job=\"oomtrace\"} == 1",
        "oomtrace_healthy == 1",
        "oomtrace_build_info == 1",
        "scrape_samples_scraped{job=\"oomtrace\"} > 50",
    ] {
        // A scrape that took too long is one that failed, until the next one.
        until(&format!("Prometheus finds {question}"), || {
            Ok(ask(question)?.contains("=>"))
        })?;
    }
    until("Prometheus has worked on the rules", || {
        let deaths = "sum(oomtrace:deaths:increase1h) > 0";
        Ok(ask(deaths)?.contains("=>"))
    })
}

/// Prometheus cannot be told to choose by itself.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("a free port")?;
    Ok(listener.local_addr()?)
}
