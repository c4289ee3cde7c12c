//! Refuses what a request asks for and this server does not do: nothing that changes the meaning of a
//! request is passed over.
//!
//! An API server ignores what it does not know, too, but it knows all of this. A client that believes
//! to act as another user, to try something only, or to write under a condition must not be left in
//! that belief.

use crate::error::ApiError;
use eyesplice_proto::hop::Identity;
use hyper::Method;
use hyper::header::{CONTENT_ENCODING, HeaderMap};

/// Conditions of a write, which this server takes in `metadata.resourceVersion` and in preconditions.
const CONDITIONS: [&str; 3] = ["if-match", "if-none-match", "if-unmodified-since"];

/// Headers by which some servers take another method than the one in the first line.
const METHODS: [&str; 3] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// Refuses headers that would have this request mean something else.
pub(super) fn headers(method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
    for name in headers.keys() {
        match Identity::of(name.as_str()) {
            Some(Identity::Impersonate) => {
                return Err(ApiError::denied(format!(
                    "users are forbidden: this authority lets nobody act as somebody else ({name}); \
                     leave --as, --as-group and --as-uid out, and act-as in the kubeconfig, or use a \
                     credential of that user"
                )));
            }
            Some(Identity::Remote) => {
                return Err(ApiError::denied(format!(
                    "users are forbidden: this authority believes no front proxy ({name}); have the \
                     client connect here by itself, or let the header out"
                )));
            }
            // Where a request came from changes nothing here.
            Some(Identity::Forwarded) | None => {}
        }
    }
    let given = |names: &[&'static str]| names.iter().copied().find(|n| headers.contains_key(*n));
    if let Some(name) = given(&METHODS) {
        let message = format!("{name} is not supported; send the request by that method");
        return Err(ApiError::bad_request(message));
    }
    let writes = !matches!(*method, Method::GET | Method::HEAD);
    if let (true, Some(name)) = (writes, given(&CONDITIONS)) {
        return Err(ApiError::bad_request(format!(
            "{name} is not supported; put the version into metadata.resourceVersion, or into the \
             preconditions of a DELETE"
        )));
    }
    let coding = headers.get_all(CONTENT_ENCODING).iter();
    let mut coded = coding.filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    match coded.next() {
        Some(_) => Err(ApiError::content_encoding()),
        None => Ok(()),
    }
}

/// What is done to CSRs, as far as parameters differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Get,
    List,
    Watch,
    /// POST, PUT, PATCH.
    Write,
    Delete,
}

use Operation::{Delete, Get, List, Watch, Write};

/// Parameters that change the meaning of a request, with the operations that know each.
const PARAMETERS: [(&str, &[Operation]); 21] = [
    ("watch", &[List, Watch]),
    ("allowWatchBookmarks", &[List, Watch]),
    ("sendInitialEvents", &[Watch]),
    ("resourceVersion", &[Get, List, Watch]),
    ("resourceVersionMatch", &[List, Watch]),
    ("limit", &[List, Watch]),
    ("continue", &[List]),
    ("timeoutSeconds", &[List, Watch]),
    ("fieldSelector", &[List, Watch]),
    ("labelSelector", &[List, Watch]),
    // Nothing is changed by those that do not know it.
    ("dryRun", &[Get, List, Watch, Write, Delete]),
    ("fieldValidation", &[Write]),
    // Nobody's fields are told apart, so it has no effect; every kubectl sends it.
    ("fieldManager", &[Write]),
    ("gracePeriodSeconds", &[Delete]),
    ("propagationPolicy", &[Delete]),
    ("orphanDependents", &[Delete]),
    // Of form alone.
    ("includeObject", &[Get, List, Watch, Write, Delete]),
    ("pretty", &[Get, List, Watch, Write, Delete]),
    ("timeout", &[Get, List, Watch, Write, Delete]),
    // Nobody knows them.
    ("force", &[]),
    ("shardSelector", &[]),
];

