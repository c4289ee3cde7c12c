use super::handle;
use crate::authn::{Authenticator, Settings, Sources};
use crate::pki::testing::now;
use crate::token::review::PATH;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};
use std::fs;

const TOKEN: &str = "31ada4fd-adec-460c-809a-9e56ceb75269";

fn authenticator() -> (tempfile::TempDir, Authenticator) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens.csv");
    fs::write(&path, format!("{TOKEN},jane,u-1,\"dev,ops\"\n")).unwrap();
    let settings = Settings {
        token_auth_file: Some(crate::pem::FileRef::new("tokenAuthFile", path)),
        api_audiences: vec!["api".to_owned()],
        ..Settings::default()
    };
    (dir, Authenticator::new(Sources::load(&settings).unwrap()))
}

async fn ask(
    method: Method,
    path: &str,
    kind: &str,
    body: impl Into<Bytes>,
) -> (StatusCode, Value) {
    let (_dir, authenticator) = authenticator();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .body(Full::new(body.into()))
        .unwrap();
    let response = handle(&authenticator, request, now()).await;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(
        !String::from_utf8_lossy(&body).contains(TOKEN),
        "the token is not sent back"
    );
    (status, serde_json::from_slice(&body).unwrap())
}

async fn review(spec: Value) -> Value {
    let question = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "metadata": {"creationTimestamp": null}, "spec": spec
    });
    let (status, answer) = ask(
        Method::POST,
        PATH,
        "application/json; charset=utf-8",
        question.to_string(),
    )
    .await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(answer["kind"], "TokenReview");
    answer["status"].clone()
}

#[tokio::test]
async fn review_of_a_known_token_names_its_user() {
    let user = json!({
        "username": "jane", "uid": "u-1", "groups": ["dev", "ops", "system:authenticated"]
    });
    let expected = json!({"authenticated": true, "user": user, "audiences": ["api"]});
    assert_eq!(review(json!({"token": TOKEN})).await, expected);
    let wanted = json!({"token": TOKEN, "audiences": ["vault", "api"]});
    assert_eq!(review(wanted).await, expected);
}

#[tokio::test]
async fn review_of_another_token_tells_as_little_as_it_may() {
    let status = review(json!({"token": &TOKEN[1..]})).await;
    assert_eq!(
        status,
        json!({"user": {}, "error": "the token is not accepted"})
    );
    let status = review(json!({"token": "a b"})).await;
    assert_eq!(status["error"], "the token is not accepted");
    let status = review(json!({"token": TOKEN, "audiences": ["vault"]})).await;
    assert_eq!(status["error"], "the token is for other audiences");
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A length-delimited field. Its key and its length are one byte each, as all are here.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(length < 128, "a length of one byte");
    [&[tag << 3 | 2, length], content].concat()
}

/// A TokenReview as client-go encodes it: fields that are no pointers are written, empty or not
/// (gogo protobuf, proto2), so metadata, a zero time and an empty status are all there.
fn as_client_go(api_version: &str, kind: &str, token: &str, audiences: &[&str]) -> Vec<u8> {
    let mut metadata = Vec::new();
    for tag in [1, 2, 3, 4, 5, 6] {
        metadata.extend(field(tag, b""));
    }
    // generation 0, creationTimestamp zero.
    metadata.extend([7 << 3, 0]);
    metadata.extend(field(8, b""));
    let audiences = audiences
        .iter()
        .map(|audience| field(2, audience.as_bytes()));
    let spec = [vec![field(1, token.as_bytes())], audiences.collect()]
        .concat()
        .concat();
    let user = [field(1, b""), field(2, b"")].concat();
    let status = [vec![1 << 3, 0], field(2, &user), field(3, b"")].concat();
    let raw = [field(1, &metadata), field(2, &spec), field(3, &status)].concat();
    let of = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    let unknown = [field(1, &of), field(2, &raw), field(3, b""), field(4, b"")].concat();
    [b"k8s\0".as_slice(), &unknown].concat()
}

