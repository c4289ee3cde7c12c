//! The least OpenAPI that kubectl needs before it creates or patches.
//!
//! It asks whether the server checks unknown fields itself (`fieldValidation`) and sends the object
//! unchecked if so. Older ones check by the document of version 2, and let pass what it does not
//! describe.

use super::body::Body;
use super::respond;
use crate::authority::error::ApiError;
use crate::authority::object::{GROUP, KIND};
use crate::cli::BUILD;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

/// `openapi.v2.Document` with its first field, `swagger`, alone: "2.0".
const V2_PROTOBUF: &[u8] = b"\x0a\x032.0";

/// The media type of the above. Clients ask for `..v2@v1.0+protobuf`, but Go parses no `@` in an
/// answer.
const V2_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Where the document of our group is.
const V3_PATH: &str = "/openapi/v3/apis/certificates.k8s.io/v1";

/// One document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Document {
    V2,
    V3Index,
    V3,
}

impl Document {
    pub(super) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/openapi/v2" => Self::V2,
            "/openapi/v3" => Self::V3Index,
            V3_PATH => Self::V3,
            _ => return None,
        })
    }
}

/// Answers with a document.
pub(super) fn answer(document: Document, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let accept = accept.unwrap_or_default();
    let protobuf = accept.contains("protobuf");
    let json_too = accept.is_empty() || accept.contains("json") || accept.contains("*/*");
    match document {
        Document::V2 if protobuf => Ok(respond::bytes_of(
            StatusCode::OK,
            HeaderValue::from_static(V2_TYPE),
            Bytes::from_static(V2_PROTOBUF),
        )),
        _ if !json_too => Err(ApiError::not_acceptable("application/json")),
        Document::V2 => Ok(respond::json(StatusCode::OK, &v2())),
        Document::V3Index => Ok(respond::json(StatusCode::OK, &v3_index())),
        Document::V3 => Ok(respond::json(StatusCode::OK, &v3())),
    }
}

fn info() -> Value {
    json!({"title": "eyesplice authority", "version": BUILD.version})
}

fn v2() -> Value {
    json!({"swagger": "2.0", "info": info(), "paths": {}})
}

fn v3_index() -> Value {
    json!({"paths": {"apis/certificates.k8s.io/v1": {"serverRelativeURL": V3_PATH}}})
}

fn v3() -> Value {
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let kind = json!({"group": GROUP, "version": "v1", "kind": KIND});
    let parameter = |name: &str| {
        json!({
            "name": name,
            "in": "query",
            "schema": {"type": "string", "uniqueItems": true},
        })
    };
    let parameters = json!([parameter("dryRun"), parameter("fieldValidation")]);
    let operation = |action: &str| {
        json!({
            "parameters": parameters,
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind,
        })
    };
    json!({
        "openapi": "3.0.0",
        "info": info(),
        "paths": {
            path: {"post": operation("post")},
            format!("{path}/{{name}}"): {"patch": operation("patch"), "put": operation("put")},
        },
        "components": {"schemas": {}},
    })
}
