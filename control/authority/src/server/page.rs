//! Pages of a list: which objects are on one, and where the next begins.
//!
//! The first page fixes a revision, and the token for the next carries it: what is listed in pieces is
//! one state, whatever changes meanwhile. The state is rebuilt from the changes that are kept for
//! watches; once those are gone the token has expired, and the client is told as upstream tells it
//! (apiserver `pkg/storage/continue.go`, `pkg/storage/etcd3/errors.go`).

use super::query::{Match, Query};
use crate::error::ApiError;
use crate::store::{Listing, Object, Store};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The version of the token's form.
const VERSION: &str = "meta.k8s.io/v1";

/// Longest token: a name of 253 bytes, each escaped, in base64.
const TOKEN: usize = 4096;

/// Stands in a token for "whatever is current": the rest of a list that expired.
const CURRENT: i64 = -1;

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Continue {
    v: String,
    /// The revision that is listed, or -1.
    rv: i64,
    /// The first key of the next page: the last name and a zero byte, as upstream.
    start: String,
}

impl Continue {
    fn new(revision: Option<u64>, last: &str) -> Self {
        let rv = revision.and_then(|revision| i64::try_from(revision).ok());
        Self {
            v: VERSION.to_owned(),
            rv: rv.unwrap_or(CURRENT),
            start: format!("{last}\0"),
        }
    }

    /// Reads a token that a client hands back.
    pub(super) fn decode(token: &str) -> Result<Self, ApiError> {
        let bad = |why: &str| ApiError::bad_request(format!("continue key is not valid: {why}"));
        if token.len() > TOKEN {
            return Err(bad("it is too long"));
        }
        let json = BASE64URL_NOPAD.decode(token.as_bytes());
        let json = json.map_err(|_| bad("it is no token of this server"))?;
        let read: Self =
            serde_json::from_slice(&json).map_err(|_| bad("it is no token of this server"))?;
        if read.v != VERSION {
            return Err(bad("its version is not known"));
        }
        if read.rv == 0 || read.rv < CURRENT {
            return Err(bad(
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ));
        }
        if read.start.is_empty() {
            return Err(bad("empty encoded start key (version meta.k8s.io/v1)"));
        }
        Ok(read)
    }

    /// Writes it for a client.
    pub(super) fn encode(&self) -> String {
        let json = json!({"v": self.v, "rv": self.rv, "start": self.start});
        BASE64URL_NOPAD.encode(json.to_string().as_bytes())
    }

    fn revision(&self) -> Option<u64> {
        u64::try_from(self.rv).ok()
    }

    /// The same place of what is there now.
    fn of_current(&self) -> Self {
        Self {
            rv: CURRENT,
            ..self.clone()
        }
    }
}

/// One page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) objects: Vec<Object>,
    /// The list's own metadata.
    pub(super) metadata: Value,
}