#[tokio::test]
async fn kubelet_that_asks_in_protobuf_is_understood() {
    let version = "authentication.k8s.io/v1";
    for (audiences, error) in [
        (&[][..], None),
        (&["vault", "api"], None),
        (&["vault"], Some("the token is for other audiences")),
    ] {
        let body = as_client_go(version, "TokenReview", TOKEN, audiences);
        let (code, answer) = ask(Method::POST, PATH, PROTOBUF, body).await;
        assert_eq!(code, 201, "{answer}");
        let status = &answer["status"];
        if let Some(error) = error {
            assert_eq!(status["error"], error);
        } else {
            assert_eq!(status["user"]["username"], "jane");
            assert_eq!(status["audiences"], json!(["api"]));
        }
    }
}

#[tokio::test]
async fn question_in_protobuf_that_is_none_is_refused() {
    let version = "authentication.k8s.io/v1";
    let good = as_client_go(version, "TokenReview", TOKEN, &[]);
    let spec_end = good.len() - 14;
    let bad = [
        as_client_go(version, "Pod", TOKEN, &[]),
        as_client_go("v1", "TokenReview", TOKEN, &[]),
        as_client_go(version, "TokenReview", "", &[]),
        as_client_go(version, "TokenReview", TOKEN, &["a"; 2])[1..].to_vec(),
        Vec::new(),
        b"{}".to_vec(),
    ];
    let cut = (0..spec_end).map(|len| good[..len].to_vec());
    for body in bad.into_iter().chain(cut) {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let (code, answer) = ask(Method::POST, PATH, PROTOBUF, body).await;
        assert_eq!(code, 400, "{shown:?}: {answer}");
        assert_eq!(answer["reason"], "BadRequest", "{shown:?}");
    }
}

#[tokio::test]
async fn question_that_is_none_is_refused_in_the_form_of_kubernetes() {
    let good = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": TOKEN}
    });
    let with = |field: &str, value: Value| {
        let mut question = good.clone();
        question[field] = value;
        question.to_string()
    };
    let json_type = "application/json";
    let many = json!({"token": TOKEN, "audiences": vec!["a"; 65]});
    let huge = json!({"token": "a".repeat(200 << 10)});
    let table: Vec<(Method, &str, &str, String, u16)> = vec![
        (Method::GET, PATH, json_type, String::new(), 405),
        (
            Method::POST,
            "/apis/authentication.k8s.io/v1/",
            json_type,
            good.to_string(),
            404,
        ),
        (Method::POST, PATH, PROTOBUF, good.to_string(), 400),
        (
            Method::POST,
            PATH,
            "application/yaml",
            good.to_string(),
            415,
        ),
        (Method::POST, PATH, "\u{e9}", good.to_string(), 415),
        (Method::POST, PATH, json_type, String::new(), 400),
        (Method::POST, PATH, json_type, "[]".to_owned(), 400),
        (
            Method::POST,
            PATH,
            json_type,
            with("kind", json!("Pod")),
            400,
        ),
        (
            Method::POST,
            PATH,
            json_type,
            with("apiVersion", json!("v1")),
            400,
        ),
        (
            Method::POST,
            PATH,
            json_type,
            with("apiVersion", json!("authentication.k8s.io/v1alpha1")),
            400,
        ),
        (Method::POST, PATH, json_type, with("spec", json!({})), 400),
        (Method::POST, PATH, json_type, with("spec", many), 400),
        (Method::POST, PATH, json_type, with("spec", huge), 413),
        (Method::POST, PATH, json_type, "[".repeat(100_000), 400),
    ];
    for (method, path, kind, body, code) in table {
        let shown: String = body.chars().take(80).collect();
        let (status, answer) = ask(method, path, kind, body).await;
        assert_eq!(status, code, "{shown}");
        assert_eq!(answer["kind"], "Status", "{shown}");
        assert_eq!(answer["code"], code, "{shown}");
        assert_eq!(answer["status"], "Failure", "{shown}");
    }
}