/// Refuses parameters of a URL that this operation does not obey. Those that nobody has heard of are
/// passed over where something is read, as upstream does.
pub(super) fn parameters(operation: Operation, query: &str) -> Result<(), ApiError> {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let known = PARAMETERS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key));
        match known {
            Some((name, _)) if *name != key => {
                let message = format!("{key:?} is no parameter; did you mean {name:?}?");
                return Err(ApiError::bad_request(message));
            }
            Some((name, by)) if !value.is_empty() && !by.contains(&operation) => {
                let message = format!("{name}: is not supported here; leave it out");
                return Err(ApiError::bad_request(message));
            }
            Some(_) => {}
            None if matches!(operation, Get | List | Watch) => {}
            None => {
                let message = format!("{key:?} is no parameter of this request; leave it out");
                return Err(ApiError::bad_request(message));
            }
        }
        // Go takes the first one, others take the last.
        let other = seen
            .iter()
            .find(|(name, was)| *name == key && *was != value);
        if let (true, Some((name, _))) = (key != "fieldSelector" && key != "labelSelector", other) {
            let message = format!("{name}: is given twice, with different values");
            return Err(ApiError::bad_request(message));
        }
        seen.push((key, value));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &Method, name: &str, value: &str) -> Result<(), u16> {
        let name = hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap();
        let given = HeaderMap::from_iter([(name, value.parse().unwrap())]);
        headers(method, &given).map_err(|error| error.code.as_u16())
    }

    #[test]
    fn headers_that_mean_somebody_or_something_else_are_refused() {
        for (name, code) in [
            ("Impersonate-User", 403),
            ("impersonate-group", 403),
            ("Impersonate-Uid", 403),
            ("Impersonate-Extra-scopes", 403),
            ("Impersonate_User", 403),
            ("X-Remote-User", 403),
            ("X-Remote-Group", 403),
            ("x-remote-extra-acme", 403),
            ("X-HTTP-Method-Override", 400),
            ("If-Match", 400),
            ("If-Unmodified-Since", 400),
            ("Content-Encoding", 415),
        ] {
            assert_eq!(of(&Method::POST, name, "gzip"), Err(code), "{name}");
        }
        assert_eq!(of(&Method::GET, "Impersonate-User", "x"), Err(403));
        for (method, name, value) in [
            (Method::GET, "If-None-Match", "\"a\""),
            (Method::POST, "Content-Encoding", "Identity"),
            (Method::POST, "X-Forwarded-For", "10.0.0.1"),
            (Method::POST, "Accept-Encoding", "gzip"),
        ] {
            assert_eq!(of(&method, name, value), Ok(()), "{name}");
        }
    }

    #[test]
    fn parameters_that_an_operation_does_not_obey_are_refused() {
        let of =
            |operation, query| parameters(operation, query).map_err(|error| error.code.as_u16());
        for (operation, query) in [
            (Get, "watch=true"),
            (Get, "labelSelector=a%3Db"),
            (List, "sendInitialEvents=true"),
            (Watch, "continue=x"),
            (List, "shardSelector=a"),
            (List, "resourceversion=1"),
            (List, "limit=1&limit=2"),
            (Write, "force=true"),
            (Write, "dryrun=All"),
            (Write, "dryRun=All&dryRun="),
            (Write, "resourceVersion=1"),
            (Write, "colour=red"),
            (Delete, "fieldSelector=metadata.name%3Da"),
            (
                Delete,
                "ignoreStoreReadErrorWithClusterBreakingPotential=true",
            ),
        ] {
            assert_eq!(of(operation, query), Err(400), "{operation:?} {query}");
        }
        for (operation, query) in [
            (Get, "timeout=32s&colour=red"),
            (List, "limit=500&fieldSelector=a%3Db&fieldSelector=c%3Dd"),
            (
                Write,
                "fieldManager=kubectl-create&fieldValidation=Strict&dryRun=All&force=",
            ),
            (Delete, "propagationPolicy=Background&gracePeriodSeconds=0"),
        ] {
            assert_eq!(of(operation, query), Ok(()), "{operation:?} {query}");
        }
    }
}
