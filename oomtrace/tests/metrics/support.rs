//! What the tests share: records of a real kernel, a client, and a reader of the text format.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use flate2::read::GzDecoder;
use oomtrace::{
    event::recording::Reader,
    pipeline::{NoLookups, Pipeline, Source},
    privileges,
    provenance::{
        Config,
        record::{Container, Death, Record},
        rules::Rules,
    },
    sinks::{
        Sink,
        metrics::{
            Metrics, StoreFigures,
            server::{Limits, Server},
        },
    },
    vitals::Vitals,
};

/// Nothing here takes long; a machine that is busy may.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

struct Keep(Arc<Mutex<Vec<Record>>>);

impl Sink for Keep {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        self.0.lock().unwrap().push(record.clone());
        Ok(())
    }
}

/// Puts a recording through the pipeline, also into another sink; returns all records.
pub(crate) fn replay(name: &str, sink: Metrics) -> Vec<Record> {
    let path = folder().join(format!("tests/recordings/{name}.rec.gz"));
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(path).unwrap())
        .read_to_end(&mut bytes)
        .unwrap();
    let kept = Arc::default();
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(Keep(Arc::clone(&kept))), Box::new(sink)];
    let mut pipeline = Pipeline::new(
        Source::Recorded,
        NoLookups,
        Config::default(),
        Rules::built_in().unwrap(),
        sinks,
    );
    for entry in Reader::new(&*bytes).unwrap() {
        pipeline.push(&entry.unwrap()).unwrap();
    }
    pipeline.finish().unwrap();
    drop(pipeline);
    Arc::into_inner(kept).unwrap().into_inner().unwrap()
}

/// A death by the OOM killer as a real kernel brought it about.
pub(crate) fn oom_death() -> Death {
    let (unseen, _) = Metrics::new(Arc::default(), None);
    replay("6.12-v2-fentry", unseen)
        .into_iter()
        .find_map(|record| match record {
            Record::Death(death) if death.oom.as_ref()?.role == "chosen" => Some(*death),
            _ => None,
        })
        .unwrap()
}

/// The same in a container.
pub(crate) fn in_container(death: &Death, namespace: &str, name: &str) -> Record {
    let container = Container {
        runtime: Some("containerd".to_owned()),
        id: "3f2a".repeat(16),
        name: Some(name.to_owned()),
        image: None,
        pod: None,
        namespace: Some(namespace.to_owned()),
        pod_uid: None,
        qos: None,
        kind: None,
        labels: BTreeMap::new(),
        cgroup: None,
        outer: Vec::new(),
        sources: Vec::new(),
    };
    Record::Death(Box::new(Death {
        id: format!("{namespace}/{name}"),
        revision: 1,
        is_final: true,
        container: Some(container),
        ..death.clone()
    }))
}

pub(crate) struct Store;

impl StoreFigures for Store {
    fn stored(&self) -> u64 {
        41
    }

    fn waiting(&self) -> u64 {
        3
    }

    fn dropped(&self) -> u64 {
        2
    }

    fn errors(&self) -> u64 {
        7
    }
}

/// A running server, and what feeds it.
pub(crate) struct Subject {
    pub(crate) sink: Option<Metrics>,
    pub(crate) vitals: Arc<Vitals>,
    server: Server,
}

impl Subject {
    pub(crate) fn start() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let vitals = Arc::new(Vitals::default());
        let (sink, page) = Metrics::new(Arc::clone(&vitals), Some(Arc::new(Store)));
        let server = Server::start(
            ([127, 0, 0, 1], 0).into(),
            page,
            limits,
            privileges::Keep::all(),
        )
        .unwrap();
        Self {
            sink: Some(sink),
            vitals,
            server,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Sends a request, and reads to the end of the connection.
    pub(crate) fn ask(&self, request: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut stream)
    }

