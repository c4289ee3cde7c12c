use super::cluster;
use crate::access::{Access, AccessReviews, AskError, TokenReviews, expires};
use crate::testing::apiserver::{ScriptedApiServer, Told};
use crate::token::BearerToken;
use crate::user::UserInfo;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

const EXEC: Access<'static> = Access {
    verb: "create",
    namespace: "shop",
    pod: "web-0",
    subresource: "exec",
};

fn jane() -> UserInfo {
    UserInfo {
        username: "jane".to_owned(),
        uid: "u-1".to_owned(),
        groups: vec!["dev".to_owned(), "system:authenticated".to_owned()],
        extra: BTreeMap::from([("a/b".to_owned(), vec!["1".to_owned(), "2".to_owned()])]),
    }
}

fn answer(kind: &str, group: &str, status: Value) -> Told {
    Told::Says(
        201,
        json!({"kind": kind, "apiVersion": format!("{group}.k8s.io/v1"), "status": status}),
    )
}

async fn authorizer(status: Value) -> ScriptedApiServer {
    let told = answer("SubjectAccessReview", "authorization", status);
    ScriptedApiServer::start(move |_| told.clone()).await
}

async fn authenticator(status: Value) -> ScriptedApiServer {
    let told = answer("TokenReview", "authentication", status);
    ScriptedApiServer::start(move |_| told.clone()).await
}

#[tokio::test]
async fn access_is_asked_with_all_of_the_user_and_a_yes_is_remembered() {
    let server = authorizer(json!({"allowed": true, "reason": "RBAC"})).await;
    let reviews = AccessReviews::new(cluster(vec![server.client()]));
    for _ in 0..3 {
        assert!(reviews.allows(&jane(), EXEC).await.unwrap().is_some());
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0].path,
        "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    );
    assert_eq!(
        asked[0].body,
        json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "resourceAttributes": {
                    "verb": "create", "group": "", "version": "v1", "resource": "pods",
                    "subresource": "exec", "namespace": "shop", "name": "web-0"
                },
                "user": "jane",
                "uid": "u-1",
                "groups": ["dev", "system:authenticated"],
                "extra": {"a/b": ["1", "2"]}
            }
        })
    );
}

#[tokio::test]
async fn access_of_any_other_user_verb_or_pod_is_another_question() {
    let server = authorizer(json!({"allowed": true})).await;
    let reviews = AccessReviews::new(cluster(vec![server.client()]));
    let other = |change: fn(&mut UserInfo)| {
        let mut user = jane();
        change(&mut user);
        user
    };
    let users = [
        jane(),
        other(|user| user.username = "joe".to_owned()),
        other(|user| user.uid = "u-2".to_owned()),
        other(|user| drop(user.groups.pop())),
        other(|user| user.extra.clear()),
    ];
    let wanted = [
        EXEC,
        Access {
            verb: "get",
            ..EXEC
        },
        Access {
            namespace: "n",
            ..EXEC
        },
        Access { pod: "p", ..EXEC },
        Access {
            subresource: "attach",
            ..EXEC
        },
    ];
    for user in &users {
        for access in wanted {
            assert!(reviews.allows(user, access).await.unwrap().is_some());
        }
    }
    assert_eq!(server.asked().len(), users.len() * wanted.len());
}

#[tokio::test]
async fn access_that_is_not_plainly_allowed_is_not_and_is_asked_again() {
    for status in [
        json!({}),
        json!({"allowed": false}),
        json!({"allowed": true, "denied": true}),
        json!({"allowed": true, "evaluationError": "a webhook failed"}),
    ] {
        let server = authorizer(status.clone()).await;
        let reviews = AccessReviews::new(cluster(vec![server.client()]));
        for _ in 0..2 {
            let answer = reviews.allows(&jane(), EXEC).await.unwrap();
            assert_eq!(answer, None, "{status}");
        }
        assert_eq!(server.asked().len(), 2, "{status}");
    }
    // A condition, or whatever else is not known here.
    for status in [
        json!({"allowed": true, "conditionSetChain": []}),
        json!({"allowed": "true"}),
        json!(null),
    ] {
        let server = authorizer(status.clone()).await;
        let reviews = AccessReviews::new(cluster(vec![server.client()]));
        let answer = reviews.allows(&jane(), EXEC).await;
        assert!(matches!(answer, Err(AskError::Answer(_))), "{status}");
    }
    let told = answer("Status", "authorization", json!({"allowed": true}));
    let server = ScriptedApiServer::start(move |_| told.clone()).await;
    let reviews = AccessReviews::new(cluster(vec![server.client()]));
    assert!(reviews.allows(&jane(), EXEC).await.is_err());
}

fn token(text: &str) -> BearerToken {
    BearerToken::new(text).unwrap()
}

#[tokio::test]
async fn token_of_a_user_is_asked_about_once() {
    let status = json!({"authenticated": true, "user": jane()});
    let server = authenticator(status).await;
    let reviews = TokenReviews::new(cluster(vec![server.client()]));
    let now = SystemTime::now();
    for _ in 0..3 {
        let user = reviews.user(&token("t"), now).await.unwrap().unwrap();
        assert_eq!(*user, jane());
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, "/apis/authentication.k8s.io/v1/tokenreviews");
    assert_eq!(asked[0].body["spec"], json!({"token": "t"}));
    reviews.user(&token("u"), now).await.unwrap().unwrap();
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn token_of_nobody_is_none_and_asked_again() {
    let server = authenticator(json!({"error": "no"})).await;
    let reviews = TokenReviews::new(cluster(vec![server.client()]));
    for _ in 0..2 {
        let user = reviews.user(&token("t"), SystemTime::now()).await.unwrap();
        assert_eq!(user, None);
    }
    assert_eq!(server.asked().len(), 2);
    for status in [
        json!({"authenticated": true, "user": {}}),
        json!({"authenticated": true, "user": {"username": "a"}, "error": "partly"}),
        json!(7),
    ] {
        let server = authenticator(status.clone()).await;
        let reviews = TokenReviews::new(cluster(vec![server.client()]));
        let answer = reviews.user(&token("t"), SystemTime::now()).await;
        assert!(matches!(answer, Err(AskError::Answer(_))), "{status}");
    }
}

fn jwt(claims: &str) -> BearerToken {
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    token(&format!("{}.{}.{}", part("{}"), part(claims), part("s")))
}

#[tokio::test]
async fn token_that_expired_by_its_own_words_is_asked_about_by_none() {
    let status = json!({"authenticated": true, "user": jane()});
    let server = authenticator(status).await;
    let reviews = TokenReviews::new(cluster(vec![server.client()]));
    let token = jwt(r#"{"exp": 1000}"#);
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    assert!(reviews.user(&token, at(999)).await.unwrap().is_some());
    // Although the answer is remembered.
    assert_eq!(reviews.user(&token, at(1000)).await.unwrap(), None);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn expires_reads_what_a_token_says_and_nothing_else() {
    let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds));
    for (token, expected) in [
        (
            jwt(r#"{"exp": 1700000000, "aud": ["a"]}"#),
            at(1_700_000_000.0),
        ),
        (jwt(r#"{"exp": 1.5}"#), at(1.5)),
        (jwt(r#"{"exp": -1}"#), at(0.0)),
        (jwt(r#"{"exp": "1"}"#), None),
        (jwt(r#"{"exp": 1e300}"#), None),
        (jwt("{}"), None),
        (jwt("["), None),
        (token("abc"), None),
        (token("a.b.c"), None),
        (token("a.e30"), None),
    ] {
        assert_eq!(expires(&token), expected);
    }
}
