//! `--listen`: where metrics are served.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;

use super::output;
use crate::{
    privileges::Keep,
    sinks::{
        Sink,
        metrics::{
            Metrics, StoreFigures,
            server::{Limits, Server},
        },
    },
    vitals::Vitals,
};

/// Where nothing else is said.
pub(super) const DEFAULT: &str = "127.0.0.1:9737";

/// Reads an address. One without a host is on this machine only.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let host = if matches!(host, "" | "localhost") {
        "127.0.0.1"
    } else {
        host
    };
    format!("{host}:{port}").parse().map_err(|_| {
        format!(
            "it must be an address and a port, for example {DEFAULT}, [::1]:9737 or 0.0.0.0:9737"
        )
    })
}

/// Starts serving; the sink is to go behind those that write records. `keep`: of its
/// privileges, what the thread keeps.
pub(super) fn serve(
    at: SocketAddr,
    vitals: &Arc<Vitals>,
    store: Option<Arc<dyn StoreFigures>>,
    keep: Keep,
) -> Result<(Server, Box<dyn Sink>)> {
    let (sink, page) = Metrics::new(Arc::clone(vitals), store);
    let server = Server::start(at, page, Limits::default(), keep)?;
    let address = server.address();
    let readers = if address.ip().is_loopback() {
        ""
    } else {
        ", for everybody who reaches that address"
    };
    output::remark(&format!("metrics at http://{address}/metrics{readers}"));
    Ok((server, Box::new(sink)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_host_is_on_this_machine() {
        for (typed, read) in [
            (DEFAULT, DEFAULT),
            ("9737", DEFAULT),
            (":0", "127.0.0.1:0"),
            ("localhost:80", "127.0.0.1:80"),
            ("0.0.0.0:9737", "0.0.0.0:9737"),
            ("[::1]:9737", "[::1]:9737"),
        ] {
            assert_eq!(address(typed).map(|at| at.to_string()), Ok(read.to_owned()));
        }
        for typed in ["", "127.0.0.1", "::1", "node:9737", "127.0.0.1:99999"] {
            assert!(
                address(typed).is_err_and(|error| error.contains(DEFAULT)),
                "{typed}"
            );
        }
    }
}
