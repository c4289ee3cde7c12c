//! How long, how fast and how deep a delayed line is.

use super::Line;
use crate::{Error, Result};
use bytesize::ByteSize;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::time::Duration;

/// What a direction holds at most where no bandwidth is given: sixteen connections that the kernel
/// lets have 4 MiB in flight each (its default for `tcp_wmem`).
const WINDOW: u64 = 64 << 20;

/// What it holds at least: a few dozen segments as large as the kernel hands them over.
const LEAST: u64 = 4 << 20;

/// A delayed line between the proxy and the far end.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LineOptions {
    /// Puts the far end behind a line with this round-trip time; a packet is held for half of it, each way.
    /// Needs root and /dev/net/tun
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    #[serde(with = "time")]
    pub delay: Option<Duration>,
    /// Bits a second of that line, each way, as in 100Mbit or 1Gbit [default: as fast as this machine goes]
    #[arg(long, requires = "delay", value_name = "BITS")]
    pub bandwidth: Option<Bandwidth>,
    /// Bytes that each way holds at most; a packet that does not fit is lost, as in a router [default:
    /// bandwidth times one and a half delays, or 64MiB without a bandwidth]
    #[arg(long, requires = "delay", value_name = "BYTES")]
    pub window: Option<ByteSize>,
}

impl LineOptions {
    /// Lays the line, if one is wanted.
    pub(crate) fn lay(&self) -> Result<Option<Line>> {
        self.delay.map(|_| Line::lay(self)).transpose()
    }

    /// Bytes that one direction holds at most. Half of bandwidth times delay is on its way; what waits
    /// behind that for the line to be free is a router's queue, one bandwidth times delay by the old
    /// rule of thumb.
    pub(super) fn window(&self) -> usize {
        let window = match (self.window, self.bandwidth, self.delay) {
            (Some(window), ..) => window.as_u64(),
            (None, Some(bandwidth), Some(delay)) => {
                let bytes = bandwidth.0 as f64 / 8.0 * delay.as_secs_f64();
                ((bytes * 1.5) as u64).max(LEAST)
            }
            _ => WINDOW,
        };
        usize::try_from(window).unwrap_or(usize::MAX)
    }
}

/// Bits a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bandwidth(u64);

impl Bandwidth {
    /// How long the line is busy with so many bytes.
    pub(super) fn time(self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 * 8.0 / self.0 as f64)
    }
}

const UNITS: [(&str, u64); 4] = [
    ("Gbit", 1_000_000_000),
    ("Mbit", 1_000_000),
    ("kbit", 1000),
    ("bit", 1),
];

impl FromStr for Bandwidth {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let bits = UNITS.iter().find_map(|(unit, factor)| {
            let number: u64 = word.strip_suffix(unit)?.trim().parse().ok()?;
            number.checked_mul(*factor)
        });
        match bits {
            Some(bits) if bits > 0 => Ok(Self(bits)),
            _ => Err(Error::Unfit(format!(
                "bandwidth {word:?} is no whole number of bit, kbit, Mbit or Gbit"
            ))),
        }
    }
}

impl TryFrom<String> for Bandwidth {
    type Error = Error;

    fn try_from(word: String) -> Result<Self> {
        word.parse()
    }
}

impl From<Bandwidth> for String {
    fn from(Bandwidth(bits): Bandwidth) -> Self {
        let unit = UNITS.iter().find(|(_, factor)| bits % factor == 0);
        let (unit, factor) = unit.copied().unwrap_or(("bit", 1));
        format!("{}{unit}", bits / factor)
    }
}

/// A time in a file, in the words of the command line.
mod time {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let text = time.map(|time| humantime::format_duration(time).to_string());
        text.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        let time = text.map(|text| humantime::parse_duration(&text));
        time.transpose().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_is_read_and_written_in_its_units() {
        for (word, bits) in [
            ("1Gbit", 1_000_000_000),
            ("100Mbit", 100_000_000),
            ("64kbit", 64_000),
            ("7bit", 7),
        ] {
            let bandwidth: Bandwidth = word.parse().unwrap();
            assert_eq!(bandwidth, Bandwidth(bits));
            assert_eq!(String::from(bandwidth), word);
        }
        for word in ["", "0bit", "1", "1GB", "-1bit", "99999999999Gbit"] {
            assert!(word.parse::<Bandwidth>().is_err(), "{word}");
        }
    }

    #[test]
    fn window_is_given_or_follows_from_bandwidth_and_delay() {
        let mut options = LineOptions {
            delay: Some(Duration::from_millis(100)),
            ..LineOptions::default()
        };
        assert_eq!(options.window(), 64 << 20);
        options.bandwidth = Some(Bandwidth(1_000_000_000));
        assert_eq!(options.window(), 18_750_000);
        options.bandwidth = Some(Bandwidth(1000));
        assert_eq!(options.window(), 4 << 20);
        options.window = Some(ByteSize::kib(100));
        assert_eq!(options.window(), 102_400);
    }

    #[test]
    fn file_has_the_words_of_the_command_line() {
        let text = "{delay: 60ms, bandwidth: 1Gbit, window: 2MiB}";
        let options: LineOptions = serde_saphyr::from_str(text).unwrap();
        assert_eq!(options.delay, Some(Duration::from_millis(60)));
        assert_eq!(options.window(), 2 << 20);
        let again = serde_json::to_string(&options).unwrap();
        assert_eq!(
            serde_json::from_str::<LineOptions>(&again).unwrap(),
            options
        );
    }
}
