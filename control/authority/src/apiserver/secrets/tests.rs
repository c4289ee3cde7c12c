//! Bootstrap tokens on an API server in memory, which reads and writes Secrets on its own.

use super::*;
use eyesplice_identity::pki::testing::now;
use eyesplice_identity::token::bootstrap::testing::{record, token};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const PATH: &str = "/api/v1/namespaces/kube-system/secrets";

/// A Secret as the API server has it: with metadata that our code does not know.
#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(map = "string, bytes", tag = "2")]
    data: HashMap<String, Vec<u8>>,
    #[prost(string, tag = "3")]
    secret_type: String,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "6")]
    resource_version: String,
    #[prost(map = "string, string", tag = "11")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredList {
    #[prost(message, repeated, tag = "2")]
    items: Vec<Stored>,
}

#[derive(Default)]
struct State {
    secrets: BTreeMap<String, Stored>,
    version: u64,
    /// Answers each request, if it is set.
    refusal: Option<u16>,
    /// Somebody else writes before each update.
    disturbed: bool,
    queries: Vec<String>,
}

/// An API server; clones are the same one.
#[derive(Clone, Default)]
struct Api(Arc<Mutex<State>>);

type Answer = Response<Full<Bytes>>;

fn object(kind: &str, raw: Vec<u8>) -> Answer {
    let of = TypeMeta {
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
    };
    Response::new(Full::new(Bytes::from(seal(of, raw))))
}

/// A Status in JSON, as for an error that the API server finds before it knows the encoding.
fn failure(code: u16) -> Answer {
    let body = format!(r#"{{"kind":"Status","message":"words of code {code}","code":{code}}}"#);
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap();
    answer
}

impl Api {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody else changes a token's Secret.
    fn change(&self, id: &str, change: impl FnOnce(&mut Stored)) {
        let mut state = self.state();
        let name = format!("bootstrap-token-{id}");
        change(state.secrets.get_mut(&name).unwrap());
    }

    fn secrets(&self) -> Secrets {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                assert_eq!(parts.headers[ACCEPT], MEDIA_TYPE);
                let body = body.collect().await.unwrap().to_bytes();
                let path = parts.uri.path().strip_prefix(PATH).unwrap();
                let name = path.strip_prefix('/').unwrap_or(path).to_owned();
                let mut state = api.state();
                state.queries.extend(parts.uri.query().map(str::to_owned));
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
                let items = self.secrets.values().rev().cloned().collect();
                object("SecretList", StoredList { items }.encode_to_vec())
            }
            ("GET", _) => match self.secrets.get(&name) {
                Some(secret) => object("Secret", secret.encode_to_vec()),
                None => failure(404),
            },
            ("DELETE", _) => match self.secrets.remove(&name) {
                Some(_) => object("Status", Vec::new()),
                None => failure(404),
            },
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self, mut sent: Stored, update: bool) -> Answer {
        let metadata = sent.metadata.as_mut().unwrap();
        assert_eq!(metadata.namespace, "kube-system");
        if self.disturbed && update {
            self.version += 1;
            let known = self.secrets.get_mut(&metadata.name).unwrap();
            known.metadata.as_mut().unwrap().resource_version = self.version.to_string();
        }
        let known = self.secrets.get(&metadata.name);
        let known = known.map(|known| &known.metadata.as_ref().unwrap().resource_version);
        let good = match known {
            Some(version) => update && *version == metadata.resource_version,
            None => !update,
        };
        if !good {
            return failure(409);
        }
        self.version += 1;
        metadata.resource_version = self.version.to_string();
        let name = metadata.name.clone();
        let raw = sent.encode_to_vec();
        self.secrets.insert(name, sent);
        object("Secret", raw)
    }
}

fn read(body: &[u8]) -> Stored {
    let (of, raw) = open(body).unwrap();
    assert_eq!(
        (of.kind.as_str(), of.api_version.as_str()),
        ("Secret", "v1")
    );
    Stored::decode(raw.as_slice()).unwrap()
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
    let api = Api::default();
    let secrets = api.secrets();
    secrets.create(&record()).await.unwrap();
    let stored = api.state().secrets["bootstrap-token-abcdef"].clone();
    assert_eq!(stored.secret_type, "bootstrap.kubernetes.io/token");
    assert_eq!(stored.data["token-id"], b"abcdef");
    assert_eq!(stored.data["token-secret"], b"0123456789abcdef");
    assert_eq!(stored.data["usage-bootstrap-authentication"], b"true");

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
    let api = Api::default();
    let mut wrong = record();
    wrong.groups = vec!["system:masters".to_owned()];
    let error = api.secrets().create(&wrong).await.unwrap_err();
    assert!(matches!(error, SecretsError::Record { .. }), "{error}");
    assert!(api.state().secrets.is_empty());
}

#[tokio::test]
async fn list_has_all_tokens_by_id_and_each_broken_secret() {
    let api = Api::default();
    let secrets = api.secrets();
    for id in ["cccccc", "aaaaaa", "bbbbbb"] {
        secrets.create(&named(id, Expiry::Never)).await.unwrap();
    }
    api.change("bbbbbb", |broken| drop(broken.data.remove("token-secret")));
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
    assert_eq!(api.state().queries, [filter]);
}

#[tokio::test]
async fn expiry_is_set_and_everything_else_goes_back_as_it_came() {
    let api = Api::default();
    let secrets = api.secrets();
    secrets.create(&record()).await.unwrap();
    let label = ("owner".to_owned(), "rack".to_owned());
    api.change("abcdef", |stored| {
        stored
            .metadata
            .as_mut()
            .unwrap()
            .labels
            .extend([label.clone()]);
    });
    let changed = secrets.set_expiry(&token().id, at(60)).await.unwrap();
    assert_eq!(changed.expiry, at(60));
    let stored = api.state().secrets["bootstrap-token-abcdef"].clone();
    let metadata = stored.metadata.unwrap();
    assert_eq!(metadata.labels, HashMap::from([label]));
    assert_eq!(metadata.resource_version, "2");
    let found = secrets.find(&token().id).await.unwrap().unwrap();
    assert_eq!(found.expiry, at(60));
    assert_eq!(found.description, record().description);

    let other = "zzzzzz".parse().unwrap();
    let unknown = secrets.set_expiry(&other, at(60)).await.unwrap_err();
    assert!(matches!(unknown, SecretsError::Unknown(_)), "{unknown}");
    api.state().disturbed = true;
    let late = secrets.set_expiry(&token().id, at(90)).await.unwrap_err();
    assert!(late.to_string().contains("changed meanwhile"), "{late}");
}

#[tokio::test]
async fn tokens_that_have_expired_are_deleted_and_no_others() {
    let api = Api::default();
    let secrets = api.secrets();
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
    api.change("eeeeee", |broken| drop(broken.data.remove("token-secret")));
    let deleted = secrets.delete_expired(now()).await.unwrap();
    let deleted: Vec<_> = deleted.iter().map(TokenId::as_str).collect();
    assert_eq!(deleted, ["aaaaaa", "dddddd"]);
    let left: Vec<_> = api.state().secrets.keys().cloned().collect();
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
    let api = Api::default();
    for (code, expected) in [
        (401, "credential"),
        (403, "bind this user"),
        (500, "answered 500: words of code 500"),
    ] {
        api.state().refusal = Some(code);
        let error = api.secrets().list().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{code}: {error}");
        assert!(error.contains(&format!("words of code {code}")), "{error}");
        let error = api
            .secrets()
            .create(&record())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{code}: {error}");
        assert!(!error.contains("0123456789abcdef"), "a secret: {error}");
    }
}
