//! The envelope of Kubernetes' protobuf bodies (`application/vnd.kubernetes.protobuf`).
//!
//! A body is `k8s\0` and a `runtime.Unknown`, whose `raw` is the object. Source: apimachinery
//! `pkg/runtime/generated.proto`, `pkg/runtime/serializer/protobuf/protobuf.go`.

use prost::Message;
use zeroize::Zeroizing;

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";

/// Why a body is not what its media type says.
#[derive(Debug, thiserror::Error)]
pub enum ProtobufError {
    /// The envelope is not there.
    #[error("the body does not begin with the four bytes k8s\\0")]
    Magic,
    /// The envelope or the object cannot be decoded.
    #[error("the body is no protobuf message of Kubernetes: {0}")]
    Decode(prost::DecodeError),
    /// The object is compressed or not protobuf.
    #[error("the body has content type {content_type:?} and encoding {encoding:?} inside")]
    Inside {
        /// What it says that it is.
        content_type: String,
        /// How it says that it is compressed.
        encoding: String,
    },
}

#[derive(Clone, PartialEq, Message)]
struct Unknown {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
    #[prost(string, tag = "3")]
    content_encoding: String,
    #[prost(string, tag = "4")]
    content_type: String,
}

/// Which object is inside.
#[derive(Clone, PartialEq, Message)]
pub struct TypeMeta {
    /// Group and version.
    #[prost(string, tag = "1")]
    pub api_version: String,
    /// The kind.
    #[prost(string, tag = "2")]
    pub kind: String,
}

/// Any object that has its `spec` where all have it.
#[derive(Clone, PartialEq, Message)]
struct Specified {
    #[prost(bytes = "vec", tag = "2")]
    spec: Vec<u8>,
}

/// Takes the object out of its envelope.
///
/// # Errors
/// It is no such envelope.
pub fn open(body: &[u8]) -> Result<(TypeMeta, Vec<u8>), ProtobufError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?;
    let unknown = Unknown::decode(envelope).map_err(ProtobufError::Decode)?;
    let content_type = unknown.content_type;
    let plain = content_type.is_empty() || content_type == MEDIA_TYPE;
    if !plain || !unknown.content_encoding.is_empty() {
        return Err(ProtobufError::Inside {
            content_type,
            encoding: unknown.content_encoding,
        });
    }
    Ok((unknown.type_meta.unwrap_or_default(), unknown.raw))
}

/// Takes a question's spec out, the only part of it that matters.
///
/// It may hold a token: what was copied on the way is wiped.
///
/// # Errors
/// It is no such object.
pub fn open_spec<S: Message + Default>(body: &[u8]) -> Result<(TypeMeta, S), ProtobufError> {
    let (of, raw) = open(body)?;
    let raw = Zeroizing::new(raw);
    let object = Specified::decode(raw.as_slice()).map_err(ProtobufError::Decode)?;
    let spec = Zeroizing::new(object.spec);
    let spec = S::decode(spec.as_slice()).map_err(ProtobufError::Decode)?;
    Ok((of, spec))
}

/// Puts an object into its envelope, for tests.
#[cfg(any(test, feature = "testing"))]
pub fn seal(type_meta: TypeMeta, raw: Vec<u8>) -> Vec<u8> {
    let unknown = Unknown {
        type_meta: Some(type_meta),
        raw,
        ..Unknown::default()
    };
    [MAGIC, &unknown.encode_to_vec()].concat()
}

/// Writes a question as a client would, for tests.
#[cfg(any(test, feature = "testing"))]
pub fn seal_spec(api_version: &str, kind: &str, spec: &impl Message) -> Vec<u8> {
    let of = TypeMeta {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    };
    let object = Specified {
        spec: spec.encode_to_vec(),
    };
    seal(of, object.encode_to_vec())
}
