//! What a client reads instead of a kubelet's reply: words for a person, in the form that kubectl
//! shows.
//!
//! kubectl takes the body of a refused upgrade for a Kubernetes Status if it can be read as one, be
//! it YAML: plain words with a colon can, and come out as an empty message. So that is what it gets.
//! The reply to any other request goes into an error of the API server as it is.

use crate::limits::ERROR_BODY;
use std::fmt::Write as _;

/// A body and its media type.
pub(crate) struct Body {
    pub(crate) media_type: &'static str,
    pub(crate) text: String,
}

/// Says why to a client that asked for an upgrade, or for something else.
pub(crate) fn body(code: u16, detail: &str, upgrade: bool) -> Body {
    let detail = &detail[..detail.floor_char_boundary(ERROR_BODY)];
    let words = format!("eyesplice: {detail}");
    if upgrade {
        Body {
            media_type: "application/json",
            text: status(code, &words),
        }
    } else {
        Body {
            media_type: "text/plain; charset=utf-8",
            text: words,
        }
    }
}

/// A `Status` as k8s.io/apimachinery pkg/apis/meta/v1 has it.
fn status(code: u16, message: &str) -> String {
    let reason = match code {
        400 => "BadRequest",
        403 => "Forbidden",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    };
    let mut json = String::from(
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":""#,
    );
    for c in message.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a String has no way to fail.
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    let _ = write!(json, r#"","reason":"{reason}","code":{code}}}"#);
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_of_an_upgrade_is_a_status() {
        let told = body(403, "exec is denied: by \"me\"\t\\", true);
        assert_eq!(told.media_type, "application/json");
        assert_eq!(
            told.text,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#.to_string()
                + r#""message":"eyesplice: exec is denied: by \"me\"\u0009\\","#
                + r#""reason":"Forbidden","code":403}"#
        );
        assert!(
            body(502, "", true)
                .text
                .ends_with(r#""reason":"","code":502}"#)
        );
    }

    #[test]
    fn body_of_another_request_is_words_in_one_line() {
        let body = body(403, "logs is denied", false);
        assert_eq!(body.media_type, "text/plain; charset=utf-8");
        assert_eq!(body.text, "eyesplice: logs is denied");
    }

    #[test]
    fn body_is_cut_between_characters() {
        let body = body(502, &"ä".repeat(ERROR_BODY), false);
        assert_eq!(body.text.len(), "eyesplice: ".len() + ERROR_BODY);
    }
}
