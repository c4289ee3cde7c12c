use super::{cluster, settings};
use crate::access::{Ask, AskError, Cluster};
use crate::testing::apiserver::{ScriptedApiServer, Told};
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

const LIMIT: usize = 64;

fn question() -> Ask {
    Ask::get("/api/v1/nodes/a?x=y".to_owned(), LIMIT)
}

async fn says(status: u16, body: Value) -> ScriptedApiServer {
    ScriptedApiServer::start(move |_| Told::Says(status, body.clone())).await
}

#[tokio::test]
async fn question_that_is_answered_is_read_and_gives_its_places_back() {
    let server = says(200, json!({"a": 1})).await;
    let cluster = cluster(vec![server.client()]);
    let read: Value = cluster.read(&question()).await.unwrap();
    assert_eq!(read, json!({"a": 1}));
    assert_eq!(cluster.places(), (64, 1024));
    let asked = server.asked();
    assert_eq!(asked[0].method, "GET");
    assert_eq!(asked[0].path, "/api/v1/nodes/a?x=y");
    assert_eq!(asked[0].authorization, None);
}

#[tokio::test]
async fn answer_that_is_none_says_why() {
    for (status, body, words) in [
        (401, json!({}), "front-rbac.yaml"),
        (403, json!({}), "status 403"),
        (404, json!({}), "has no such object"),
        (500, json!({}), "status 500"),
        (302, json!({}), "status 302"),
        (200, json!("x".repeat(LIMIT)), "to /api/v1/nodes/a?x=y"),
    ] {
        let server = says(status, body).await;
        let read = cluster(vec![server.client()])
            .read::<Value>(&question())
            .await;
        let error = read.unwrap_err().to_string();
        assert!(error.contains(words), "{status}: {error}");
    }
    let server = says(200, json!([])).await;
    let read = cluster(vec![server.client()])
        .read::<Vec<u8>>(&question())
        .await;
    assert_eq!(read.unwrap(), Vec::<u8>::new());
    let read = cluster(vec![server.client()]).read::<u8>(&question()).await;
    assert!(matches!(read, Err(AskError::Answer(_))));
}

#[tokio::test]
async fn server_that_breaks_off_is_followed_by_the_next_and_one_that_fails_is_not() {
    let broken = ScriptedApiServer::start(|_| Told::HangsUp).await;
    let failing = says(500, json!({})).await;
    let good = says(200, json!(7)).await;
    let servers = vec![broken.client(), good.client(), failing.client()];
    let mut settings = settings(servers);
    let read: u8 = cluster(settings.servers.clone())
        .read(&question())
        .await
        .unwrap();
    assert_eq!((read, good.asked().len(), failing.asked().len()), (7, 1, 0));
    settings.first = Arc::new(|| 2);
    let read = Cluster::new(settings).read::<u8>(&question()).await;
    assert!(matches!(read, Err(AskError::Status(..))), "{read:?}");
    assert_eq!(good.asked().len(), 1);
    let read = cluster(vec![broken.client()]).read::<u8>(&question()).await;
    assert!(matches!(read, Err(AskError::Unreachable(..))), "{read:?}");
}

#[tokio::test]
async fn server_that_is_silent_leaves_time_for_the_next() {
    let silent = ScriptedApiServer::start(|_| Told::Silent).await;
    let good = says(200, json!(7)).await;
    let mut settings = settings(vec![silent.client(), good.client()]);
    settings.timeout = Duration::from_secs(1);
    let read = Cluster::new(settings).read::<u8>(&question()).await;
    assert_eq!(read.unwrap(), 7);
    let mut settings = super::settings(vec![silent.client()]);
    settings.timeout = Duration::from_millis(50);
    let read = Cluster::new(settings).read::<u8>(&question()).await;
    assert!(matches!(read, Err(AskError::Timeout(_))), "{read:?}");
}

#[tokio::test]
async fn asker_that_leaves_while_it_waits_gives_its_place_back() {
    let silent = ScriptedApiServer::start(|_| Told::Silent).await;
    let cluster = cluster(vec![silent.client()]);
    let tasks: Vec<_> = (0..80)
        .map(|_| {
            let cluster = Arc::clone(&cluster);
            tokio::spawn(async move { cluster.read::<Value>(&question()).await })
        })
        .collect();
    while silent.asked().len() < 64 {
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    assert_eq!(cluster.places(), (64, 1024));
}

#[tokio::test]
async fn our_own_token_is_read_for_each_question() {
    let server = says(200, json!(7)).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let mut settings = settings(vec![server.client()]);
    settings.token_file = Some(file.clone());
    let cluster = Cluster::new(settings);
    let read = cluster.read::<u8>(&question()).await;
    assert!(matches!(read, Err(AskError::Token(_))), "{read:?}");
    for token in ["one", "two"] {
        fs::write(&file, format!("{token}\n")).unwrap();
        cluster.read::<u8>(&question()).await.unwrap();
    }
    fs::write(&file, "\n").unwrap();
    let read = cluster.read::<u8>(&question()).await;
    assert!(matches!(read, Err(AskError::BadToken(..))), "{read:?}");
    let sent: Vec<_> = server
        .asked()
        .into_iter()
        .map(|it| it.authorization)
        .collect();
    assert_eq!(
        sent,
        [Some("Bearer one".to_owned()), Some("Bearer two".to_owned())]
    );
}
