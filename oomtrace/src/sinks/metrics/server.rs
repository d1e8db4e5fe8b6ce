//! The HTTP server of `--listen`, on a thread of its own: `/metrics` and `/healthz`, one
//! answer a connection. Whoever is slow gives way to those that come, and nobody keeps the
//! tracer waiting.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use hyper::{
    Method, Request, Response, StatusCode,
    header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::{JoinHandle as Task, yield_now},
    time::{sleep, timeout},
};

use super::page::{Format, Page};
use crate::privileges::Keep;

/// What one client may take of the others.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// So many are served at a time. Then the one that has been there longest and has not asked
    /// for anything yet gives way to the next.
    pub connections: usize,
    /// A request's head must have come within this.
    pub head: Duration,
    /// A connection is closed after this, whatever it is about.
    pub connection: Duration,
}

impl Default for Limits {
    /// Prometheus itself waits 10 s.
    fn default() -> Self {
        Self {
            connections: 32,
            head: Duration::from_secs(5),
            connection: Duration::from_secs(10),
        }
    }
}

/// Of a request's head; hyper takes no less.
const HEAD_BYTES: usize = 8 * 1024;
const MOST_HEADERS: usize = 64;
/// After an accept(2) that failed, as with too many open files.
const RETRY: Duration = Duration::from_millis(200);

/// Why nothing can be served at an address.
#[derive(Debug, Error)]
pub enum ListenError {
    #[error(
        "metrics cannot be served at {0}: something else listens there, another oomtrace perhaps\n\
         do: end that, or give another address with --listen ADDR:PORT (port 0: any that is free)"
    )]
    InUse(SocketAddr),
    #[error(
        "metrics cannot be served at {0}: ports below 1024 are for those with CAP_NET_BIND_SERVICE\n\
         do: give another port with --listen ADDR:PORT"
    )]
    Denied(SocketAddr),
    #[error(
        "metrics cannot be served at {0}: this machine has no such address\n\
         do: choose one that `ip address` shows, or 0.0.0.0 or [::] for all"
    )]
    NoSuchAddress(SocketAddr),
    #[error("metrics cannot be served at {0}")]
    Other(SocketAddr, #[source] io::Error),
}

impl ListenError {
    fn of(at: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(at),
            io::ErrorKind::PermissionDenied => Self::Denied(at),
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress(at),
            _ => Self::Other(at, error),
        }
    }
}

/// Answers until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    /// The thread ends once this is gone.
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens, and starts the thread, which keeps of its privileges what it is told to.
    pub fn start(
        at: SocketAddr,
        page: Page,
        limits: Limits,
        keep: Keep,
    ) -> Result<Self, ListenError> {
        let failed = |error| ListenError::of(at, error);
        let listener = TcpListener::bind(at).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(failed)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("oomtrace-http".to_owned())
            .spawn(move || {
                keep.here();
                run(&runtime, listener, page, limits, stopped);
            })
            .map_err(failed)?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens, with the port that the kernel chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    runtime: &Runtime,
    listener: tokio::net::TcpListener,
    page: Page,
    limits: Limits,
    stopped: oneshot::Receiver<Infallible>,
) {
    let page = Arc::new(page);
    runtime.block_on(async {
        tokio::select! {
            () = accept(listener, page, limits) => {}
            _ = stopped => {}
        }
    });
}

async fn accept(listener: tokio::net::TcpListener, page: Arc<Page>, limits: Limits) {
    let mut guests = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::debug!("a connection for metrics cannot be taken: {error}");
                sleep(RETRY).await;
                continue;
            }
        };
        make_room(&mut guests, limits.connections);
        let (page, has_asked) = (Arc::clone(&page), Arc::default());
        let noted = Arc::clone(&has_asked);
        let task = tokio::spawn(async move {
            // Too slow, gone, or not HTTP: nothing that anybody here could do about.
            let served = serve(stream, &page, limits.head, &noted);
            if let Ok(Err(error)) = timeout(limits.connection, served).await {
                log::debug!("a connection for metrics: {error}");
            }
        });
        guests.push_back(Guest { has_asked, task });
        // What has come with the connection is read before another one can take its place: the
        // first lets the kernel tell of it, the second lets the task read it.
        yield_now().await;
        yield_now().await;
    }
}

/// A connection that is open.
struct Guest {
    /// Its request has come whole.
    has_asked: Arc<AtomicBool>,
    task: Task<()>,
}

/// Sees to it that there is room for one more. `guests`: the oldest first.
fn make_room(guests: &mut VecDeque<Guest>, most: usize) {
    guests.retain(|guest| !guest.task.is_finished());
    while guests.len() >= most.max(1) {
        let slow = guests
            .iter()
            .position(|guest| !guest.has_asked.load(Ordering::Relaxed));
        // All have asked: then it is one that does not read its answer.
        let Some(guest) = guests.remove(slow.unwrap_or(0)) else {
            return;
        };
        guest.task.abort();
    }
}

async fn serve(
    stream: TcpStream,
    page: &Page,
    head: Duration,
    has_asked: &AtomicBool,
) -> hyper::Result<()> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(HEAD_BYTES)
        .max_headers(MOST_HEADERS)
        .keep_alive(false)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(|request| {
                has_asked.store(true, Ordering::Relaxed);
                let response = answer(&request, page);
                async move { Ok::<_, Infallible>(response) }
            }),
        )
        .await
}

fn answer<B>(request: &Request<B>, page: &Page) -> Response<String> {
    let path = request.uri().path();
    if !matches!(path, "/metrics" | "/healthz") {
        return plain(
            StatusCode::NOT_FOUND,
            "there is no such page; /metrics and /healthz there are",
        );
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    if path == "/healthz" {
        return match page.vitals().check() {
            Ok(()) => plain(StatusCode::OK, "ok"),
            Err(trouble) => plain(StatusCode::SERVICE_UNAVAILABLE, &trouble.to_string()),
        };
    }
    let accepted: Vec<&str> = request
        .headers()
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let format = Format::wanted(&accepted.join(","));
    match page.text(format) {
        Ok(text) => with_type(StatusCode::OK, format.content_type(), text),
        Err(error) => {
            log::error!("metrics cannot be written: {error}; please report this");
            plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics cannot be written",
            )
        }
    }
}

fn plain(status: StatusCode, text: &str) -> Response<String> {
    with_type(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn with_type(status: StatusCode, kind: &'static str, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
