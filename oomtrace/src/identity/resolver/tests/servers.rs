//! Servers at unix sockets that behave like runtimes, and like nothing good.

use std::{
    collections::HashMap,
    fs,
    io::{Read as _, Write as _},
    os::unix::{
        fs::MetadataExt as _,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use tempfile::TempDir;
use tonic::codegen::http::{HeaderMap, HeaderValue, Response};

/// A folder that stands for the root of a system. It goes when the test does.
pub(super) struct System(TempDir);

impl System {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    fn listen(&self, path: &str) -> UnixListener {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        UnixListener::bind(path).unwrap()
    }

    /// The cgroup of a container that sockets of whoever runs the test may speak for.
    pub(super) fn cgroup(&self, name: &str) -> String {
        let user = fs::metadata(self.root()).unwrap().uid();
        format!("/user.slice/user-{user}.slice/{name}")
    }

    /// A server that does this with each connection; returns how many there were so far.
    pub(super) fn serve(
        &self,
        path: &str,
        with: impl Fn(UnixStream) + Send + 'static,
    ) -> Arc<AtomicUsize> {
        let listener = self.listen(path);
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::Relaxed);
                with(stream);
            }
        });
        count
    }

    /// Takes connections and never says a word.
    pub(super) fn hang(&self, path: &str) -> Arc<AtomicUsize> {
        self.serve(path, std::mem::forget)
    }

    /// A file with this in it.
    pub(super) fn file(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Docker's API, or Podman's, with one container.
    pub(super) fn docker(&self, path: &str, id: &str, inspected: &'static str, header: &str) {
        self.docker_after(path, id, inspected, header, Duration::ZERO);
    }

    /// Podman's, each answer after a while.
    pub(super) fn late_podman(&self, path: &str, id: &str, inspected: &'static str, by: Duration) {
        let header = "Libpod-Api-Version: 4.3.1\r\n";
        self.docker_after(path, id, inspected, header, by);
    }

    fn docker_after(
        &self,
        path: &str,
        id: &str,
        inspected: &'static str,
        header: &str,
        by: Duration,
    ) {
        let (wanted, header) = (format!("/containers/{id}/json "), header.to_owned());
        let answer = Arc::new(move |mut stream: UnixStream| {
            thread::sleep(by);
            let request = head(&mut stream);
            let (status, body) = if request.contains(&wanted) {
                ("200 OK", inspected)
            } else {
                ("404 Not Found", r#"{"message":"No such container"}"#)
            };
            // As net/http does.
            let status = if request.to_lowercase().contains("\r\nhost:") {
                status
            } else {
                "400 Bad Request"
            };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\n{header}Content-Type: application/json\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            );
        });
        self.serve(path, move |stream| {
            let answer = Arc::clone(&answer);
            thread::spawn(move || answer(stream));
        });
    }

    /// A gRPC server that answers each method with the same message, and others with
    /// `NOT_FOUND`, or `UNIMPLEMENTED` for other services.
    pub(super) fn grpc(&self, path: &str, answers: HashMap<&'static str, &'static [u8]>) {
        let listener = self.listen(path);
        listener.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer_calls(stream, answers.clone()));
                }
            });
        });
    }
}

/// Reads the head of a request.
fn head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        head.extend_from_slice(&byte);
    }
    String::from_utf8_lossy(&head).into_owned()
}

async fn answer_calls(
    stream: tokio::net::UnixStream,
    answers: HashMap<&'static str, &'static [u8]>,
) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let method = request.uri().path();
        let (status, body) = match answers.get(method) {
            Some(body) => ("0", Some(*body)),
            None if method.starts_with("/runtime.v1.") => ("5", None),
            None => ("12", None),
        };
        let mut response = Response::new(());
        response
            .headers_mut()
            .insert("content-type", HeaderValue::from_static("application/grpc"));
        let mut stream = respond.send_response(response, false).unwrap();
        if let Some(body) = body {
            let mut framed = BytesMut::new();
            framed.put_u8(0);
            framed.put_u32(u32::try_from(body.len()).unwrap());
            framed.put_slice(body);
            stream.send_data(Bytes::from(framed), false).unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        stream.send_trailers(trailers).unwrap();
    }
}

/// Where a socket lies.
pub(super) fn exists(system: &System, path: &str) -> bool {
    system.root().join(path).exists()
}
