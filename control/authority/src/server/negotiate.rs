//! What a client wants to read: an object as it is, or a table for people.

use crate::error::ApiError;
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

/// Chooses the form of the Accept header that weighs most (RFC 9110, section 12.4.2) and can be written;
/// of equal ones the first, as upstream.
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
    let mut weighed: Vec<(u16, &str)> = accept.split(',').map(|c| (weight(c), c)).collect();
    weighed.retain(|(weight, _)| *weight > 0);
    weighed.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    let mut clauses = weighed.into_iter();
    clauses
        .find_map(|(_, text)| clause(text))
        .ok_or_else(|| ApiError::not_acceptable(KNOWN))
}

/// The weight of a clause in thousandths; what cannot be read counts in full, as Go reads it.
fn weight(clause: &str) -> u16 {
    let parts = clause.split(';').skip(1).map(str::trim);
    let weight = parts
        .filter_map(|part| part.split_once('='))
        .find(|(key, _)| key.eq_ignore_ascii_case("q"))
        .and_then(|(_, value)| value.parse::<f64>().ok())
        .filter(|weight| (0.0..=1.0).contains(weight));
    let thousandths = weight.unwrap_or(1.0) * 1000.0;
    // From 0 to 1000 by the filter above.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is in range"
    )]
    let thousandths = thousandths as u16;
    thousandths
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
            (
                "application/json;q=0.5, application/json;as=Table;v=v1;g=meta.k8s.io;q=0.9",
                Ok(Form::Table("v1")),
            ),
            ("application/yaml, */*;q=0.1", Ok(Form::Object)),
            ("application/json;q=0", Err(406)),
            ("application/json;q=0, application/yaml", Err(406)),
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
