//! The least OpenAPI that kubectl needs before it creates or patches.
//!
//! It asks whether the server checks unknown fields itself (`fieldValidation`) and sends the object
//! unchecked if so. Older ones check by the document of version 2, and let pass what it does not
//! describe.

use super::body::Body;
use super::{discovery, respond};
use crate::error::ApiError;
use crate::object::KIND;
use eyesplice_process::BUILD;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

/// `openapi.v2.Document` with its first field, `swagger`, alone: "2.0".
const V2_PROTOBUF: &[u8] = b"\x0a\x032.0";

/// The media type of the above. Clients ask for `..v2@v1.0+protobuf`, but Go parses no `@` in an
/// answer.
const V2_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// What the paths of documents of version 3 begin with.
const V3_PREFIX: &str = "/openapi/v3/";

/// One document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Document {
    V2,
    V3Index,
    /// Of one group and version.
    V3(&'static str, &'static str),
}

impl Document {
    pub(super) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/openapi/v2" => Self::V2,
            "/openapi/v3" => Self::V3Index,
            _ => {
                let path = path.strip_prefix(V3_PREFIX)?;
                let mut known = discovery::versions();
                let (group, version) = known.find(|(g, v)| path == place(g, v))?;
                Self::V3(group, version)
            }
        })
    }
}

fn place(group: &str, version: &str) -> String {
    format!("apis/{group}/{version}")
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
        Document::V3(group, version) => Ok(respond::json(StatusCode::OK, &v3(group, version))),
    }
}

fn info() -> Value {
    json!({"title": "eyesplice authority", "version": BUILD.version})
}

fn v2() -> Value {
    json!({"swagger": "2.0", "info": info(), "paths": {}})
}

fn v3_index() -> Value {
    let entry = |(group, version)| {
        let place = place(group, version);
        let url = format!("{V3_PREFIX}{place}");
        (place, json!({"serverRelativeURL": url}))
    };
    let paths: serde_json::Map<String, Value> = discovery::versions().map(entry).collect();
    json!({"paths": paths})
}

fn v3(group: &str, version: &str) -> Value {
    let parameter = |name: &str| {
        json!({
            "name": name,
            "in": "query",
            "schema": {"type": "string", "uniqueItems": true},
        })
    };
    let parameters = json!([parameter("dryRun"), parameter("fieldValidation")]);
    let operation = |action: &str, kind: &str| {
        json!({
            "parameters": parameters,
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
        })
    };
    let mut paths = serde_json::Map::new();
    for (resource, kind) in discovery::kinds(group) {
        let path = format!("/apis/{group}/{version}/{resource}");
        if *kind == KIND {
            let one = json!({"patch": operation("patch", kind), "put": operation("put", kind)});
            paths.insert(format!("{path}/{{name}}"), one);
        }
        paths.insert(path, json!({"post": operation("post", kind)}));
    }
    json!({
        "openapi": "3.0.0",
        "info": info(),
        "paths": paths,
        "components": {"schemas": {}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_lists_what_discovery_lists_and_each_is_there() {
        let index = v3_index();
        let listed = index["paths"].as_object().unwrap();
        assert_eq!(listed.len(), discovery::versions().count());
        for (place, entry) in listed {
            let path = entry["serverRelativeURL"].as_str().unwrap();
            let document = Document::of(path).unwrap();
            let Document::V3(group, version) = document else {
                panic!("{path} is {document:?}");
            };
            assert!(discovery::Document::of(&format!("/{place}")).is_some());
            let served = v3(group, version);
            for path in served["paths"].as_object().unwrap().keys() {
                assert!(path.starts_with(&format!("/{place}/")), "{path}");
            }
        }
        assert_eq!(Document::of("/openapi/v3/apis/apps/v1"), None);
    }
}
