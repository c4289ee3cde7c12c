//! CSRs as people read them (pkg/printers/internalversion/printers.go).

use super::query::Include;
use crate::object::{APPROVED, CertificateSigningRequest, DENIED, FAILED};
use eyesplice_identity::x509::CertificateRequest;
use serde_json::{Value, json};
use std::time::SystemTime;
use time::{Duration, OffsetDateTime};

/// What upstream prints where there is nothing.
const NONE: &str = "<none>";

/// Name, type, whether `-o wide` is needed, description.
const COLUMNS: [(&str, &str, bool, &str); 8] = [
    ("Name", "name", false, "Name of the request"),
    ("Age", "", false, "Time since its creation"),
    ("SignerName", "", false, "Which signer is asked"),
    ("Requestor", "", false, "Who asks"),
    (
        "RequestedDuration",
        "",
        false,
        "For how long the certificate shall be valid",
    ),
    ("Condition", "", false, "What became of it"),
    (
        "Subject",
        "",
        true,
        "Common name and organizations that are asked for",
    ),
    ("Names", "", true, "Alternative names that are asked for"),
];

/// Makes a table of objects.
pub(super) fn of<'a>(
    objects: impl Iterator<Item = &'a CertificateSigningRequest>,
    version: &str,
    include: Include,
    now: SystemTime,
    with_columns: bool,
) -> Value {
    let api_version = format!("meta.k8s.io/{version}");
    let columns = COLUMNS.map(|(name, format, wide, description)| {
        json!({
            "name": name,
            "type": "string",
            "format": format,
            "description": description,
            "priority": u8::from(wide),
        })
    });
    let now = OffsetDateTime::from(now);
    let rows: Vec<Value> = objects
        .map(|object| row(object, &api_version, include, now))
        .collect();
    let mut table = json!({
        "kind": "Table",
        "apiVersion": api_version,
        "metadata": {},
        "columnDefinitions": null,
        "rows": rows,
    });
    if with_columns {
        table["columnDefinitions"] = columns.into();
    }
    table
}

fn row(
    object: &CertificateSigningRequest,
    api_version: &str,
    include: Include,
    now: OffsetDateTime,
) -> Value {
    let (metadata, spec) = (&object.metadata, &object.spec);
    let age = metadata
        .creation_timestamp
        .map(|created| now - created.time());
    let asked = spec
        .expiration_seconds
        .map(|seconds| Duration::seconds(seconds.into()));
    let request = CertificateRequest::read(&spec.request.0).ok();
    let subject = request.as_ref().map_or_else(|| NONE.to_owned(), subject);
    let names = request.as_ref().map_or_else(|| NONE.to_owned(), names);
    let cells = json!([
        metadata.name,
        age.map_or_else(|| "<unknown>".to_owned(), human),
        spec.signer_name,
        spec.username,
        asked.map_or_else(|| NONE.to_owned(), human),
        condition(object),
        subject,
        names,
    ]);
    match include {
        Include::None => json!({"cells": cells}),
        Include::Object => json!({"cells": cells, "object": object}),
        Include::Metadata => {
            let kind = "PartialObjectMetadata";
            let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
            json!({"cells": cells, "object": object})
        }
    }
}

/// `Pending`, `Approved`, `Approved,Issued`, `Denied`, `Approved,Failed`.
fn condition(object: &CertificateSigningRequest) -> String {
    let decision = if object.has(DENIED) {
        DENIED
    } else if object.has(APPROVED) {
        APPROVED
    } else {
        "Pending"
    };
    let mut text = decision.to_owned();
    if object.has(FAILED) {
        text.push_str(",Failed");
    }
    if !object.status.certificate.is_empty() {
        text.push_str(",Issued");
    }
    text
}

fn subject(request: &CertificateRequest) -> String {
    let names = request
        .common_names()
        .into_iter()
        .map(|name| format!("CN={name}"));
    let groups = request
        .organizations()
        .into_iter()
        .map(|group| format!("O={group}"));
    joined(names.chain(groups).collect())
}

fn names(request: &CertificateRequest) -> String {
    let names = request.dns.iter().cloned();
    let names = names.chain(request.ips.iter().map(ToString::to_string));
    let names = names.chain(request.emails.iter().cloned());
    joined(names.chain(request.uris.iter().cloned()).collect())
}

fn joined(parts: Vec<String>) -> String {
    if parts.is_empty() {
        NONE.to_owned()
    } else {
        parts.join(",")
    }
}

/// Writes a duration as kubectl does (apimachinery `pkg/util/duration/duration.go`).
fn human(duration: Duration) -> String {
    let seconds = duration.whole_seconds();
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |first: i64, unit: &str, rest: i64, small: &str| {
        if rest == 0 {
            format!("{first}{unit}")
        } else {
            format!("{first}{unit}{rest}{small}")
        }
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        pair(minutes, "m", seconds % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        pair(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 192 {
        pair(days, "d", hours % 24, "h")
    } else if days < 730 {
        format!("{days}d")
    } else if days < 2920 {
        pair(days / 365, "y", days % 365, "d")
    } else {
        format!("{}y", days / 365)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn human_writes_as_kubectl_does() {
        for (seconds, expected) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (130, "2m10s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_200, "8d"),
            (31_536_000, "365d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ] {
            assert_eq!(human(Duration::seconds(seconds)), expected, "{seconds}");
        }
    }
}
