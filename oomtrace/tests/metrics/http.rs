//! The server: what it answers, and what clients that mean no good can do.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use oomtrace::{
    event::entry::{Entry, Tick},
    privileges::Keep,
    sinks::metrics::{
        Metrics,
        server::{Limits, ListenError, Server},
    },
};

use crate::support::{Answer, LIMIT, Samples, Subject};

#[test]
fn both_formats_say_the_same() {
    let subject = Subject::start();
    let classic = subject.get("/metrics?of=no&interest");
    assert!(classic.head.contains("text/plain; version=0.0.4"));
    let open = subject.ask(
        "GET /metrics HTTP/1.1\r\nHost: node\r\nAccept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n\r\n",
    );
    assert!(
        open.head
            .contains("application/openmetrics-text; version=1.0.0")
    );
    let names = |page: &str| {
        let samples = Samples::parse(page).0;
        samples.into_iter().map(|(name, labels, _)| (name, labels))
    };
    let (mut classic, mut open): (Vec<_>, Vec<_>) =
        (names(&classic.body).collect(), names(&open.body).collect());
    classic.sort();
    open.sort();
    assert_eq!(classic, open);
    assert!(
        classic
            .iter()
            .any(|(name, _)| name == "process_cpu_seconds_total")
    );
}

#[test]
fn health_is_that_of_tracing() {
    let subject = Subject::start();
    let starting = subject.get("/healthz");
    assert_eq!(starting.status, 503);
    assert!(starting.body.contains("starting"), "{}", starting.body);
    assert_eq!(subject.samples().one("oomtrace_healthy"), 0.0);
    subject.vitals.attached();
    subject.vitals.took(&Entry::Tick(Tick::default()), 0);
    let well = subject.get("/healthz");
    assert_eq!((well.status, well.body.as_str()), (200, "ok\n"));
    assert_eq!(subject.samples().one("oomtrace_healthy"), 1.0);
    subject.vitals.ending();
    let ending = subject.get("/healthz");
    assert_eq!(ending.status, 503);
    assert!(ending.body.contains("ending"), "{}", ending.body);
}

#[test]
fn there_are_two_pages_to_read() {
    let subject = Subject::start();
    for path in [
        "/",
        "/metrics/",
        "/Metrics",
        "/metrics/../healthz",
        "/favicon.ico",
    ] {
        assert_eq!(subject.get(path).status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let request =
            format!("{method} /metrics HTTP/1.1\r\nHost: node\r\nContent-Length: 0\r\n\r\n");
        let answer = subject.ask(&request);
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    }
    let head = subject.ask("HEAD /metrics HTTP/1.1\r\nHost: node\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn what_is_no_request_is_refused() {
    let subject = Subject::start();
    let long = format!(
        "GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(64 * 1024)
    );
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(1000));
    for (request, wanted) in [
        ("\u{1}\u{2}\u{3}\r\n\r\n", 400),
        ("GET /metrics HTTP/9.9\r\n\r\n", 400),
        (&many, 431),
    ] {
        assert_eq!(subject.ask(request).status, wanted, "{request:.30}");
    }
    // Refused before all of it is read, so the rest may meet a closed connection.
    let mut stream = subject.connect();
    let _ = stream.write_all(long.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    assert_eq!(subject.get("/metrics").status, 200);
}

/// Waits for the other side to close, and returns how long that took.
fn closed(stream: &mut TcpStream) -> Duration {
    let started = Instant::now();
    let mut rest = Vec::new();
    // A reset is an end, too; a time-out is not.
    match stream.read_to_end(&mut rest) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("it was not closed")
        }
        _ => started.elapsed(),
    }
}

/// They would be waited for longer than the test takes.
#[test]
fn slow_clients_keep_nobody_out() {
    let subject = Subject::with(Limits {
        connections: 8,
        head: LIMIT,
        connection: LIMIT,
    });
    // Fewer than there is room for: nobody notices.
    let mut slow: Vec<TcpStream> = (0..7).map(|_| subject.connect()).collect();
    for stream in &mut slow {
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: ")
            .unwrap();
    }
    let started = Instant::now();
    assert_eq!(subject.get("/metrics").status, 200);
    // More than that: whoever has waited longest gives way.
    slow.extend((0..20).map(|_| subject.connect()));
    assert_eq!(subject.get("/metrics").status, 200);
    for stream in &mut slow[..20] {
        closed(stream);
    }
    assert!(started.elapsed() < LIMIT / 2, "{:?}", started.elapsed());
}

