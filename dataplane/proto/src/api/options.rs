//! Reads the query of a stream as the API server does, and writes the kubelet's.
//!
//! API servers skip names that they do not know, take the first of repeated values and almost
//! anything for true. A later one may know the name, so such queries are unclear here.

use std::fmt;

use thiserror::Error;

use super::form::{encode, pairs};
use super::{Subresource, is_label};

/// Why only the API server can say what a query means. Never shows it: it may hold a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unclear {
    /// An encoding is broken, or a pair is empty or has a `;`.
    #[error("the query is not in form encoding")]
    Encoding,
    /// A parameter has no known equal at the kubelet.
    #[error("the query has a parameter that has no equal at the kubelet")]
    Unknown,
    /// A parameter that may stand once stands twice.
    #[error("the query has parameter {0} more than once")]
    Repeated(&'static str),
    /// A value is not in its plainest form, or no API server would take it.
    #[error("the query has an unusual value of parameter {0}")]
    Value(&'static str),
    /// What the kubelet does without a parameter depends on the API server's version.
    #[error("the query leaves parameter {0} out")]
    Missing(&'static str),
    /// Two parameters exclude each other.
    #[error("the query has both {0} and {1}")]
    Both(&'static str, &'static str),
    /// A container or UID could not be one, or the kubelet's path has no place for it.
    #[error("a name cannot stand in the kubelet's path")]
    Name,
}

/// Holds what a query asks for, as the kubelet will be asked. `Debug` shows no value.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    container: Option<Box<str>>,
    previous: bool,
    /// Names of the kubelet in order, with decoded values.
    wanted: Vec<(&'static str, Vec<u8>)>,
}

impl Options {
    /// Gives the container that was asked for.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        self.container.as_deref()
    }

    /// Says whether the log of the container's run before is wanted.
    #[must_use]
    pub const fn previous(&self) -> bool {
        self.previous
    }

    /// Appends the kubelet's query, with its `?`.
    pub(super) fn write_query(&self, out: &mut String) {
        for (index, (name, value)) in self.wanted.iter().enumerate() {
            out.push(if index == 0 { '?' } else { '&' });
            out.push_str(name);
            out.push('=');
            encode(value, out);
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.wanted.iter().map(|(name, _)| name).collect();
        f.debug_struct("Options")
            .field("container", &self.container)
            .field("wanted", &names)
            .finish_non_exhaustive()
    }
}

/// Reads the query of a stream.
///
/// # Errors
/// `Unclear`: let the API server read it.
pub fn options(subresource: Subresource, query: Option<&str>) -> Result<Options, Unclear> {
    let mut read = Read::default();
    for pair in pairs(query.unwrap_or_default()) {
        let (name, value) = pair?;
        let known = |it: &&Parameter| it.name.as_bytes() == name && it.of.contains(&subresource);
        let parameter = PARAMETERS.iter().find(known).ok_or(Unclear::Unknown)?;
        read.take(parameter, value)?;
    }
    read.finish(subresource)
}

/// A parameter that API server and kubelet both have.
struct Parameter {
    /// Its name at the API server.
    name: &'static str,
    /// Its name at the kubelet; none: it is part of the path.
    kubelet: Option<&'static str>,
    kind: Kind,
    of: &'static [Subresource],
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A name of a container.
    Container,
    /// True, or false and then left out. The kubelet reads this for true.
    Flag(&'static str),
    /// Any text, any number of times.
    Texts,
    /// Numbers of ports, any number of times; one list for the kubelet.
    Ports,
    /// A whole number, this or more.
    Number(u64),
    /// A time of RFC 3339, in whole seconds.
    Time,
}

const STREAMS: &[Subresource] = &[Subresource::Exec, Subresource::Attach];
const LOG: &[Subresource] = &[Subresource::Log];

const fn parameter(
    name: &'static str,
    kubelet: &'static str,
    kind: Kind,
    of: &'static [Subresource],
) -> Parameter {
    Parameter {
        name,
        kubelet: Some(kubelet),
        kind,
        of,
    }
}

/// All of them, in the order of the kubelet's names.
const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: CONTAINER,
        kubelet: None,
        kind: Kind::Container,
        of: &[Subresource::Exec, Subresource::Attach, Subresource::Log],
    },
    parameter(COMMAND, "command", Kind::Texts, &[Subresource::Exec]),
    parameter("stderr", "error", Kind::Flag("1"), STREAMS),
    parameter("follow", "follow", Kind::Flag("true"), LOG),
    parameter("stdin", "input", Kind::Flag("1"), STREAMS),
    parameter("limitBytes", "limitBytes", Kind::Number(1), LOG),
    parameter("stdout", "output", Kind::Flag("1"), STREAMS),
    parameter("ports", "port", Kind::Ports, &[Subresource::PortForward]),
    parameter("previous", "previous", Kind::Flag("true"), LOG),
    parameter(SINCE_SECONDS, SINCE_SECONDS, Kind::Number(1), LOG),
    parameter(SINCE_TIME, SINCE_TIME, Kind::Time, LOG),
    parameter("tailLines", "tailLines", Kind::Number(0), LOG),
    parameter("timestamps", "timestamps", Kind::Flag("true"), LOG),
    parameter("tty", "tty", Kind::Flag("1"), STREAMS),
];

const COMMAND: &str = "command";
const CONTAINER: &str = "container";
const SINCE_SECONDS: &str = "sinceSeconds";
const SINCE_TIME: &str = "sinceTime";

/// What was read of a query so far.
#[derive(Default)]
struct Read {
    container: Option<Box<str>>,
    /// Names of the API server that stood there.
    seen: Vec<&'static str>,
    wanted: Vec<(&'static str, Vec<u8>)>,
    ports: Vec<u8>,
}

impl Read {
    fn take(&mut self, parameter: &Parameter, value: Vec<u8>) -> Result<(), Unclear> {
        let name = parameter.name;
        let repeats = matches!(parameter.kind, Kind::Texts | Kind::Ports);
        if self.seen.contains(&name) && !repeats {
            return Err(Unclear::Repeated(name));
        }
        self.seen.push(name);
        let unusual = Unclear::Value(name);
        let wanted = match parameter.kind {
            Kind::Container => {
                let text = str::from_utf8(&value).map_err(|_| unusual)?;
                if !is_label(text) {
                    return Err(unusual);
                }
                self.container = Some(text.into());
                return Ok(());
            }
            Kind::Flag(set) => match flag(&value).ok_or(unusual)? {
                true => set.as_bytes().to_vec(),
                false => return Ok(()),
            },
            Kind::Texts => value,
            Kind::Ports => {
                if !value.split(|byte| *byte == b',').all(is_port) {
                    return Err(unusual);
                }
                if !self.ports.is_empty() {
                    self.ports.push(b',');
                }
                self.ports.extend(value);
                return Ok(());
            }
            Kind::Number(least) => match number(&value) {
                Some(number) if number >= least => value,
                _ => return Err(unusual),
            },
            Kind::Time if is_time(&value) => value,
            Kind::Time => return Err(unusual),
        };
        self.wanted
            .extend(parameter.kubelet.map(|name| (name, wanted)));
        Ok(())
    }

    fn finish(mut self, subresource: Subresource) -> Result<Options, Unclear> {
        let has = |name: &str| self.wanted.iter().any(|(wanted, _)| *wanted == name);
        match subresource {
            Subresource::Exec if !has(COMMAND) => return Err(Unclear::Missing(COMMAND)),
            // Some API servers want both outputs of each exec and attach, whatever is asked for.
            // With a terminal kubelets leave out the error stream.
            Subresource::Exec | Subresource::Attach if !has("output") => {
                return Err(Unclear::Missing("stdout"));
            }
            Subresource::Exec | Subresource::Attach if !has("error") && !has("tty") => {
                return Err(Unclear::Missing("stderr"));
            }
            Subresource::Log if has(SINCE_SECONDS) && has(SINCE_TIME) => {
                return Err(Unclear::Both(SINCE_SECONDS, SINCE_TIME));
            }
            _ => {}
        }
        let previous = has("previous");
        if !self.ports.is_empty() {
            self.wanted.push(("port", self.ports));
        }
        // Values of one name keep their order.
        self.wanted.sort_by_key(|(name, _)| *name);
        Ok(Options {
            container: self.container,
            previous,
            wanted: self.wanted,
        })
    }
}

/// Reads a flag as clients write it; API servers take everything else for true.
fn flag(value: &[u8]) -> Option<bool> {
    let is = |word: &str| value.eq_ignore_ascii_case(word.as_bytes());
    if is("true") || is("1") {
        Some(true)
    } else if is("false") || is("0") {
        Some(false)
    } else {
        None
    }
}

/// Reads a whole number in its only spelling, small enough for every reader.
fn number(value: &[u8]) -> Option<u64> {
    const DIGITS: usize = 18;
    let padded = value.len() > 1 && value.starts_with(b"0");
    if value.is_empty() || value.len() > DIGITS || padded || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(value).ok()?.parse().ok()
}

fn is_port(value: &[u8]) -> bool {
    number(value).is_some_and(|port| (1..=u64::from(u16::MAX)).contains(&port))
}

/// Says whether text is a time like `2026-12-01T01:02:03Z`, or with an offset like `+01:00`.
fn is_time(value: &[u8]) -> bool {
    let Some((time, zone)) = value.split_at_checked("2026-12-01T01:02:03".len()) else {
        return false;
    };
    let shaped = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                other => byte == other,
            })
    };
    let field = |text: &[u8], at: usize, length: usize| {
        let digits = text.get(at..at + length).unwrap_or_default();
        digits
            .iter()
            .fold(0_u32, |number, digit| number * 10 + u32::from(*digit & 0xf))
    };
    let zone_fits = match zone {
        b"Z" => true,
        _ => {
            (shaped(zone, b"+00:00") || shaped(zone, b"-00:00"))
                && field(zone, 1, 2) < 24
                && field(zone, 4, 2) < 60
        }
    };
    let (year, month, day) = (field(time, 0, 4), field(time, 5, 2), field(time, 8, 2));
    shaped(time, b"0000-00-00T00:00:00")
        && zone_fits
        && year > 0
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && field(time, 11, 2) < 24
        && field(time, 14, 2) < 60
        && field(time, 17, 2) < 60
}

const fn days_of(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
