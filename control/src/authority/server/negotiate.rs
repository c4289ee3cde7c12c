//! What a client wants to read: an object as it is, or a table for people.

use crate::authority::error::ApiError;
use hyper::header::{ACCEPT, HeaderMap};

/// What can be written.
const KNOWN: &str = "application/json, application/json;as=Table;v=v1;g=meta.k8s.io";

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The object.
    Object,
    /// Rows and columns, in this version of `meta.k8s.io`.
    Table(&'static str),
}

/// Chooses the first form of the Accept header that can be written. Weights (`q=`) are not looked
/// at: no Kubernetes client sends them, and upstream's order counts, too.
pub(super) fn form(headers: &HeaderMap) -> Result<Form, ApiError> {
    let values: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .map(|value| value.to_str().unwrap_or_default())
        .collect();
    let accept = values.join(",");
    if accept.trim().is_empty() {
        return Ok(Form::Object);
    }
    accept
        .split(',')
        .find_map(clause)
        .ok_or_else(|| ApiError::not_acceptable(KNOWN))
}

fn clause(clause: &str) -> Option<Form> {
    let mut parts = clause.split(';').map(str::trim);
    let media_type = parts.next()?.to_ascii_lowercase();
    if !matches!(
        media_type.as_str(),
        "application/json" | "application/*" | "*/*"
    ) {
        return None;
    }
    let (mut kind, mut group, mut version, mut stream) = (None, None, None, None);
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        match key {
            "as" => kind = Some(value),
            "g" => group = Some(value),
            "v" => version = Some(value),
            "stream" => stream = Some(value),
            _ => {}
        }
    }
    if stream.is_some_and(|stream| stream != "watch") {
        return None;
    }
    match (kind, group, version) {
        (None, ..) => Some(Form::Object),
        (Some("Table"), Some("meta.k8s.io"), Some("v1")) => Some(Form::Table("v1")),
        (Some("Table"), Some("meta.k8s.io"), Some("v1beta1")) => Some(Form::Table("v1beta1")),
        (Some(_), ..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> Result<Form, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        form(&headers).map_err(|error| error.code.as_u16())
    }

    #[test]
    fn form_is_what_clients_ask_for() {
        for (accept, expected) in [
            ("", Ok(Form::Object)),
            ("*/*", Ok(Form::Object)),
            ("application/json, */*", Ok(Form::Object)),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Ok(Form::Object),
            ),
            (
                "application/vnd.kubernetes.protobuf;stream=watch,application/json;stream=watch",
                Ok(Form::Object),
            ),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;\
                 g=meta.k8s.io,application/json",
                Ok(Form::Table("v1")),
            ),
            (
                "application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json",
                Ok(Form::Table("v1beta1")),
            ),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                 application/json",
                Ok(Form::Object),
            ),
            ("application/vnd.kubernetes.protobuf", Err(406)),
            ("application/yaml", Err(406)),
            (
                "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
                Err(406),
            ),
        ] {
            assert_eq!(of(accept), expected, "{accept}");
        }
    }
}