#[test]
fn clients_that_do_not_ask_are_closed_when_their_time_is_up() {
    let subject = Subject::with(Limits {
        connections: 8,
        head: Duration::from_millis(1500),
        connection: LIMIT * 2,
    });
    let mut slow: Vec<TcpStream> = (0..7).map(|_| subject.connect()).collect();
    for stream in &mut slow[..4] {
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: ")
            .unwrap();
    }
    for stream in &mut slow {
        closed(stream);
    }
}

/// They would be waited for longer than the test takes.
#[test]
fn many_that_ask_for_half_a_page_keep_no_whole_request_out() {
    let patient = Limits {
        head: LIMIT,
        connection: LIMIT,
        ..Limits::default()
    };
    let subject = Subject::with(patient);
    subject.vitals.attached();
    subject.vitals.took(&Entry::Tick(Tick::default()), 0);
    let half = || {
        let mut stream = subject.connect();
        stream.write_all(b"GET /met").unwrap();
        stream
    };
    let started = Instant::now();
    let mut slow: Vec<TcpStream> = Vec::new();
    for _ in 0..10 {
        slow.extend((0..40).map(|_| half()));
        // Some that have sent all at once, while others wait in the queue with them.
        let mut whole: Vec<TcpStream> = (0..8)
            .map(|_| {
                let mut stream = subject.connect();
                let request = b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n";
                stream.write_all(request).unwrap();
                slow.extend((0..4).map(|_| half()));
                stream
            })
            .collect();
        for stream in &mut whole {
            assert_eq!(Answer::read(stream).status, 200);
        }
    }
    assert!(started.elapsed() < LIMIT / 2, "{:?}", started.elapsed());
    // The first had to go, the last are there still.
    closed(&mut slow[0]);
    let last = slow.last_mut().unwrap();
    last.write_all(b"rics HTTP/1.1\r\nHost: node\r\n\r\n")
        .unwrap();
    assert_eq!(Answer::read(last).status, 200);
}

#[test]
fn a_client_that_trickles_is_closed_when_its_time_is_up() {
    let subject = Subject::with(Limits {
        connections: 2,
        head: LIMIT,
        connection: Duration::from_millis(700),
    });
    let mut stream = subject.connect();
    let started = Instant::now();
    let mut is_open = true;
    while is_open && started.elapsed() < LIMIT {
        is_open = stream.write_all(b"X").is_ok();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!is_open, "it was not closed");
    let answer = subject.ask_until_answered("GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n");
    assert_eq!(answer.status, 503);
}

/// None of them because its time is up.
#[test]
fn one_that_asks_and_never_reads_is_closed_too() {
    let subject = Subject::with(Limits {
        connections: 1,
        head: LIMIT,
        connection: LIMIT * 2,
    });
    let mut silent = subject.connect();
    silent.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    // Whoever comes before it has asked takes its place.
    silent.peek(&mut [0]).unwrap();
    let mut stuck = subject.connect();
    stuck.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    assert_eq!(subject.get("/metrics").status, 200);
    closed(&mut stuck);
    assert_eq!(Answer::read(&mut silent).status, 200);
}

#[test]
fn an_address_that_is_taken_is_an_error_that_says_so() {
    let subject = Subject::start();
    let (_, page) = Metrics::new(Arc::default(), None);
    let error = Server::start(subject.address(), page, Limits::default(), Keep::all()).unwrap_err();
    assert!(matches!(error, ListenError::InUse(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains(&subject.address().to_string()), "{text}");
    assert!(text.contains("do: "), "{text}");
}

#[test]
fn it_ends_when_it_is_dropped_with_clients_waiting() {
    let subject = Subject::start();
    let address = subject.address();
    let mut waiting = subject.connect();
    waiting.write_all(b"GET /met").unwrap();
    drop(subject);
    closed(&mut waiting);
    assert!(TcpStream::connect(address).is_err());
}
