//! Words an answer in place of the API server's: a `Status`, as it writes them.

use eyesplice_dataplane::seam::{ApiAnswer, ApiLabels, ApiPath, Reason};
use eyesplice_proto::headers::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value as Json;

/// `Status` of `meta/v1`, its fields in the order of the API server.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Metadata,
    status: &'static str,
    message: &'a str,
    reason: &'a str,
    code: u16,
}

#[derive(Serialize)]
struct Metadata {}

/// What is answered, and what is told of it here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'a> {
    /// The HTTP status.
    pub(super) code: u16,
    /// `reason` of the object.
    pub(super) reason: &'a str,
    /// `message` of the object, for the user.
    pub(super) message: &'a str,
    /// Why, for audit and log.
    pub(super) told: &'a str,
    /// The same as a label.
    pub(super) label: Reason,
}

/// The API server's own answer to who is not known to it.
pub(super) const UNAUTHORIZED: &str = "Unauthorized";

/// Builds the answer.
pub(super) fn answer(generation: u64, words: Words<'_>, labels: ApiLabels) -> ApiAnswer {
    ApiAnswer {
        generation,
        status: words.code,
        reason: words.label,
        words: words.told.into(),
        headers: vec![(
            HeaderName::from_static("Cache-Control"),
            HeaderValue::from_static("no-cache, private"),
        )],
        body: object(words.code, words.reason, words.message),
        labels: ApiLabels {
            path: ApiPath::Answered,
            ..labels
        },
    }
}

/// Builds an answer that gives what was asked for.
pub(super) fn given(generation: u64, object: &Json, told: &str, labels: ApiLabels) -> ApiAnswer {
    let words = Words {
        code: 200,
        reason: "",
        message: "",
        told,
        label: Reason::Completed,
    };
    ApiAnswer {
        body: format!("{object}\n"),
        ..answer(generation, words, labels)
    }
}

/// Writes the object as the API server does, a line feed behind it.
fn object(code: u16, reason: &str, message: &str) -> String {
    let status = Status {
        kind: "Status",
        api_version: "v1",
        metadata: Metadata {},
        status: "Failure",
        message,
        reason,
        code,
    };
    // Strings and numbers have no way to fail.
    let mut text = serde_json::to_string(&status).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_is_the_api_servers_own_byte_for_byte() {
        assert_eq!(
            object(401, UNAUTHORIZED, UNAUTHORIZED),
            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\
             \"message\":\"Unauthorized\",\"reason\":\"Unauthorized\",\"code\":401}\n"
        );
    }
}
