//! Keeps connections on which a question was answered, for the next one.

use super::{HttpsError, Reply, answer};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use parking_lot::Mutex;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// How long a connection is kept. API servers keep theirs for 90 s.
const IDLE: Duration = Duration::from_secs(30);

/// Connections that wait for a question.
#[derive(derive_more::Debug)]
#[debug("Pool(at most {most})")]
pub(super) struct Pool {
    most: usize,
    idle: Mutex<Vec<Kept>>,
}

struct Kept {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

impl Pool {
    /// Keeps at most so many.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            idle: Mutex::default(),
        }
    }

    /// Asks on a connection that is kept, and where that fails, on one that `connect` makes:
    /// the server may have closed it meanwhile. So a question may be asked twice.
    pub(super) async fn ask<F>(
        &self,
        request: Request<Full<Bytes>>,
        limit: usize,
        connect: impl FnOnce() -> F,
    ) -> Result<Reply, HttpsError>
    where
        F: Future<Output = Result<SendRequest<Full<Bytes>>, HttpsError>>,
    {
        if let Some(mut sender) = self.take()
            && sender.ready().await.is_ok()
            && let Ok(reply) = answer(&mut sender, request.clone(), limit).await
        {
            self.keep(sender, &reply);
            return Ok(reply);
        }
        let mut sender = connect().await?;
        let reply = answer(&mut sender, request, limit).await?;
        self.keep(sender, &reply);
        Ok(reply)
    }

    /// The one that was used last; those before it may be too old, and close with that.
    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock();
        idle.retain(|kept| kept.since.elapsed() < IDLE && !kept.sender.is_closed());
        Some(idle.pop()?.sender)
    }

    /// A body that was cut leaves a connection of which nothing is known.
    fn keep(&self, sender: SendRequest<Full<Bytes>>, reply: &Reply) {
        let mut idle = self.idle.lock();
        if reply.body.is_some() && idle.len() < self.most {
            let since = Instant::now();
            idle.push(Kept { sender, since });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Question;
    use crate::testing::apiserver::{ScriptedApiServer, Told};
    use hyper::Method;
    use serde_json::json;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn question() -> Question<'static> {
        Question {
            method: Method::GET,
            path: "/a",
            body: Vec::new(),
            bearer: None,
            limit: 16,
        }
    }

    #[tokio::test]
    async fn connection_is_used_for_the_next_question_and_not_for_two_at_a_time() {
        let server = ScriptedApiServer::start(|_| Told::Says(200, json!({}))).await;
        let client = server.client().keeping(2);
        for _ in 0..3 {
            client.ask(question()).await.unwrap();
        }
        assert_eq!(server.connections(), 1);
        let both = tokio::join!(client.ask(question()), client.ask(question()));
        assert!(both.0.is_ok() && both.1.is_ok());
        assert_eq!(server.connections(), 2);
        for _ in 0..3 {
            let both = tokio::join!(client.ask(question()), client.ask(question()));
            assert!(both.0.is_ok() && both.1.is_ok());
        }
        assert_eq!(server.connections(), 2);
        assert_eq!(server.asked().len(), 11);
    }

    #[tokio::test]
    async fn question_on_a_connection_that_was_closed_is_asked_on_another() {
        let hangs_up = Arc::new(AtomicBool::new(false));
        let script = Arc::clone(&hangs_up);
        let server = ScriptedApiServer::start(move |_| {
            if script.swap(false, Ordering::SeqCst) {
                Told::HangsUp
            } else {
                Told::Says(200, json!({}))
            }
        })
        .await;
        let client = server.client().keeping(2);
        client.ask(question()).await.unwrap();
        hangs_up.store(true, Ordering::SeqCst);
        client.ask(question()).await.unwrap();
        assert_eq!((server.connections(), server.asked().len()), (2, 3));
        // A new connection that breaks is an error.
        let fresh = server.client().keeping(2);
        hangs_up.store(true, Ordering::SeqCst);
        assert!(fresh.ask(question()).await.is_err());
    }

    #[tokio::test]
    async fn connection_whose_answer_was_cut_is_not_used_again() {
        let server = ScriptedApiServer::start(|_| Told::Says(200, json!("x".repeat(99)))).await;
        let client = server.client().keeping(2);
        for connections in 1..3 {
            let reply = client.ask(question()).await.unwrap();
            assert_eq!((reply.body, server.connections()), (None, connections));
        }
    }
}
