//! One unary gRPC call over a Unix socket.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Method, Request};
use tokio::{net::UnixStream, runtime, task, time};

/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

pub(crate) fn unary(socket: &str, path: &str, message: &[u8], limit: Duration) -> Result<Vec<u8>> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answer = async {
        time::timeout(limit, exchange(socket, path, message))
            .await
            .with_context(|| format!("no answer within {} s", limit.as_secs()))?
    };
    task::LocalSet::new().block_on(&runtime, answer)
}

async fn exchange(socket: &str, path: &str, message: &[u8]) -> Result<Vec<u8>> {
    let stream = UnixStream::connect(socket)
        .await
        .with_context(|| socket.to_owned())?;
    let (client, connection) = h2::client::handshake(stream).await?;
    task::spawn_local(connection);
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (answer, mut sending) = client.ready().await?.send_request(request, false)?;
    sending.send_data(framed(message), true)?;
    let (head, mut body) = answer.await?.into_parts();
    let mut received = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        received.extend_from_slice(&chunk);
    }
    let trailers = body.trailers().await?;
    // Of a call that failed at once, the status stands in the head.
    check_status(trailers.as_ref().unwrap_or(&head.headers))?;
    unframed(&received)
}

fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    framed.freeze()
}

fn unframed(received: &[u8]) -> Result<Vec<u8>> {
    let (prefix, message) = received
        .split_first_chunk::<PREFIX_BYTES>()
        .context("an answer without a message")?;
    let [compressed, length @ ..] = *prefix;
    ensure!(compressed == 0, "a compressed answer");
    ensure!(
        u32::from_be_bytes(length) as usize == message.len(),
        "an answer cut short"
    );
    Ok(message.to_vec())
}

fn check_status(headers: &HeaderMap) -> Result<()> {
    let text = |name| {
        let value = headers.get(name).map(http::HeaderValue::as_bytes);
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    let status = text("grpc-status");
    if status != "0" {
        bail!("status {status}: {}", text("grpc-message"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_length_before_it() {
        let framed = framed(b"ab");
        assert_eq!(&framed[..], b"\0\0\0\0\x02ab");
        assert_eq!(unframed(&framed).unwrap(), b"ab");
        assert!(unframed(&framed[..6]).is_err());
        assert!(unframed(b"").is_err());
    }

    #[test]
    fn a_status_other_than_zero_is_an_error() {
        let mut headers = HeaderMap::new();
        assert!(check_status(&headers).is_err());
        headers.insert("grpc-status", "0".parse().unwrap());
        assert!(check_status(&headers).is_ok());
        headers.insert("grpc-status", "5".parse().unwrap());
        headers.insert("grpc-message", "no such pod".parse().unwrap());
        let error = check_status(&headers).unwrap_err();
        assert!(error.to_string().contains("no such pod"));
    }
}
