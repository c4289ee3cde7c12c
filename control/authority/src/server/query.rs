//! The query parameters that requests may have.

use super::page::Continue;
use super::selector::Selector;
use crate::error::ApiError;
use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

/// What becomes of unknown fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// What of the object a row of a table carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

/// How close a list must be to the revision that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    NotOlderThan,
    Exact,
}

/// The parameters of one request; `strict` says which of them it may have.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    pub(super) watch: bool,
    /// `None` where the client said nothing, which differs from "0" at a watch.
    pub(super) revision: Option<u64>,
    /// How `revision` is meant at a list.
    pub(super) revision_match: Option<Match>,
    /// Objects of one page; `None` for all.
    pub(super) limit: Option<usize>,
    /// Where the page before ended.
    pub(super) resume: Option<Continue>,
    pub(super) timeout: Option<Duration>,
    pub(super) bookmarks: bool,
    pub(super) initial_events: bool,
    pub(super) selector: Selector,
    pub(super) dry_run: bool,
    pub(super) field_validation: FieldValidation,
    pub(super) include: Include,
    /// What a DELETE says in the URL.
    pub(super) deletion: Deletion,
}

/// How dependents of a deleted object fare, and how soon it goes. Nothing depends on a CSR and each
/// goes at once, so that all of it comes to the same; what makes no sense is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Deletion {
    pub(super) grace_period_seconds: Option<i64>,
    pub(super) propagation_policy: Option<String>,
    pub(super) orphan_dependents: Option<bool>,
}

impl Deletion {
    /// Refuses what upstream refuses (`apis/meta/v1/validation`).
    pub(super) fn check(&self) -> Result<(), ApiError> {
        let policy = self.propagation_policy.as_deref();
        if policy.is_some() && self.orphan_dependents.is_some() {
            return Err(ApiError::bad_request(
                "propagationPolicy: orphanDependents and propagationPolicy cannot be both set",
            ));
        }
        if let Some(policy) = policy
            && !["Background", "Foreground", "Orphan"].contains(&policy)
        {
            return Err(ApiError::bad_request(format!(
                "propagationPolicy: {policy:?} is not supported; use Background, Foreground or Orphan"
            )));
        }
        if self.grace_period_seconds.is_some_and(|seconds| seconds < 0) {
            let message = "gracePeriodSeconds: must be greater than or equal to 0";
            return Err(ApiError::bad_request(message));
        }
        Ok(())
    }
}

impl Query {
    /// Reads the part of a URL after the question mark.
    pub(super) fn parse(query: &str) -> Result<Self, ApiError> {
        let mut read = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            read.take(key, &decode(value)?)?;
        }
        read.agrees()?;
        Ok(read)
    }

    /// Refuses parameters that contradict each other, as upstream does
    /// (`apis/internalversion/validation`, `storage/etcd3/store.go`).
    fn agrees(&self) -> Result<(), ApiError> {
        let revision = self.revision.unwrap_or_default();
        self.deletion.check()?;
        let problem = if self.watch && self.initial_events && self.revision_match.is_none() {
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch \
             to NotOlderThan"
        } else if self.watch && self.revision_match.is_some() && !self.initial_events {
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless \
             sendInitialEvents is provided"
        } else if self.watch && self.revision_match == Some(Match::Exact) {
            "resourceVersionMatch: Forbidden: \"Exact\" is forbidden for watch"
        } else if self.resume.is_some() && revision != 0 {
            "specifying resource version is not allowed when using continue"
        } else if self.resume.is_some() && self.revision_match.is_some() {
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided"
        } else if self.revision_match.is_some() && self.revision.is_none() && !self.initial_events {
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion \
             is provided"
        } else if self.revision_match == Some(Match::Exact) && revision == 0 {
            "resourceVersionMatch: Forbidden: resourceVersionMatch \"Exact\" is forbidden for \
             resourceVersion \"0\""
        } else {
            return Ok(());
        };
        Err(ApiError::bad_request(problem))
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), ApiError> {
        match (key, value) {
            ("watch", _) => self.watch = boolean(value),
            ("allowWatchBookmarks", _) => self.bookmarks = boolean(value),
            ("sendInitialEvents", _) => self.initial_events = boolean(value),
            ("fieldSelector", _) => self.selector.add_fields(value)?,
            ("labelSelector", _) => self.selector.add_labels(value)?,
            ("timeoutSeconds", _) => {
                self.timeout = Some(Duration::from_secs(number(key, value)?));
            }
            ("resourceVersionMatch", "") => self.revision_match = None,
            ("continue", "") => self.resume = None,
            ("fieldValidation", "" | "Warn") => self.field_validation = FieldValidation::Warn,
            ("includeObject", "None") => self.include = Include::None,
            ("includeObject", "Object") => self.include = Include::Object,
            ("includeObject", _) => self.include = Include::Metadata,
            // What is left of the others says nothing when it is empty.
            (_, "") => {}
            ("resourceVersion", _) => self.revision = Some(number(key, value)?),
            ("resourceVersionMatch", "NotOlderThan") => {
                self.revision_match = Some(Match::NotOlderThan);
            }
            ("resourceVersionMatch", "Exact") => self.revision_match = Some(Match::Exact),
            ("resourceVersionMatch", _) => {
                return Err(unsupported(key, value, "Exact or NotOlderThan"));
            }
            // As upstream: nothing, and less, means all.
            ("limit", _) => {
                let limit: i64 = number(key, value)?;
                self.limit = usize::try_from(limit).ok().filter(|limit| *limit > 0);
            }
            ("continue", _) => self.resume = Some(Continue::decode(value)?),
            ("dryRun", "All") => self.dry_run = true,
            ("dryRun", _) => return Err(unsupported(key, value, "All")),
            ("fieldValidation", "Ignore") => self.field_validation = FieldValidation::Ignore,
            ("fieldValidation", "Strict") => self.field_validation = FieldValidation::Strict,
            ("fieldValidation", _) => {
                return Err(unsupported(key, value, "Ignore, Warn or Strict"));
            }
            // As upstream (`ValidateFieldManager`).
            ("fieldManager", _)
                if value.chars().count() > 128 || value.chars().any(char::is_control) =>
            {
                let message = "fieldManager: must be at most 128 printable characters";
                return Err(ApiError::bad_request(message));
            }
            ("gracePeriodSeconds", _) => {
                self.deletion.grace_period_seconds = Some(number(key, value)?);
            }
            ("propagationPolicy", _) => self.deletion.propagation_policy = Some(value.to_owned()),
            ("orphanDependents", _) => self.deletion.orphan_dependents = Some(boolean(value)),
            _ => {}
        }
        Ok(())
    }
}