/// Lists what `means` selects, as far as the query asks.
pub(super) fn page(
    store: &Store,
    query: &Query,
    means: impl Fn(&Object) -> bool,
) -> Result<Page, ApiError> {
    let Listing { objects, revision } = listing(store, query)?;
    let start = query.resume.as_ref().map_or("", |resume| &resume.start);
    let mut objects: Vec<Object> = objects
        .into_iter()
        .filter(|object| object.metadata.name.as_str() >= start && means(object))
        .collect();
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    let limit = query.limit.unwrap_or(usize::MAX);
    if objects.len() > limit {
        let remaining = objects.split_off(limit).len();
        let last = objects.last().map_or("", |last| &last.metadata.name);
        metadata["continue"] = Continue::new(Some(revision), last).encode().into();
        // As upstream: with a selector, nobody counts.
        if query.selector.is_all() {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    Ok(Page { objects, metadata })
}

/// The state that the query is about.
fn listing(store: &Store, query: &Query) -> Result<Listing, ApiError> {
    let current = store.list();
    let Some(asked) = asked(query) else {
        return Ok(current);
    };
    if asked.exactly && asked.revision <= current.revision {
        let gone = |_| match &query.resume {
            Some(resume) => ApiError::expired_page(resume.of_current().encode()),
            None => ApiError::expired_list(),
        };
        return store.list_at(asked.revision).map_err(gone);
    }
    if asked.revision <= current.revision {
        return Ok(current);
    }
    Err(match &query.resume {
        // Of a store that is no more.
        Some(resume) => ApiError::expired_page(resume.of_current().encode()),
        None => ApiError::from_the_future(asked.revision, current.revision),
    })
}

/// A revision, and whether it or one not older than it must be listed.
struct Asked {
    revision: u64,
    exactly: bool,
}

fn asked(query: &Query) -> Option<Asked> {
    if let Some(resume) = &query.resume {
        let revision = resume.revision()?;
        return Some(Asked {
            revision,
            exactly: true,
        });
    }
    let revision = query.revision.filter(|revision| *revision != 0)?;
    // Kubernetes API concepts, "resourceVersion for list": with a limit and no match, it is exact.
    let exactly = match query.revision_match {
        Some(wanted) => wanted == Match::Exact,
        None => query.limit.is_some(),
    };
    Some(Asked { revision, exactly })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::CertificateSigningRequest;
    use crate::store::{Change, StoreError};
    use crate::testing::{Site, csr};
    use eyesplice_identity::x509::Signer;
    use eyesplice_identity::x509::testing::kubelet_client;

    fn add(store: &Store, name: &str) {
        let object = csr(name, Signer::KubeletClient, "u", "g", kubelet_client("w"));
        store
            .create(object, |_| Ok::<_, StoreError>(Vec::new()))
            .unwrap();
    }

    fn delete(store: &Store, name: &str) {
        let gone = |_: &CertificateSigningRequest| Ok::<_, StoreError>(Change::Delete);
        store.update(name, gone).unwrap();
    }

    fn names(page: &Page) -> Vec<&str> {
        let names = page.objects.iter();
        names.map(|object| object.metadata.name.as_str()).collect()
    }

    fn all(store: &Store, text: &str) -> Result<Page, ApiError> {
        page(store, &Query::parse(text).unwrap(), |_| true)
    }

    fn next(page: &Page) -> &str {
        page.metadata["continue"].as_str().unwrap()
    }

    #[test]
    fn pages_show_one_state_whatever_changes_meanwhile() {
        let site = Site::new();
        let store = site.store();
        for name in ["a", "b", "c", "d", "e"] {
            add(&store, name);
        }
        let first = all(&store, "limit=2").unwrap();
        assert_eq!(names(&first), ["a", "b"]);
        assert_eq!(first.metadata["remainingItemCount"], 3);
        let revision = first.metadata["resourceVersion"].clone();
        delete(&store, "c");
        add(&store, "bb");
        let label = |current: &CertificateSigningRequest| {
            let mut new = current.clone();
            new.metadata.labels.insert("l".to_owned(), "x".to_owned());
            Ok::<_, StoreError>(Change::Put(new))
        };
        store.update("d", label).unwrap();
        let second = all(&store, &format!("limit=2&continue={}", next(&first))).unwrap();
        assert_eq!(names(&second), ["c", "d"]);
        assert!(second.objects[1].metadata.labels.is_empty(), "as it was");
        assert_eq!(second.metadata["remainingItemCount"], 1);
        assert_eq!(second.metadata["resourceVersion"], revision);
        let third = all(&store, &format!("limit=2&continue={}", next(&second))).unwrap();
        assert_eq!(names(&third), ["e"]);
        assert_eq!(third.metadata, json!({"resourceVersion": revision}));
        // A client may ask for the rest at once.
        let rest = all(&store, &format!("continue={}", next(&first))).unwrap();
        assert_eq!(names(&rest), ["c", "d", "e"]);
    }

    #[test]
    fn page_counts_nothing_behind_a_selector_and_ends_where_the_list_does() {
        let site = Site::new();
        let store = site.store();
        for name in ["a", "b", "c"] {
            add(&store, name);
        }
        let some = all(&store, "limit=1&fieldSelector=metadata.name!%3Dz").unwrap();
        assert!(some.metadata.get("continue").is_some());
        assert!(some.metadata.get("remainingItemCount").is_none());
        for whole in ["limit=3", "limit=0", "limit=-1", ""] {
            let page = all(&store, whole).unwrap();
            assert_eq!(names(&page).len(), 3, "{whole}");
            assert!(page.metadata.get("continue").is_none(), "{whole}");
        }
    }

    #[test]
    fn page_that_expired_says_so_and_how_to_go_on() {
        let site = Site::new();
        let store = site.store();
        for name in ["a", "b", "c"] {
            add(&store, name);
        }
        let token = next(&all(&store, "limit=1").unwrap()).to_owned();
        let revision = store.list().revision;
        // The changes since are not kept over a restart.
        delete(&store, "b");
        add(&store, "d");
        drop(store);
        let store = site.store();
        let error = all(&store, &format!("limit=1&continue={token}")).unwrap_err();
        let status = json!(error.status());
        assert_eq!(
            (&status["code"], &status["reason"]),
            (&json!(410), &json!("Expired"))
        );
        let fresh = status["metadata"]["continue"].as_str().unwrap();
        let rest = all(&store, &format!("continue={fresh}")).unwrap();
        assert_eq!(names(&rest), ["c", "d"]);
        let exact = format!("resourceVersion={revision}&resourceVersionMatch=Exact");
        assert_eq!(all(&store, &exact).unwrap_err().code.as_u16(), 410);
    }

    #[test]
    fn revision_is_exact_or_the_least() {
        let site = Site::new();
        let store = site.store();
        add(&store, "a");
        let then = store.list().revision;
        add(&store, "b");
        let at = |rest: &str| all(&store, &format!("resourceVersion={then}{rest}")).unwrap();
        assert_eq!(names(&at("&resourceVersionMatch=Exact")), ["a"]);
        assert_eq!(names(&at("&limit=5")), ["a"]);
        assert_eq!(
            names(&at("&limit=5&resourceVersionMatch=NotOlderThan")),
            ["a", "b"]
        );
        assert_eq!(names(&at("")), ["a", "b"]);
        let future = all(&store, "resourceVersion=99").unwrap_err();
        assert_eq!(future.code.as_u16(), 504);
    }

    #[test]
    fn token_is_read_back_and_strangers_are_refused() {
        for token in [
            Continue::new(Some(7), "a"),
            Continue::new(None, &"x".repeat(253)),
        ] {
            assert_eq!(Continue::decode(&token.encode()).unwrap(), token);
        }
        for text in [
            "{}",
            r#"{"v":"v2","rv":1,"start":"a"}"#,
            r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#,
            r#"{"v":"meta.k8s.io/v1","rv":-2,"start":"a"}"#,
            r#"{"v":"meta.k8s.io/v1","rv":1,"start":""}"#,
            r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a","x":1}"#,
        ] {
            let token = BASE64URL_NOPAD.encode(text.as_bytes());
            let error = Continue::decode(&token).unwrap_err();
            assert_eq!(error.code.as_u16(), 400, "{text}");
        }
        assert!(Continue::decode(&"A".repeat(TOKEN + 1)).is_err());
    }
}
