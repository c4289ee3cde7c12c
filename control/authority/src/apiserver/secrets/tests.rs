//! Bootstrap tokens on an API server in memory, which reads and writes Secrets on its own.

use super::*;
use data_encoding::BASE64;
use eyesplice_identity::pki::testing::now;
use eyesplice_identity::token::bootstrap::testing::{record, token};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const PATH: &str = "/api/v1/namespaces/kube-system/secrets";

#[derive(Default)]
struct State {
    /// As JSON, with metadata that our code does not know.
    secrets: BTreeMap<String, Value>,
    version: u64,
    /// Answers each request, if it is set.
    refusal: Option<u16>,
    /// Somebody else writes before each update.
    disturbed: bool,
    queries: Vec<String>,
}

/// An API server; clones are the same one.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

type Answer = Response<Full<Bytes>>;

fn ok(object: &Value) -> Answer {
    Response::new(Full::new(Bytes::from(object.to_string())))
}

fn failure(code: u16) -> Answer {
    let mut answer = ok(&json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "reason": "Said",
        "message": format!("words of code {code}"),
        "code": code,
    }));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap();
    answer
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stored(&self, id: &str) -> Value {
        self.state().secrets[&format!("bootstrap-token-{id}")].clone()
    }

    /// Somebody else changes a token's Secret.
    fn change(&self, id: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.state();
        let name = format!("bootstrap-token-{id}");
        change(state.secrets.get_mut(&name).unwrap());
    }

    /// Somebody else takes the secret half of a token away.
    fn spoil(&self, id: &str) {
        self.change(id, |stored| {
            stored["data"]
                .as_object_mut()
                .unwrap()
                .remove("token-secret");
        });
    }

    fn secrets(&self) -> Secrets {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let path = parts.uri.path().strip_prefix(PATH).unwrap();
                let name = path.strip_prefix('/').unwrap_or(path).to_owned();
                let mut state = server.state();
                let query = parts.uri.query().unwrap_or_default().trim_matches('&');
                if !query.is_empty() {
                    state.queries.push(query.to_owned());
                }
                Ok::<_, Infallible>(state.answer(parts.method.as_str(), name, &body))
            }
        });
        Secrets::new(Client::new(service, "default"))
    }
}

impl State {
    fn answer(&mut self, method: &str, name: String, body: &[u8]) -> Answer {
        if let Some(code) = self.refusal {
            return failure(code);
        }
        match (method, name.as_str()) {
            ("POST", "") => self.write(read(body), false),
            ("PUT", _) => self.write(read(body), true),
            ("GET", "") => {
                // In another order than by name, as no list promises one.
                let items: Vec<&Value> = self.secrets.values().rev().collect();
                ok(&json!({
                    "kind": "SecretList",
                    "apiVersion": "v1",
                    "metadata": {},
                    "items": items,
                }))
            }
            ("GET", _) => match self.secrets.get(&name) {
                Some(secret) => ok(secret),
                None => failure(404),
            },
            ("DELETE", _) => match self.secrets.remove(&name) {
                Some(_) => ok(&json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})),
                None => failure(404),
            },
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self, mut sent: Value, update: bool) -> Answer {
        assert_eq!(sent["metadata"]["namespace"], "kube-system");
        let name = sent["metadata"]["name"].as_str().unwrap().to_owned();
        if self.disturbed && update {
            self.version += 1;
            let known = self.secrets.get_mut(&name).unwrap();
            known["metadata"]["resourceVersion"] = self.version.to_string().into();
        }
        let version = &sent["metadata"]["resourceVersion"];
        let good = match self.secrets.get(&name) {
            Some(known) => update && known["metadata"]["resourceVersion"] == *version,
            None => !update,
        };
        if !good {
            return failure(409);
        }
        self.version += 1;
        sent["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.secrets.insert(name, sent.clone());
        ok(&sent)
    }
}

fn read(body: &[u8]) -> Value {
    let sent: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(
        (&sent["kind"], &sent["apiVersion"]),
        (&json!("Secret"), &json!("v1"))
    );
    sent
}

fn named(id: &str, expiry: Expiry) -> Record {
    let mut record = record();
    record.token.id = id.parse().unwrap();
    record.expiry = expiry;
    record
}

fn at(seconds: i64) -> Expiry {
    Expiry::At(time::OffsetDateTime::from(now()) + time::Duration::seconds(seconds))
}

#[tokio::test]
async fn token_that_is_created_is_the_secret_of_kubernetes() {
    let server = Server::default();
    let secrets = server.secrets();
    secrets.create(&record()).await.unwrap();
    let stored = server.stored("abcdef");
    assert_eq!(stored["type"], "bootstrap.kubernetes.io/token");
    for (key, value) in [
        ("token-id", "abcdef"),
        ("token-secret", "0123456789abcdef"),
        ("usage-bootstrap-authentication", "true"),
    ] {
        assert_eq!(
            stored["data"][key],
            BASE64.encode(value.as_bytes()),
            "{key}"
        );
    }

    let found = secrets.find(&token().id).await.unwrap().unwrap();
    assert_eq!(found.token.expose(), record().token.expose());
    assert_eq!(
        (found.groups, found.expiry),
        (record().groups, record().expiry)
    );
    let again = secrets.create(&record()).await.unwrap_err();
    assert!(matches!(again, SecretsError::Exists(_)), "{again}");
    let other = "zzzzzz".parse().unwrap();
    assert!(secrets.find(&other).await.unwrap().is_none());
}