fn number<T: FromStr>(key: &str, value: &str) -> Result<T, ApiError> {
    let wrong = |_| ApiError::bad_request(format!("{key}: {value:?} is no number"));
    value.parse().map_err(wrong)
}

fn unsupported(key: &str, value: &str, instead: &str) -> ApiError {
    ApiError::bad_request(format!("{key}: {value:?} is not supported; use {instead}"))
}

/// Go's `ParseBool`, and present without a value.
fn boolean(value: &str) -> bool {
    matches!(value, "" | "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// Undoes percent encoding and `+` (application/x-www-form-urlencoded).
pub(super) fn decode(text: &str) -> Result<Cow<'_, str>, ApiError> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    let wrong = || ApiError::bad_request("the URL has a broken escape");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, after) = rest.split_at_checked(2).ok_or_else(wrong)?;
                let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
                bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
                rest = after;
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_reads_what_a_reflector_sends() {
        let query = Query::parse(
            "allowWatchBookmarks=true&fieldSelector=metadata.name%3Dcsr-x&resourceVersion=12\
             &timeoutSeconds=403&watch=true",
        )
        .unwrap();
        assert!(query.watch && query.bookmarks && !query.initial_events);
        assert_eq!(query.revision, Some(12));
        assert_eq!(query.timeout, Some(Duration::from_secs(403)));
    }

    #[test]
    fn parse_refuses_what_makes_no_sense() {
        for query in [
            "resourceVersion=x",
            "limit=many",
            "limit=99999999999999999999",
            "continue=x",
            "continue=!",
            "resourceVersionMatch=Exact",
            "resourceVersion=0&resourceVersionMatch=Exact",
            "resourceVersion=1&resourceVersionMatch=Older",
            // {"v":"meta.k8s.io/v1","rv":5,"start":"a\u0000"}
            "resourceVersion=5&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NSwic3RhcnQiOiJhXHUwMDAwIn0",
            "timeoutSeconds=-1",
            "dryRun=Some",
            "fieldValidation=Loose",
            "fieldSelector=a%3",
            "fieldSelector=%ff%3d1",
            "fieldSelector=spec.colour%3Dred",
            "labelSelector=a%20in%20b",
            "watch=1&sendInitialEvents=true",
            "watch=1&resourceVersion=1&resourceVersionMatch=NotOlderThan",
            "watch=1&sendInitialEvents=true&resourceVersion=1&resourceVersionMatch=Exact",
            "propagationPolicy=Never",
            "propagationPolicy=Orphan&orphanDependents=true",
            "gracePeriodSeconds=-1",
            "gracePeriodSeconds=soon",
        ] {
            let error = Query::parse(query).unwrap_err();
            assert_eq!(error.code.as_u16(), 400, "{query}");
        }
    }
}
