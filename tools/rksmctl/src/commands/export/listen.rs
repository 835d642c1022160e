// SPDX-License-Identifier: GPL-2.0

//! Metrics over HTTP: one request a connection, and no more time for it than it needs, as any user of
//! the machine may connect.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{anyhow, Result};
use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

use super::metrics::Reader;
use crate::{signals::Stop, system::System};

/// So many are answered at a time.
const CONNECTIONS: usize = 8;
/// How long one may take to ask, and again to take the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of what is asked, at most.
const HEAD: usize = 8 << 10;

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
    let stop = Stop::block()?;
    let listener = TcpListener::bind(address).map_err(|error| {
        anyhow!("cannot listen at {address}: {error}; --listen takes another port")
    })?;
    // Nothing is left to be put in order.
    stop.then(|| std::process::exit(0))?;
    eprintln!(
        "metrics at http://{}/metrics; Ctrl-C ends it",
        listener.local_addr()?
    );
    let reader = Mutex::new(Reader::new(processes));
    let metrics = || {
        let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader.text(system)
    };
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| loop {
                match listener.accept() {
                    // Who asked may have gone.
                    Ok((stream, _)) => drop(serve(stream, metrics)),
                    // There may be too many open files for now.
                    Err(_) => thread::sleep(Duration::from_millis(100)),
                }
            });
        }
    });
    Ok(())
}

fn serve(mut stream: TcpStream, metrics: impl FnOnce() -> Result<String>) -> io::Result<()> {
    let head = ask(&mut stream)?;
    let text = answer(&head, metrics).to_string();
    let end = Instant::now() + PATIENCE;
    let mut left = text.as_bytes();
    while !left.is_empty() {
        stream.set_write_timeout(Some(until(end)?))?;
        match stream.write(left)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => left = &left[written..],
        }
    }
    // What is not read before the end would have the answer thrown away.
    stream.shutdown(Shutdown::Write)?;
    while receive(&mut stream, end, &mut [0; 4096])? > 0 {}
    Ok(())
}

/// The lines of what is asked, as far as they are wanted.
fn ask(stream: &mut TcpStream) -> io::Result<String> {
    let end = Instant::now() + PATIENCE;
    let mut head = vec![0; HEAD];
    let mut length = 0;
    while length < HEAD && !head[..length].windows(4).any(|end| end == b"\r\n\r\n") {
        match receive(stream, end, &mut head[length..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => length += more,
        }
    }
    let head = String::from_utf8_lossy(&head[..length]);
    // Without an end it is too long, or what follows is none of it.
    Ok(head.split_once("\r\n\r\n").map_or("", |head| head.0).into())
}

fn receive(stream: &mut TcpStream, end: Instant, into: &mut [u8]) -> io::Result<usize> {
    stream.set_read_timeout(Some(until(end)?))?;
    stream.read(into)
}

/// The time that is left.
fn until(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    // To wait no time at all would mean for ever.
    (!left.is_zero())
        .then_some(left)
        .ok_or_else(|| io::ErrorKind::TimedOut.into())
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    text: String,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, kind, text } = self;
        let length = text.len();
        write!(
            f,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
             Allow: GET\r\nConnection: close\r\n\r\n{text}"
        )
    }
}

fn answer(head: &str, metrics: impl FnOnce() -> Result<String>) -> Answer {
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let words = [first.next(), first.next(), first.next(), first.next()];
    let say = |status, text: &str| Answer {
        status,
        kind: "text/plain; charset=utf-8",
        text: text.into(),
    };
    let [Some(method), Some(target), Some("HTTP/1.0" | "HTTP/1.1"), None] = words else {
        return say("400 Bad Request", "it takes GET /metrics HTTP/1.1\n");
    };
    if !lines.filter_map(host).all(is_here) {
        // A page in a browser may have its own host's name lead here.
        return say(
            "403 Forbidden",
            "it answers to localhost and to loopback addresses only\n",
        );
    }
    let path = target.split('?').next().unwrap_or_default();
    match (method, path) {
        ("GET", "/metrics") => match metrics() {
            Ok(text) => Answer {
                kind: CONTENT_TYPE,
                ..say("200 OK", &text)
            },
            Err(error) => say("503 Service Unavailable", &format!("{error:#}\n")),
        },
        ("GET", "/") => say("200 OK", "rksmctl export: the metrics are at /metrics\n"),
        ("GET", _) => say("404 Not Found", "the metrics are at /metrics\n"),
        _ => say("405 Method Not Allowed", "it takes GET only\n"),
    }
}

/// What the line says that has the host which is meant.
fn host(line: &str) -> Option<&str> {
    let (name, value) = line.split_once(':')?;
    name.eq_ignore_ascii_case("host").then(|| value.trim())
}

fn is_here(host: &str) -> bool {
    let colon = host.rfind(':').filter(|_| !host.ends_with(']'));
    let name = &host[..colon.unwrap_or(host.len())];
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = address.parse().ok();
    name.eq_ignore_ascii_case("localhost") || address.is_some_and(|address| address.is_loopback())
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

    #[test]
    fn hosts() {
        for here in [
            "localhost",
            "LOCALHOST:9188",
            "127.0.0.1",
            "127.0.0.1:9188",
            "[::1]",
            "[::1]:9188",
        ] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in [
            "",
            "example.org",
            "example.org:9188",
            "127.0.0.1.example.org",
            "192.0.2.1:9188",
            "localhost.example.org",
        ] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn what_is_asked() {
        let status = |head: &str| {
            let answer = answer(head, || Ok("ksm_run 1\n".into()));
            let number = answer.status.split_once(' ').unwrap().0;
            number.parse::<u16>().unwrap()
        };
        let statuses: [(&str, u16); 9] = [
            ("GET /metrics HTTP/1.1\r\nhost:localhost", 200),
            ("GET /metrics?x HTTP/1.0", 200),
            ("GET /x HTTP/1.1\r\nHost: [::1]:1", 404),
            ("HEAD /metrics HTTP/1.1\r\nHost: [::1]:1", 405),
            ("GET /metrics HTTP/1.1\r\nHost: example.org", 403),
            (
                "GET /metrics HTTP/1.1\r\nHost: ::1\r\nHost: example.org",
                403,
            ),
            ("GET /metrics HTTP/2", 400),
            ("GET /metrics", 400),
            ("", 400),
        ];
        for (head, wanted) in statuses {
            assert_eq!(status(head), wanted, "{head}");
        }
    }
}
