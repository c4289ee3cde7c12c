//! What a client reads instead of a server's reply: words for a person, in the form that kubectl
//! shows.
//!
//! kubectl takes the body of a refused upgrade for a Kubernetes Status if it can be read as one, be
//! it YAML: plain words with a colon can, and come out as an empty message. So that is what it gets.
//! The reply to any other request to a kubelet goes into an error of the API server as it is. A
//! client of the Kubernetes API reads a Status in every error.

use crate::limits::ERROR_BODY;
use eyesplice_proto::head::ResponseHead;
use eyesplice_proto::headers::{HeaderName, HeaderValue};
use eyesplice_proto::serialize::write_response;
use std::fmt::Write as _;

/// How words are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are.
    Words,
    /// In a `Status` object.
    Status,
}

/// A body and its media type.
pub(crate) struct Body {
    pub(crate) media_type: &'static str,
    pub(crate) text: String,
}

/// A reply of the gateway's own.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Body,
    /// The connection ends behind it.
    pub(crate) closes: bool,
    /// It answers a HEAD.
    pub(crate) bodiless: bool,
}

impl Reply {
    /// An error behind which the connection ends.
    pub(crate) fn error(status: u16, detail: &str, form: Form) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body(status, detail, form),
            closes: true,
            bodiless: false,
        }
    }

    /// The bytes.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let Body { media_type, text } = self.body;
        let mut head = ResponseHead::new(self.status, "");
        for (name, value) in self.headers {
            head.headers.append(name, value);
        }
        let mut line = |name: &'static str, value: HeaderValue| {
            head.headers.set(HeaderName::from_static(name), value);
        };
        line("Content-Type", HeaderValue::from_static(media_type));
        line("Content-Length", HeaderValue::from(text.len() as u64));
        if self.closes {
            line("Connection", HeaderValue::from_static("close"));
        }
        let mut bytes = Vec::new();
        write_response(&head, &mut bytes);
        if !self.bodiless {
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }
}

/// Says why.
fn body(code: u16, detail: &str, form: Form) -> Body {
    let detail = &detail[..detail.floor_char_boundary(ERROR_BODY)];
    let words = format!("eyesplice: {detail}");
    match form {
        Form::Status => Body {
            media_type: JSON,
            text: status(code, &words),
        },
        Form::Words => Body {
            media_type: "text/plain; charset=utf-8",
            text: words,
        },
    }
}

/// The media type of a Status.
pub(crate) const JSON: &str = "application/json";

/// A `Status` as k8s.io/apimachinery pkg/apis/meta/v1 has it.
fn status(code: u16, message: &str) -> String {
    let reason = match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        405 => "MethodNotAllowed",
        500 => "InternalError",
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
        let told = body(403, "exec is denied: by \"me\"\t\\", Form::Status);
        assert_eq!(told.media_type, "application/json");
        assert_eq!(
            told.text,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#.to_string()
                + r#""message":"eyesplice: exec is denied: by \"me\"\u0009\\","#
                + r#""reason":"Forbidden","code":403}"#
        );
        assert!(
            body(502, "", Form::Status)
                .text
                .ends_with(r#""reason":"","code":502}"#)
        );
    }

    #[test]
    fn body_of_another_request_is_words_in_one_line() {
        let body = body(403, "logs is denied", Form::Words);
        assert_eq!(body.media_type, "text/plain; charset=utf-8");
        assert_eq!(body.text, "eyesplice: logs is denied");
    }

    #[test]
    fn body_is_cut_between_characters() {
        let body = body(502, &"ä".repeat(ERROR_BODY), Form::Words);
        assert_eq!(body.text.len(), "eyesplice: ".len() + ERROR_BODY);
    }

    #[test]
    fn reply_to_a_head_request_says_how_long_its_body_would_be() {
        let reply = Reply {
            headers: vec![(
                HeaderName::from_static("Content-Length"),
                HeaderValue::from(1),
            )],
            closes: false,
            bodiless: true,
            ..Reply::error(503, "no", Form::Words)
        };
        let bytes = String::from_utf8(reply.bytes()).unwrap();
        let lines = "Content-Length: 13\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n";
        assert!(bytes.ends_with(lines), "{bytes}");
        assert!(!bytes.contains("Connection"), "{bytes}");
    }
}