#[tokio::test]
async fn token_that_is_wrong_is_not_sent() {
    let server = Server::default();
    let mut wrong = record();
    wrong.groups = vec!["system:masters".to_owned()];
    let error = server.secrets().create(&wrong).await.unwrap_err();
    assert!(matches!(error, SecretsError::Record { .. }), "{error}");
    assert!(server.state().secrets.is_empty());
}

#[tokio::test]
async fn list_has_all_tokens_by_id_and_each_broken_secret() {
    let server = Server::default();
    let secrets = server.secrets();
    for id in ["cccccc", "aaaaaa", "bbbbbb"] {
        secrets.create(&named(id, Expiry::Never)).await.unwrap();
    }
    server.spoil("bbbbbb");
    let list = secrets.list().await.unwrap();
    let shown: Vec<_> = list
        .iter()
        .map(|entry| match entry {
            Ok(record) => record.token.id.to_string(),
            Err(error) => error.to_string(),
        })
        .collect();
    assert_eq!((shown[0].as_str(), shown[2].as_str()), ("aaaaaa", "cccccc"));
    assert!(
        shown[1].contains("the Secret kube-system/bootstrap-token-bbbbbb"),
        "{shown:?}"
    );
    // Other Secrets of kube-system are not asked for.
    let filter = "fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken";
    assert_eq!(server.state().queries, [filter]);
}

#[tokio::test]
async fn expiry_is_set_and_everything_else_goes_back_as_it_came() {
    let server = Server::default();
    let secrets = server.secrets();
    secrets.create(&record()).await.unwrap();
    let labels = json!({"owner": "rack"});
    server.change("abcdef", |stored| {
        stored["metadata"]["labels"] = labels.clone();
    });
    let changed = secrets.set_expiry(&token().id, at(60)).await.unwrap();
    assert_eq!(changed.expiry, at(60));
    let stored = server.stored("abcdef");
    assert_eq!(stored["metadata"]["labels"], labels);
    assert_eq!(stored["metadata"]["resourceVersion"], "2");
    let found = secrets.find(&token().id).await.unwrap().unwrap();
    assert_eq!(found.expiry, at(60));
    assert_eq!(found.description, record().description);

    let other = "zzzzzz".parse().unwrap();
    let unknown = secrets.set_expiry(&other, at(60)).await.unwrap_err();
    assert!(matches!(unknown, SecretsError::Unknown(_)), "{unknown}");
    server.state().disturbed = true;
    let late = secrets.set_expiry(&token().id, at(90)).await.unwrap_err();
    assert!(late.to_string().contains("changed meanwhile"), "{late}");
}

#[tokio::test]
async fn tokens_that_have_expired_are_deleted_and_no_others() {
    let server = Server::default();
    let secrets = server.secrets();
    for (id, expiry) in [
        ("aaaaaa", at(-1)),
        ("bbbbbb", at(1)),
        ("cccccc", Expiry::Never),
        ("dddddd", at(0)),
        ("eeeeee", at(-9)),
    ] {
        secrets.create(&named(id, expiry)).await.unwrap();
    }
    // Nobody can say what a broken one is; a person has to look.
    server.spoil("eeeeee");
    let deleted = secrets.delete_expired(now()).await.unwrap();
    let deleted: Vec<_> = deleted.iter().map(TokenId::as_str).collect();
    assert_eq!(deleted, ["aaaaaa", "dddddd"]);
    let left: Vec<_> = server.state().secrets.keys().cloned().collect();
    let expected = ["bbbbbb", "cccccc", "eeeeee"].map(|id| format!("bootstrap-token-{id}"));
    assert_eq!(left, expected);
    let later = secrets.delete_expired(now() + Duration::from_secs(1)).await;
    assert_eq!(later.unwrap().len(), 1);

    let gone = "aaaaaa".parse().unwrap();
    let error = secrets.delete(&gone).await.unwrap_err();
    assert!(matches!(error, SecretsError::Unknown(_)), "{error}");
}

#[tokio::test]
async fn refusal_of_the_api_server_says_what_to_do() {
    let server = Server::default();
    for (code, expected) in [
        (401, "credential"),
        (403, "bind this user"),
        (500, "answered 500: words of code 500"),
    ] {
        server.state().refusal = Some(code);
        let error = server.secrets().list().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{code}: {error}");
        assert!(error.contains(&format!("words of code {code}")), "{error}");
        let error = server
            .secrets()
            .create(&record())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{code}: {error}");
        assert!(!error.contains("0123456789abcdef"), "a secret: {error}");
    }
}
