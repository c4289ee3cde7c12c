//! The form in which an exposition is sent: OpenMetrics to a client that asks for it, else
//! Prometheus' text format.

use std::fmt::{self, Write};

/// How an exposition is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4, which every tool reads.
    Text,
}

impl Form {
    /// Chooses by an Accept header (RFC 9110, section 12.5.1); without one it is empty.
    pub fn accepted(accept: &str) -> Self {
        let (mut openmetrics, mut text) = (0.0, 0.0);
        for entry in accept.split(',') {
            let mut parts = entry.split(';').map(str::trim);
            let best = match parts.next().map(str::to_ascii_lowercase).as_deref() {
                Some("application/openmetrics-text") => &mut openmetrics,
                Some("text/plain") => &mut text,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
            *best = f32::max(*best, quality.unwrap_or(1.0));
        }
        if openmetrics > 0.0 && openmetrics >= text {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The media type of an answer.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Writes what the registry wrote as OpenMetrics, without families that have no sample: a
    /// process shows only what it has.
    pub(super) fn write(self, openmetrics: &str) -> Result<String, fmt::Error> {
        let mut written = String::with_capacity(openmetrics.len());
        let mut family = Family::default();
        for line in openmetrics.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                // What is still here is of a family without a sample.
                family = Family::default();
                family.help = rest.split_once(' ').map(|(_, help)| help);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                family.kind = rest.split_once(' ');
            } else if let Some(rest) = line.strip_prefix("# UNIT ") {
                family.unit = Some(rest);
            } else if line == "# EOF" {
                if self == Self::OpenMetrics {
                    written.push_str("# EOF\n");
                }
            } else {
                std::mem::take(&mut family).write(self, &mut written)?;
                writeln!(written, "{line}")?;
            }
        }
        Ok(written)
    }
}

/// What stands above the samples of a family.
#[derive(Default)]
struct Family<'a> {
    /// Its name and type.
    kind: Option<(&'a str, &'a str)>,
    help: Option<&'a str>,
    /// Its name and unit.
    unit: Option<&'a str>,
}

impl Family<'_> {
    /// Writes it, once.
    fn write(self, form: Form, written: &mut String) -> fmt::Result {
        let Some((name, kind)) = self.kind else {
            return Ok(());
        };
        // The text format has the sample's name, and fewer types.
        let (suffix, kind) = match (form, kind) {
            (Form::Text, "counter") => ("_total", "counter"),
            (Form::Text, "info") => ("_info", "gauge"),
            (Form::Text, "unknown") => ("", "untyped"),
            (_, kind) => ("", kind),
        };
        if let Some(help) = self.help {
            writeln!(written, "# HELP {name}{suffix} {help}")?;
        }
        writeln!(written, "# TYPE {name}{suffix} {kind}")?;
        match (form, self.unit) {
            (Form::OpenMetrics, Some(unit)) => writeln!(written, "# UNIT {unit}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_is_openmetrics_only_where_it_is_asked_for_and_wanted_most() {
        for (accept, form) in [
            ("", Form::Text),
            ("*/*", Form::Text),
            ("text/plain", Form::Text),
            ("application/openmetrics-text", Form::OpenMetrics),
            (
                "Application/OpenMetrics-Text; version=1.0.0",
                Form::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4",
                Form::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0,\
                 application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,\
                 */*;q=0.1",
                Form::OpenMetrics,
            ),
            (
                "application/openmetrics-text;q=0.3, text/plain;q=0.9",
                Form::Text,
            ),
            ("application/openmetrics-text;q=0", Form::Text),
            ("application/openmetrics-text;q=loud", Form::OpenMetrics),
            (",;=,q=", Form::Text),
        ] {
            assert_eq!(Form::accepted(accept), form, "{accept}");
        }
    }

    const REGISTRY: &str = "\
# HELP a_build Version.
# TYPE a_build info
a_build_info{version=\"1\"} 1
# HELP a_ended Ends.
# TYPE a_ended counter
a_ended_total{by=\"x\"} 2
a_ended_total{by=\"y\"} 3
# HELP a_none Nothing.
# TYPE a_none counter
# HELP a_time_seconds Time.
# TYPE a_time_seconds histogram
# UNIT a_time_seconds seconds
a_time_seconds_sum 1.5
a_time_seconds_count 1
a_time_seconds_bucket{le=\"+Inf\"} 1
# HELP a_last Nothing either.
# TYPE a_last gauge
# EOF
";

    #[test]
    fn text_names_counters_by_their_samples_and_leaves_out_what_is_empty() {
        let text = "\
# HELP a_build_info Version.
# TYPE a_build_info gauge
a_build_info{version=\"1\"} 1
# HELP a_ended_total Ends.
# TYPE a_ended_total counter
a_ended_total{by=\"x\"} 2
a_ended_total{by=\"y\"} 3
# HELP a_time_seconds Time.
# TYPE a_time_seconds histogram
a_time_seconds_sum 1.5
a_time_seconds_count 1
a_time_seconds_bucket{le=\"+Inf\"} 1
";
        assert_eq!(Form::Text.write(REGISTRY).unwrap(), text);
    }

    #[test]
    fn openmetrics_stays_as_it_is_but_for_what_is_empty() {
        let left = REGISTRY
            .replace("# HELP a_none Nothing.\n# TYPE a_none counter\n", "")
            .replace("# HELP a_last Nothing either.\n# TYPE a_last gauge\n", "");
        assert_eq!(Form::OpenMetrics.write(REGISTRY).unwrap(), left);
    }
}