    /// The same, again and again, where a connection may be closed before it is answered.
    pub(crate) fn ask_until_answered(&self, request: &str) -> Answer {
        let started = Instant::now();
        loop {
            let mut stream = self.connect();
            let mut text = String::new();
            let asked = stream.write_all(request.as_bytes());
            let read = asked.and_then(|()| stream.read_to_string(&mut text));
            if read.is_ok()
                && let Some(answer) = Answer::parse(&text)
            {
                return answer;
            }
            assert!(started.elapsed() < LIMIT, "no answer: {read:?}, {text}");
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n"))
    }

    pub(crate) fn samples(&self) -> Samples {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200);
        Samples::parse(&answer.body)
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn read(stream: &mut TcpStream) -> Self {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        Self::parse(&text).expect("an answer")
    }

    fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Self {
            status,
            head: head.to_lowercase(),
            body: body.to_owned(),
        })
    }
}

pub(crate) type Labels = BTreeMap<String, String>;

/// All samples of a page.
#[derive(Debug)]
pub(crate) struct Samples(pub(crate) Vec<(String, Labels, f64)>);

impl Samples {
    /// Reads the text format, and sees to it that it is whole: every sample belongs to the
    /// family above it, which has a type and a help text, and no series is there twice.
    pub(crate) fn parse(page: &str) -> Self {
        let body = page.strip_suffix("# EOF\n").expect("the end mark");
        let mut samples = Vec::new();
        let mut seen = BTreeSet::new();
        let (mut helped, mut family) = (None, String::new());
        for line in body.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                helped = help.split_once(' ').map(|(name, _)| name.to_owned());
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                kind.split_once(' ').unwrap().0.clone_into(&mut family);
                assert_eq!(helped.as_ref(), Some(&family), "{line}");
            } else if !line.starts_with('#') {
                let sample = Self::line(line);
                assert!(sample.0.starts_with(&family), "{line} in {family}");
                assert!(
                    seen.insert(format!("{} {:?}", sample.0, sample.1)),
                    "{line}"
                );
                samples.push(sample);
            }
        }
        Self(samples)
    }

    fn line(line: &str) -> (String, Labels, f64) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => Self::labels(rest),
            None => (Labels::new(), rest),
        };
        (name.to_owned(), labels, value.trim().parse().unwrap())
    }

    /// Labels up to the brace, and what comes behind it.
    fn labels(text: &str) -> (Labels, &str) {
        let mut labels = Labels::new();
        let mut rest = text;
        loop {
            let (name, quoted) = rest.split_once("=\"").expect("a label");
            let mut value = String::new();
            let mut chars = quoted.char_indices();
            let end = loop {
                match chars.next().expect("a closing quote") {
                    (_, '\\') => value.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        escaped @ ('\\' | '"') => escaped,
                        other => panic!("\\{other} is no escape"),
                    }),
                    (at, '"') => break at,
                    (_, c) => value.push(c),
                }
            };
            assert!(labels.insert(name.to_owned(), value).is_none(), "{text}");
            rest = &quoted[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return (labels, rest.strip_prefix('}').expect("a brace")),
            }
        }
    }

    /// The sum of all samples of a name with these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |of: &Labels| {
            let fits = |(label, value): &(&str, &str)| of.get(*label).is_some_and(|is| is == value);
            labels.iter().all(fits)
        };
        self.0
            .iter()
            .filter(|(is, of, _)| is == name && fits(of))
            .map(|(_, _, value)| value)
            .sum()
    }

    /// The only sample of a name.
    pub(crate) fn one(&self, name: &str) -> f64 {
        let found: Vec<f64> = self.of(name).map(|(_, value)| value).collect();
        assert_eq!(found.len(), 1, "{name}");
        found[0]
    }

    pub(crate) fn of(&self, name: &str) -> impl Iterator<Item = (&Labels, f64)> {
        self.0
            .iter()
            .filter(move |(is, _, _)| is == name)
            .map(|(_, labels, value)| (labels, *value))
    }
}
