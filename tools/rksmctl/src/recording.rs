// SPDX-License-Identifier: GPL-2.0

//! Recordings: a line of JSON that says what it is, then one for each sample.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    time::Duration,
};

use anyhow::{bail, Context, Result};
use serde::{de::DeserializeOwned, Deserialize, Serialize};

use crate::{
    show::plain,
    system::{counters::Counters, machine::Machine, overview::Overview, Provider},
};

const FORMAT: &str = "rksmctl-recording";
const VERSION: u32 = 1;
/// Seconds since 1970 when the year 10000 begins, which no date is written for.
const LAST: f64 = 253_402_300_799.0;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Header {
    format: String,
    version: u32,
    pub machine: Machine,
    /// At the beginning; each sample says it as well.
    pub provider: Provider,
    pub interval_millisecs: u64,
    /// Seconds since 1970.
    pub began: u64,
}

impl Header {
    pub fn new(machine: Machine, provider: Provider, interval: Duration, began: Duration) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            machine,
            provider,
            interval_millisecs: interval.as_millis() as u64,
            began: began.as_secs(),
        }
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Sample {
    /// Since the beginning.
    pub seconds: f64,
    /// Nobody merges pages where there is none.
    pub reading: Option<Reading>,
}

impl Sample {
    /// With names that do no harm.
    fn plain(mut self) -> Self {
        let reading = self.reading.as_mut();
        if let Some(settings) = reading.and_then(|reading| reading.settings.as_mut()) {
            let names = settings.iter();
            *settings = names.map(|(name, to)| (plain(name), plain(to))).collect();
        }
        self
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Reading {
    pub provider: Provider,
    /// What the scanners have used since they were started.
    pub scanner_cpu_millisecs: u64,
    /// Bytes that can be had without swapping.
    pub available: u64,
    pub counters: Counters,
    /// Left out while they are as before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<BTreeMap<String, String>>,
}

impl Reading {
    /// `before`: the settings that were written last. They are brought up to date.
    pub fn new(overview: &Overview, before: &mut BTreeMap<String, String>) -> Self {
        let settings = overview.settings.0.iter();
        let settings: BTreeMap<String, String> = settings
            .map(|(&name, value)| (name.to_owned(), value.clone()))
            .collect();
        let changed = settings != *before;
        before.clone_from(&settings);
        Self {
            provider: overview.provider,
            scanner_cpu_millisecs: overview.scanner_cpu.as_millis() as u64,
            available: overview.memory.available,
            counters: overview.counters,
            settings: changed.then_some(settings),
        }
    }
}

/// A recording that was read.
#[derive(Debug, PartialEq)]
pub struct Recording {
    pub header: Header,
    pub samples: Vec<Sample>,
    /// The last line was cut off, and is not there.
    pub cut: bool,
}

impl Recording {
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
        Self::read(BufReader::new(file)).with_context(|| name.to_string())
    }

    fn read(mut file: impl BufRead) -> Result<Self> {
        let (first, _) = line(&mut file)?.context("it is empty")?;
        let header: Header = header(&first).context("line 1")?;
        let mut recording = Self {
            header,
            samples: Vec::new(),
            cut: false,
        };
        let mut last = 0.0;
        for number in 2_u64.. {
            let Some((text, whole)) = line(&mut file)? else {
                break;
            };
            match parse::<Sample>(&text) {
                Ok(sample) if sample.seconds > LAST => bail!("line {number}: its time is none"),
                Ok(sample) if sample.seconds >= last => {
                    last = sample.seconds;
                    recording.samples.push(sample.plain());
                }
                Ok(_) => bail!("line {number}: it is older than the line before"),
                Err(_) if !whole => recording.cut = true,
                Err(error) => return Err(error.context(format!("line {number}: no sample"))),
            }
        }
        if recording.samples.is_empty() {
            bail!("it has no samples");
        }
        Ok(recording)
    }
}

/// The next line, and whether its end is there.
fn line(file: &mut impl BufRead) -> Result<Option<(Vec<u8>, bool)>> {
    let mut text = Vec::new();
    file.read_until(b'\n', &mut text)?;
    let whole = text.last() == Some(&b'\n');
    Ok((!text.is_empty()).then_some((text, whole)))
}

fn header(text: &[u8]) -> Result<Header> {
    #[derive(Deserialize)]
    struct Kind {
        format: String,
        version: u32,
    }
    let kind: Kind = parse(text).context("no recording of rksmctl record")?;
    if kind.format != FORMAT {
        bail!(
            "no recording of rksmctl record, but a {}",
            plain(&kind.format)
        );
    }
    if kind.version != VERSION {
        bail!(
            "the format has version {}, and this rksmctl reads {VERSION}: use the one that recorded it",
            kind.version
        );
    }
    let mut header: Header = parse(text)?;
    if header.began as f64 > LAST {
        bail!("its time is none");
    }
    // It may be a foreign one.
    for name in [&mut header.machine.host, &mut header.machine.kernel] {
        *name = plain(name);
    }
    Ok(header)
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| {
        // Each line is line 1 for the parser.
        let words = error.to_string();
        let words = words.split(" at line ").next().unwrap_or(&words);
        anyhow::anyhow!("column {}: {}", error.column(), plain(words))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let machine = Machine {
            host: "host".into(),
            kernel: "7.3".into(),
            cpus: 2,
            memory: 1 << 30,
            page: 4096,
        };
        let second = Duration::from_secs(1);
        Header::new(machine, Provider::Rksm, second, second)
    }

    fn text(seconds: &[f64]) -> String {
        let mut text = serde_json::to_string(&header()).unwrap() + "\n";
        for &seconds in seconds {
            let sample = Sample {
                seconds,
                reading: None,
            };
            text += &(serde_json::to_string(&sample).unwrap() + "\n");
        }
        text
    }

    fn complaint(text: &str) -> String {
        format!("{:#}", Recording::read(text.as_bytes()).unwrap_err())
    }

    #[test]
    fn what_is_written_is_read() {
        let recording = Recording::read(text(&[0.0, 1.5]).as_bytes()).unwrap();
        assert_eq!(recording.header, header());
        assert_eq!(recording.samples[1].seconds, 1.5);
        assert!(!recording.cut);
    }

    #[test]
    fn a_last_line_that_is_cut_is_passed_over() {
        let text = text(&[0.0, 1.5]);
        let last = text.lines().last().unwrap().len();
        for left in 1..last {
            let end = text.len() - 1 - left;
            let recording = Recording::read(&text.as_bytes()[..end]).unwrap();
            assert_eq!((recording.samples.len(), recording.cut), (1, true));
        }
        // Only the line feed is missing.
        let recording = Recording::read(text.trim_end().as_bytes()).unwrap();
        assert_eq!((recording.samples.len(), recording.cut), (2, false));
    }

    #[test]
    fn names_are_plain() {
        let escape = "\\u001b[2J";
        let text = text(&[0.0])
            .replace("\"host\":\"host\"", &format!("\"host\":\"{escape}\""))
            .replace("7.3", escape);
        let recording = Recording::read(text.as_bytes()).unwrap();
        let machine = recording.header.machine;
        assert_eq!([machine.host, machine.kernel], ["\u{fffd}[2J"; 2]);
        for wrong in ["rksmctl-recording", "rksm"] {
            let said = complaint(&text.replace(&format!("\"{wrong}\""), &format!("\"{escape}\"")));
            assert!(said.contains("\u{fffd}[2J"), "{said}");
            assert!(!said.contains('\u{1b}'), "{said}");
        }
    }

    #[test]
    fn what_is_damaged_is_named() {
        assert_eq!(complaint(""), "it is empty");
        assert_eq!(complaint(&text(&[])), "it has no samples");
        assert!(
            complaint("hello\n").starts_with("line 1: no recording of rksmctl record: column 1")
        );
        assert!(
            complaint(&text(&[0.0]).replace("\"version\":1", "\"version\":2"))
                .starts_with("line 1: the format has version 2")
        );
        assert_eq!(
            complaint(&text(&[0.0, 2.0, 1.0])),
            "line 4: it is older than the line before"
        );
        assert_eq!(complaint(&text(&[0.0, 1e300])), "line 3: its time is none");
        assert_eq!(
            complaint(&text(&[0.0]).replace("\"began\":1", "\"began\":253402300800")),
            "line 1: its time is none"
        );
        let damaged = text(&[0.0, 1.0, 2.0]).replace("1.0", "1.x");
        assert!(complaint(&damaged).starts_with("line 3: no sample: column "));
        assert!(complaint(&(text(&[0.0]) + "\n")).starts_with("line 3: no sample"));
    }
}
