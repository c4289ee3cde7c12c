//! Watches: a stream of changes since a revision, with bookmarks.

use super::body::Body;
use super::call::{Asked, stopped};
use super::collection::sees;
use super::negotiate::Form;
use super::query::{Include, Query};
use super::respond;
use super::table;
use crate::error::ApiError;
use crate::limits;
use crate::object::{API_VERSION, KIND};
use crate::roles::Sight;
use crate::store::{Event, EventKind, Object, Store};
use hyper::Response;
use hyper::body::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// One watch.
struct Watch {
    store: Arc<Store>,
    changes: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    events: mpsc::Sender<Bytes>,
    query: Query,
    sight: Sight,
    username: String,
    form: Form,
    /// Everything up to here was sent.
    revision: u64,
    /// Columns are sent once.
    columns: bool,
}

/// The client is gone or takes nothing, or was told why it must list again.
struct Over;

/// Begins a watch.
pub(super) fn start(asked: &Asked, sight: Sight, form: Form) -> Result<Response<Body>, ApiError> {
    let server = &asked.server;
    // Subscribed before the list: what changes from here on is seen in one or the other.
    let changes = server.store.subscribe();
    let listing = server.store.list();
    let asks = asked.query.revision.unwrap_or_default();
    if asks > listing.revision {
        // A revision of a store that is no more; the client must list again.
        return Err(ApiError::expired(asks, listing.revision));
    }
    // Without a revision, and with "any", a watch begins with everything that is there.
    let initial = if asks == 0 || asked.query.initial_events {
        listing.objects
    } else {
        server
            .store
            .events_after(asks)
            .map_err(|old| ApiError::expired(old.asked, old.oldest))?;
        Vec::new()
    };
    let revision = if initial.is_empty() && asks != 0 && !asked.query.initial_events {
        asks
    } else {
        listing.revision
    };
    let (events, body) = mpsc::channel(limits::WATCH_QUEUE);
    let watch = Watch {
        store: Arc::clone(&server.store),
        changes,
        stopping: server.stopping.clone(),
        events,
        query: asked.query.clone(),
        sight,
        username: asked.user.username.clone(),
        form,
        revision,
        columns: true,
    };
    tokio::spawn(watch.run(initial));
    Ok(respond::stream(body))
}

impl Watch {
    async fn run(mut self, initial: Vec<Object>) {
        // Whoever ends it, the end of the body tells the client to watch again.
        let _: Result<(), Over> = self.work(initial).await;
    }

    async fn work(&mut self, initial: Vec<Object>) -> Result<(), Over> {
        let lasts = self.query.timeout.filter(|lasts| !lasts.is_zero());
        let end = Instant::now() + lasts.map_or(limits::WATCH, |lasts| lasts.min(limits::WATCH));
        for object in &initial {
            if self.means(object) {
                self.send("ADDED", object).await?;
            }
        }
        if self.query.initial_events && self.query.bookmarks {
            self.bookmark(true).await?;
        }
        let mut bookmark = Instant::now() + limits::BOOKMARK;
        loop {
            self.changes.mark_unchanged();
            self.catch_up().await?;
            tokio::select! {
                changed = self.changes.changed() => changed.map_err(|_| Over)?,
                () = stopped(&mut self.stopping) => return Ok(()),
                () = self.events.closed() => return Err(Over),
                () = sleep_until(bookmark), if self.query.bookmarks => {
                    self.bookmark(false).await?;
                    bookmark = Instant::now() + limits::BOOKMARK;
                }
                () = sleep_until(end) => {
                    // The next watch begins where this one ended.
                    return if self.query.bookmarks { self.bookmark(false).await } else { Ok(()) };
                }
            }
        }
    }

    /// Sends every change that was not sent yet.
    async fn catch_up(&mut self) -> Result<(), Over> {
        let events = match self.store.events_after(self.revision) {
            Ok(events) => events,
            Err(old) => {
                let status = ApiError::expired(old.asked, old.oldest).status();
                self.put(&json!({"type": "ERROR", "object": status}))
                    .await?;
                return Err(Over);
            }
        };
        for event in events {
            if let Some((kind, object)) = self.shown(&event) {
                self.send(kind, object).await?;
            }
            self.revision = event.revision;
        }
        Ok(())
    }

    /// What a change is to this client: an object may enter and leave its selection.
    fn shown<'a>(&self, event: &'a Event) -> Option<(&'static str, &'a Object)> {
        let before = event
            .previous
            .as_ref()
            .is_some_and(|before| self.means(before));
        let after = event.kind != EventKind::Deleted && self.means(&event.object);
        match (before, after) {
            (false, true) => Some(("ADDED", &event.object)),
            (true, true) => Some(("MODIFIED", &event.object)),
            (true, false) => Some(("DELETED", &event.object)),
            (false, false) => None,
        }
    }

    fn means(&self, object: &Object) -> bool {
        sees(self.sight, &self.username, object) && self.query.selector.matches(object)
    }

    async fn send(&mut self, kind: &'static str, object: &Object) -> Result<(), Over> {
        let object = match self.form {
            Form::Object => json!(**object),
            Form::Table(version) => {
                let objects = std::iter::once(&**object);
                let now = SystemTime::now();
                let columns = std::mem::take(&mut self.columns);
                let mut table = table::of(objects, version, self.query.include, now, columns);
                let revision = &object.metadata.resource_version;
                table["metadata"] = json!({"resourceVersion": revision});
                table
            }
        };
        self.put(&json!({"type": kind, "object": object})).await
    }

    /// Tells how far the client is, though nothing that it means has changed.
    async fn bookmark(&mut self, ends_initial: bool) -> Result<(), Over> {
        let revision = self.revision.to_string();
        let mut metadata = json!({"resourceVersion": revision, "creationTimestamp": null});
        if ends_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form {
            Form::Object => json!({
                "kind": KIND,
                "apiVersion": API_VERSION,
                "metadata": metadata,
                "spec": {"request": null, "signerName": ""},
                "status": {},
            }),
            Form::Table(version) => {
                let mut table = table::of(
                    std::iter::empty(),
                    version,
                    Include::None,
                    SystemTime::now(),
                    false,
                );
                table["metadata"] = json!({"resourceVersion": revision});
                table
            }
        };
        self.put(&json!({"type": "BOOKMARK", "object": object}))
            .await
    }

    async fn put(&self, event: &Value) -> Result<(), Over> {
        let mut line = event.to_string();
        line.push('\n');
        let sent = timeout(limits::WATCH_STALL, self.events.send(line.into())).await;
        sent.map_err(|_| Over)?.map_err(|_| Over)
    }
}
