// SPDX-License-Identifier: GPL-2.0

//! Metrics over HTTP.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use anyhow::{anyhow, Result};
use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
use tiny_http::{Header, Method, Request, Response, Server};

use super::metrics::Reader;
use crate::{signals::Stop, system::System};

/// An address of this machine that nobody outside of it can reach.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let mut all = text
        .to_socket_addrs()
        .map_err(|error| format!("{error}; it takes ADDRESS:PORT, as 127.0.0.1:9188"))?;
    let address = all.next().ok_or("it has no address")?;
    if !address.ip().is_loopback() {
        return Err(
            "not a loopback address: anybody in the network could read it, as it knows no \
             passwords; a proxy in front of it does"
                .into(),
        );
    }
    Ok(address)
}

pub fn run(system: &System, address: SocketAddr, processes: usize) -> Result<()> {
    // The server has threads.
    let stop = Stop::block()?;
    let server = Server::http(address).map_err(|error| {
        anyhow!("cannot listen at {address}: {error}; --listen takes another port")
    })?;
    let server = Arc::new(server);
    let ends = server.clone();
    stop.then(move || ends.unblock())?;
    eprintln!(
        "metrics at http://{}/metrics; Ctrl-C ends it",
        server.server_addr()
    );
    let mut reader = Reader::new(processes);
    // It ends when it is unblocked.
    for request in server.incoming_requests() {
        // Who asked may have gone.
        let _ = answer(request, || reader.text(system));
    }
    Ok(())
}

fn answer(request: Request, metrics: impl FnOnce() -> Result<String>) -> std::io::Result<()> {
    let path = request.url().split('?').next().unwrap_or_default();
    let reads = matches!(request.method(), Method::Get | Method::Head);
    let (status, text) = match (reads, path) {
        (false, _) => (405, "it takes GET only\n".into()),
        (true, "/metrics") => match metrics() {
            Ok(text) => (200, text),
            Err(error) => (503, format!("{error:#}\n")),
        },
        (true, "/") => (200, "rksmctl export: the metrics are at /metrics\n".into()),
        (true, _) => (404, "the metrics are at /metrics\n".into()),
    };
    let mut response = Response::from_string(text).with_status_code(status);
    let kind = if path == "/metrics" && status == 200 {
        CONTENT_TYPE
    } else {
        "text/plain; charset=utf-8"
    };
    if let Ok(header) = Header::from_bytes("Content-Type", kind) {
        response.add_header(header);
    }
    request.respond(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_only() {
        for good in ["127.0.0.1:9188", "127.9.9.9:1", "[::1]:9188"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in [
            "0.0.0.0:9188",
            "[::]:9188",
            "192.0.2.1:9188",
            "127.0.0.1",
            "9188",
            "",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
