//! Sends events to the webhook: a list at a time, again and again until it takes it.

use super::event::{HEAD, LIST};
use super::limits::{ANSWER, GATHER, MAX_RETRY, MIN_RETRY, SEND};
use super::queue::Queue;
use arc_swap::ArcSwapOption;
use eyesplice_identity::access::{AskError, token_of};
use eyesplice_identity::https::{HttpsError, Question};
use eyesplice_identity::kubeconfig::{Webhook, WebhookToken};
use eyesplice_identity::token::BearerToken;
use eyesplice_proto::causes::chain;
use hyper::{Method, StatusCode};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("the webhook cannot be asked")]
    Https(#[source] HttpsError),
    #[error("the webhook answered with status {0}")]
    Status(StatusCode),
    #[error("our token for the webhook cannot be used")]
    Token(#[source] AskError),
    #[error("the webhook did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

impl SendError {
    /// Whether the same events will not be taken later either.
    fn is_final(&self) -> bool {
        let later = [
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::NOT_FOUND,
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        matches!(self, Self::Status(status) if status.is_client_error() && !later.contains(status))
    }
}

/// Sends what arrives to whatever webhook is configured, for ever.
pub(super) async fn send(queue: &Queue, webhook: &ArcSwapOption<Webhook>) {
    loop {
        queue.arrived.notified().await;
        tokio::select! {
            () = sleep(GATHER) => {}
            () = queue.closing.notified() => {}
        }
        loop {
            let batch = queue.take();
            if batch.is_empty() {
                break;
            }
            let delivered = deliver(queue, webhook, &list(&batch)).await;
            queue.done(batch.len(), delivered);
        }
    }
}

/// Tries until a list is delivered, or never will be.
async fn deliver(queue: &Queue, webhook: &ArcSwapOption<Webhook>, list: &[u8]) -> bool {
    let mut wait = MIN_RETRY;
    loop {
        // A reload may have named another, or none.
        let Some(to) = webhook.load_full() else {
            return false;
        };
        let failed = match timeout(SEND, post(&to, list)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error,
            Err(_) => SendError::Timeout(SEND),
        };
        queue.failed();
        let (server, waiting) = (to.https.server(), queue.counts().waiting);
        let error = chain(&failed);
        if failed.is_final() {
            tracing::error!(
                server,
                error,
                "audit events are lost: the webhook refuses them"
            );
            return false;
        }
        tracing::error!(
            server,
            error,
            waiting,
            "audit webhook takes no events; trying again"
        );
        sleep(wait).await;
        wait = (wait * 2).min(MAX_RETRY);
    }
}

async fn post(to: &Webhook, list: &[u8]) -> Result<(), SendError> {
    let token = match &to.token {
        None => None,
        Some(WebhookToken::Text(token)) => Some(token.clone()),
        Some(WebhookToken::File(path)) => {
            Some(token_of(path.clone()).await.map_err(SendError::Token)?)
        }
    };
    let question = Question {
        method: Method::POST,
        path: &to.path,
        body: list.to_vec(),
        bearer: token.as_ref().map(BearerToken::expose),
        limit: ANSWER,
    };
    let reply = to.https.ask(question).await.map_err(SendError::Https)?;
    match reply.status.is_success() {
        true => Ok(()),
        false => Err(SendError::Status(reply.status)),
    }
}

/// The body of a request: an `EventList`.
fn list(batch: &[Box<[u8]>]) -> Vec<u8> {
    let [begin, end] = LIST;
    let mut body = begin.to_vec();
    for (index, event) in batch.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        match event.strip_prefix(HEAD) {
            // Items have no kind of their own.
            Some(rest) => {
                body.push(b'{');
                body.extend_from_slice(rest.trim_ascii_end());
            }
            None => body.extend_from_slice(event.trim_ascii_end()),
        }
    }
    body.extend_from_slice(end);
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn list_is_an_event_list_of_items_without_a_kind() {
        let event = |stage: &str| {
            let line = [HEAD, format!("\"stage\":\"{stage}\"}}\n").as_bytes()].concat();
            line.into_boxed_slice()
        };
        let body = list(&[event("RequestReceived"), event("ResponseComplete")]);
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap(),
            json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": [
                {"stage": "RequestReceived"}, {"stage": "ResponseComplete"}
            ]})
        );
    }

    #[test]
    fn refusal_is_final_only_where_the_same_events_are_refused_again() {
        for (status, is_final) in [
            (StatusCode::BAD_REQUEST, true),
            (StatusCode::PAYLOAD_TOO_LARGE, true),
            (StatusCode::UNAUTHORIZED, false),
            (StatusCode::TOO_MANY_REQUESTS, false),
            (StatusCode::INTERNAL_SERVER_ERROR, false),
            (StatusCode::FOUND, false),
        ] {
            assert_eq!(SendError::Status(status).is_final(), is_final, "{status}");
        }
    }
}
