//! Request bodies in, within bounds; response bodies out, whole or as a stream of events.

use super::call::Asked;
use super::negotiate::{Form, form};
use super::query::{Deletion, FieldValidation};
use crate::error::ApiError;
use crate::object::{CertificateSigningRequest, DeleteOptions, Review};
use crate::{limits, object};
use eyesplice_identity::protobuf::MEDIA_TYPE;
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
    let found = (&*decoded.object.kind, &*decoded.object.api_version);
    expect(found, (object::KIND, object::API_VERSION))?;
    Ok(decoded)
}

/// Refuses another kind or version. A client that knows the URL may leave them out, as Go's does in
/// protobuf.
fn expect((kind, version): (&str, &str), own: (&str, &str)) -> Result<(), ApiError> {
    if (kind.is_empty() || kind == own.0) && (version.is_empty() || version == own.1) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "{kind} in version {version} cannot be handled as a {}",
        own.0
    )))
}

/// Decodes JSON.
pub(super) fn json(body: &[u8]) -> Result<Decoded, ApiError> {
    let (object, unknown) = known(body)?;
    Ok(Decoded { object, unknown })
}

/// Decodes JSON, and lists the fields in it that nobody knows.
fn known<T: DeserializeOwned>(body: &[u8]) -> Result<(T, Vec<String>), ApiError> {
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
    let object = object.map_err(|error| not_json(&error))?;
    Ok((object, unknown))
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
    let options: DeleteOptions = match encoding(headers)? {
        // A condition or a trial with a slip in it would delete what it was to keep.
        Encoding::Json => match known(body)? {
            (options, unknown) if unknown.is_empty() => options,
            (_, unknown) => {
                return Err(ApiError::bad_request(format!(
                    "DeleteOptions cannot be handled: unknown fields: {}",
                    unknown.join(", ")
                )));
            }
        },
        Encoding::Protobuf => {
            object::decode_delete_options(body).map_err(|e| ApiError::bad_request(e.to_string()))?
        }
    };
    if !matches!(options.kind.as_str(), "" | "DeleteOptions") {
        return Err(ApiError::bad_request(format!(
            "{} in version {} cannot be handled as a DeleteOptions",
            options.kind, options.api_version
        )));
    }
    if let Some(other) = options.dry_run.iter().find(|each| *each != "All") {
        let message = format!("dryRun: {other:?} is not supported; use All");
        return Err(ApiError::bad_request(message));
    }
    if options.ignore_store_read_error == Some(true) {
        let message =
            "ignoreStoreReadErrorWithClusterBreakingPotential: is not supported; leave it out";
        return Err(ApiError::bad_request(message));
    }
    let deletion = Deletion {
        grace_period_seconds: options.grace_period_seconds,
        propagation_policy: options.propagation_policy.clone(),
        orphan_dependents: options.orphan_dependents,
    };
    deletion.check()?;
    Ok(options)
}

/// Decodes a merge patch. A strategic one is the same for every field that it may change here: maps
/// of text.
pub(super) fn patch(headers: &HeaderMap, body: &[u8]) -> Result<Value, ApiError> {
    match media_type(headers).as_deref() {
        Some("application/merge-patch+json") => parse(body),
        Some("application/strategic-merge-patch+json") => {
            let patch = parse(body)?;
            match directive(&patch) {
                None => Ok(patch),
                Some(key) => Err(ApiError::bad_request(format!(
                    "directive {key:?} of a strategic merge patch is not supported; send \
                     application/merge-patch+json, where null deletes"
                ))),
            }
        }
        Some(_) | None => Err(ApiError::media_type(ACCEPTED_PATCHES)),
    }
}

/// Finds an instruction of a strategic merge patch, which would be a field's name otherwise.
fn directive(patch: &Value) -> Option<&str> {
    match patch {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            let instructs = key.starts_with('$');
            instructs
                .then_some(key.as_str())
                .or_else(|| directive(value))
        }),
        Value::Array(entries) => entries.iter().find_map(directive),
        _ => None,
    }
}

/// Decodes a question, whose answer must be wanted in JSON. Older kubectls ask in JSON, 1.33 in
/// protobuf.
pub(super) fn review<S>(asked: &Asked, own: (&str, &str), body: &[u8]) -> Result<S, ApiError>
where
    S: prost::Message + Default + DeserializeOwned,
{
    if form(&asked.headers)? != Form::Object {
        return Err(ApiError::not_acceptable("application/json"));
    }
    let review: Review<S> = match encoding(&asked.headers)? {
        Encoding::Json => match known(body)? {
            (_, unknown)
                if !unknown.is_empty()
                    && asked.query.field_validation == FieldValidation::Strict =>
            {
                return Err(ApiError::bad_request(format!(
                    "strict decoding error: unknown fields: {}",
                    unknown.join(", ")
                )));
            }
            (review, _) => review,
        },
        Encoding::Protobuf => {
            object::decode_review(body).map_err(|e| ApiError::bad_request(e.to_string()))?
        }
    };
    expect((&review.kind, &review.api_version), own)?;
    Ok(review.spec)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| not_json(&error))
}
