//! Request bodies in, within bounds; response bodies out, whole or as a stream of events.

use crate::authority::error::ApiError;
use crate::authority::limits;
use crate::authority::object::{self, CertificateSigningRequest, DeleteOptions, Review};
use crate::protobuf::MEDIA_TYPE;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// What a client may send.
const ACCEPTED: &str = "application/json, application/vnd.kubernetes.protobuf";

/// What a client may send to PATCH.
const ACCEPTED_PATCHES: &str =
    "application/merge-patch+json, application/strategic-merge-patch+json";

/// An answer's body.
#[derive(Debug)]
pub(super) enum Body {
    Whole(Full<Bytes>),
    /// Ends when its sender is gone.
    Stream(mpsc::Receiver<Bytes>),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(context),
            Self::Stream(stream) => {
                let next = stream.poll_recv(context);
                next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => hyper::body::Body::size_hint(whole),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// Reads a whole request body.
pub(super) async fn read(body: Incoming) -> Result<Bytes, ApiError> {
    // A length that is announced is refused before the body is asked for (Expect: 100-continue).
    if body.size_hint().lower() > limits::BODY as u64 {
        return Err(ApiError::too_large(limits::BODY));
    }
    let limited = Limited::new(body, limits::BODY).collect();
    match timeout(limits::BODY_TIMEOUT, limited).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::too_large(limits::BODY)),
        Ok(Err(_)) => Err(ApiError::bad_request(
            "the body of the request is not complete",
        )),
        Err(_) => Err(ApiError::bad_request(
            "the body of the request did not arrive in time",
        )),
    }
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Json,
    Protobuf,
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    match media_type(headers).as_deref() {
        None | Some("application/json") => Ok(Encoding::Json),
        Some(MEDIA_TYPE) => Ok(Encoding::Protobuf),
        Some(_) => Err(ApiError::media_type(ACCEPTED)),
    }
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().unwrap_or("unreadable");
    let media_type = value.split(';').next().unwrap_or_default();
    Some(media_type.trim().to_ascii_lowercase())
}

/// An object of a body, and the fields that nobody knows.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) object: CertificateSigningRequest,
    pub(super) unknown: Vec<String>,
}

/// Decodes a CSR in JSON or protobuf.
pub(super) fn decode(headers: &HeaderMap, body: &[u8]) -> Result<Decoded, ApiError> {
    let decoded = match encoding(headers)? {
        Encoding::Json => json(body)?,
        Encoding::Protobuf => Decoded {
            object: object::decode(body).map_err(|e| ApiError::bad_request(e.to_string()))?,
            unknown: Vec::new(),
        },
    };
    // A client that knows the URL may leave them out, as Go's does in protobuf.
    let CertificateSigningRequest {
        kind, api_version, ..
    } = &decoded.object;
    let wrong_kind = !kind.is_empty() && kind != object::KIND;
    let wrong_version = !api_version.is_empty() && api_version != object::API_VERSION;
    if wrong_kind || wrong_version {
        return Err(ApiError::bad_request(format!(
            "{} in version {} cannot be handled as a {}",
            decoded.object.kind,
            decoded.object.api_version,
            object::KIND
        )));
    }
    Ok(decoded)
}

fn json(body: &[u8]) -> Result<Decoded, ApiError> {
    let mut unknown = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let object = serde_ignored::deserialize(&mut deserializer, |path| {
        // Each names a field of a body of bounded size; a message needs a few of them.
        const NAMED: usize = 10;
        if unknown.len() < NAMED {
            // `?` stands for a value that may be null.
            unknown.push(path.to_string().replace(".?", ""));
        }
    });
    let object = object.and_then(|object| deserializer.end().map(|()| object));
    match object {
        Ok(object) => Ok(Decoded { object, unknown }),
        Err(error) => Err(not_json(&error)),
    }
}

fn not_json(error: &serde_json::Error) -> ApiError {
    ApiError::bad_request(format!(
        "the body of the request cannot be decoded: {error}"
    ))
}

/// Decodes the options of a DELETE, which may be absent.
pub(super) fn delete_options(headers: &HeaderMap, body: &[u8]) -> Result<DeleteOptions, ApiError> {
    if body.is_empty() {
        return Ok(DeleteOptions::default());
    }
    match encoding(headers)? {
        Encoding::Json => parse(body),
        Encoding::Protobuf => {
            object::decode_delete_options(body).map_err(|e| ApiError::bad_request(e.to_string()))
        }
    }
}

/// Decodes a merge patch. A strategic one is the same for every field that it may change here: maps
/// of text.
pub(super) fn patch(headers: &HeaderMap, body: &[u8]) -> Result<Value, ApiError> {
    match media_type(headers).as_deref() {
        Some("application/merge-patch+json" | "application/strategic-merge-patch+json") => {
            parse(body)
        }
        Some(_) | None => Err(ApiError::media_type(ACCEPTED_PATCHES)),
    }
}

/// Decodes a question. Older kubectls ask in JSON, 1.33 in protobuf.
pub(super) fn review<S>(headers: &HeaderMap, body: &[u8]) -> Result<Review<S>, ApiError>
where
    S: prost::Message + Default + DeserializeOwned,
{
    match encoding(headers)? {
        Encoding::Json => parse(body),
        Encoding::Protobuf => {
            object::decode_review(body).map_err(|e| ApiError::bad_request(e.to_string()))
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| not_json(&error))
}
