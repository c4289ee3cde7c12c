//! A gateway's certificates from a real authority, and what must not become one.

use super::keep::Wanted;
use super::obtain::{Lack, obtain};
use super::testing::gateway_identity;
use super::want::{Want, Wants};
use super::*;
use crate::bootstrap::{BootstrapError, Wish};
use crate::config::{AgentConfig, Here};
use eyesplice_authority::testing::{
    AGENTS_AUDIENCE, Served, Site, put_agents, put_gateway_client, put_gateway_token,
};
use eyesplice_identity::inventory::HostAddress;
use eyesplice_identity::pem;
use eyesplice_identity::pem::{Credential, FileRef, Role};
use eyesplice_identity::pki::testing::{Made, Recipe, client};
use eyesplice_identity::pki::{Authority, Wanted as Content, issue_for};
use eyesplice_identity::testing::apiserver::ScriptedApiServer;
use eyesplice_identity::testing::pods;
use eyesplice_identity::x509::Signer;
use eyesplice_process::metrics::EnrolmentMetrics;
use rustls::pki_types::PrivateKeyDer;
use std::collections::BTreeSet;
use std::fs;
use std::time::SystemTime;
use time::OffsetDateTime;
use tokio::sync::watch;

const USER: &str = "eyesplice:gateway:gw";

fn want(identity: &Identity, signer: Signer, names: &[&str]) -> Want {
    let names: Vec<HostAddress> = names.iter().map(|name| name.parse().unwrap()).collect();
    Want {
        file: match signer {
            Signer::GatewayClient => identity.client_file(),
            _ => FileRef::new("serving", identity.serving_file("tcp")),
        },
        wish: Wish {
            signer,
            common_name: user(identity),
            organization: GROUP,
            names,
            lifetime: None,
        },
    }
}

fn load(want: &Want) -> Credential {
    let file = &want.file;
    Credential::load(file.clone(), file, want.wish.signer.role()).unwrap()
}

async fn bench() -> (Site, Served, Identity) {
    let site = Site::new();
    put_gateway_token(&site);
    let served = Served::start(&site).await;
    let identity = gateway_identity(&site, &served, "gw");
    (site, served, identity)
}

async fn lack(identity: &Identity, want: &Want) -> Lack {
    obtain(identity, want, SystemTime::now()).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_becomes_client_and_serving_certificates_which_stay() {
    let (_site, served, identity) = bench().await;
    let certificates = vec![
        want(&identity, Signer::GatewayClient, &[]),
        want(&identity, Signer::Serving, &["127.0.0.1", "egress.example"]),
    ];
    let wanted = Wanted::default();
    let (sender, mut progress) = watch::channel(Progress::default());
    let task = tokio::spawn(keep(wanted.clone(), sender, EnrolmentMetrics::default()));
    wanted.read(Some(Wants {
        identity: identity.clone(),
        certificates: certificates.clone(),
    }));
    let there = |progress: &Progress| progress.is_complete() && certificates[1].file.path.exists();
    progress.wait_for(there).await.unwrap();
    let (client, serving) = (load(&certificates[0]), load(&certificates[1]));
    assert_eq!(
        client.leaf.subject.to_string(),
        "CN=eyesplice:gateway:gw,O=eyesplice:gateways"
    );
    assert_eq!(serving.leaf.names, ["egress.example", "127.0.0.1"]);
    assert!(!serving.leaf.usage.client && !client.leaf.usage.server);
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(&certificates[1].file.path)
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let asked = served.asked();
    let who: BTreeSet<&str> = asked.iter().map(|(user, _)| &**user).collect();
    assert_eq!(who, BTreeSet::from(["system:bootstrap:abcdef", USER]));
    for want in &certificates {
        assert!(
            !obtain(&identity, want, SystemTime::now())
                .await
                .unwrap()
                .issued
        );
    }
    assert_eq!(served.asked().len(), 2, "nothing more was asked for");
    task.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_is_renewed_with_itself_and_after_its_end_with_the_token() {
    for (past, requester) in [(95, USER), (101, "system:bootstrap:abcdef")] {
        let (site, served, identity) = bench().await;
        put_gateway_client(&site, past);
        let want = want(&identity, Signer::GatewayClient, &[]);
        assert!(
            obtain(&identity, &want, SystemTime::now())
                .await
                .unwrap()
                .issued
        );
        assert_eq!(served.asked()[0].0, requester, "{past}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serving_certificate_follows_the_names_that_are_configured() {
    let (site, served, identity) = bench().await;
    put_gateway_client(&site, 1);
    let one = want(&identity, Signer::Serving, &["127.0.0.1"]);
    assert!(
        obtain(&identity, &one, SystemTime::now())
            .await
            .unwrap()
            .issued
    );
    let two = want(&identity, Signer::Serving, &["127.0.0.1", "egress.example"]);
    assert!(
        obtain(&identity, &two, SystemTime::now())
            .await
            .unwrap()
            .issued
    );
    assert_eq!(served.asked().len(), 2);
    let foreign = want(&identity, Signer::Serving, &["10.0.0.7"]);
    let Lack { error, old_until } = lack(&identity, &foreign).await;
    assert_eq!((error.cause(), error.result()), ("approval", "refused"));
    assert!(
        error
            .to_string()
            .contains("not among the addresses of gateway gw"),
        "{error}"
    );
    assert_eq!(old_until, None);
    assert_eq!(load(&two).leaf.names.len(), 2, "the old file is as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_certificate_stays_while_the_authority_is_away() {
    let (site, mut served, identity) = bench().await;
    put_gateway_client(&site, 95);
    served.leave().await;
    let want = want(&identity, Signer::GatewayClient, &[]);
    let before = fs::read(&want.file.path).unwrap();
    let Lack { error, old_until } = lack(&identity, &want).await;
    assert_eq!(
        (error.cause(), error.result()),
        ("network", "failed"),
        "{error}"
    );
    assert!(old_until.is_some());
    assert_eq!(fs::read(&want.file.path).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_to_ask_with_says_what_to_do() {
    let (_site, _served, mut identity) = bench().await;
    identity.token_file = None;
    let want = want(&identity, Signer::GatewayClient, &[]);
    let Lack { error, .. } = lack(&identity, &want).await;
    assert_eq!(error.cause(), "token");
    assert!(error.to_string().contains("identity.tokenFile"), "{error}");
}

/// What an authority that errs puts into a certificate for the right key.
#[derive(Clone, Copy)]
struct Wrong {
    common_name: &'static str,
    server: bool,
    dns: &'static str,
    ended: bool,
    foreign: bool,
}

const RIGHT: Wrong = Wrong {
    common_name: "eyesplice:gateway:other",
    server: false,
    dns: "",
    ended: false,
    foreign: false,
};

fn certificate(site: &Site, wrong: Wrong, spki: &[u8]) -> String {
    let ca = if wrong.foreign {
        &site.egress_ca
    } else {
        &site.ca
    };
    let key = PrivateKeyDer::try_from(ca.key.serialize_der()).unwrap();
    let authority = Authority::new(vec![ca.der()], &key.into()).unwrap();
    let now = OffsetDateTime::now_utc();
    let life = time::Duration::hours(if wrong.ended { -1 } else { 1 });
    let dns: Vec<String> = [wrong.dns.to_owned()]
        .into_iter()
        .filter(|dns| !dns.is_empty())
        .collect();
    let content = Content {
        subject: vec![(10, GROUP), (3, wrong.common_name)],
        spki,
        dns: &dns,
        ips: &[],
        emails: &[],
        uris: &[],
        digital_signature: true,
        key_encipherment: false,
        client_auth: !wrong.server,
        server_auth: wrong.server,
        not_before: now - time::Duration::hours(2),
        not_after: now + life,
    };
    pem::encode(&issue_for(&content, &authority).unwrap().chain)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_that_fails_its_role_is_not_used() {
    // The authority does not know this gateway, so its CSRs wait for whoever answers them.
    for (wrong, words) in [
        (RIGHT, None),
        (
            Wrong {
                server: true,
                ..RIGHT
            },
            Some("extended key usage"),
        ),
        (
            Wrong {
                common_name: "eyesplice:gateway:gw",
                ..RIGHT
            },
            Some("its role is CN=eyesplice:gateway:other"),
        ),
        (
            Wrong {
                ended: true,
                ..RIGHT
            },
            Some("expired"),
        ),
        (
            Wrong {
                foreign: true,
                ..RIGHT
            },
            Some("is not signed by a CA of"),
        ),
    ] {
        let (site, served, _) = bench().await;
        let identity = gateway_identity(&site, &served, "other");
        let want = want(&identity, Signer::GatewayClient, &[]);
        let answer = served.answer(|spki| certificate(&site, wrong, spki));
        let (outcome, ()) = tokio::join!(obtain(&identity, &want, SystemTime::now()), answer);
        let Some(words) = words else {
            assert!(outcome.unwrap().issued);
            continue;
        };
        let Lack { error, .. } = outcome.unwrap_err();
        assert!(matches!(error, BootstrapError::Role(_)), "{error}");
        assert_eq!(error.result(), "rejected");
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert!(!want.file.path.exists(), "{words}: nothing was written");
    }
}

#[test]
fn role_of_a_server_needs_a_name_and_no_more() {
    use eyesplice_identity::certificate::CertificateFacts;
    use eyesplice_identity::pki::testing::{Recipe, kubelet};
    use eyesplice_identity::pki::{Expected, unfit};
    let flaws = |recipe: Recipe, expected: &Expected<'_>| {
        let made = recipe.self_signed();
        let facts = CertificateFacts::read(&made.der()).unwrap();
        let flaws = unfit(expected, &[made.der()], &facts, SystemTime::now());
        flaws.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let any = Expected {
        role: Role::Server,
        subject: None,
        names: None,
        authorities: None,
    };
    assert!(flaws(kubelet(), &any).is_empty());
    let nameless = Recipe {
        names: Vec::new(),
        ..kubelet()
    };
    assert!(flaws(nameless, &any)[0].contains("no DNS name"));
    let names: [HostAddress; 1] = ["10.0.0.7".parse().unwrap()];
    let exact = Expected {
        names: Some(&names),
        ..any
    };
    let found = flaws(kubelet(), &exact);
    assert!(
        found[0].contains("covers worker-3.example, which its role does not have"),
        "{found:?}"
    );
    let client = Expected {
        role: Role::Client,
        ..any
    };
    assert!(flaws(kubelet(), &client)[0].contains("no extended key usage clientAuth"));
    let ended = kubelet().valid(time::Duration::ZERO, -time::Duration::hours(1));
    assert!(flaws(ended, &any)[0].contains("expired"));
}

/// What the agent of node `w` wants of an authority, and the CA of agents.
async fn agent_bench(account: &str) -> (ScriptedApiServer, Site, Served, Wants, Made) {
    let review = ScriptedApiServer::start(pods::answer).await;
    let site = Site::new();
    let ca = put_agents(&site, &review);
    let served = Served::start(&site).await;
    site.write("token", &pods::token(AGENTS_AUDIENCE, account, "agent-w"));
    let text = format!(
        "apiVersion: eyesplice.dev/v1alpha1\nkind: AgentConfig\nidentity: {{server: \
         \"https://{}\", caFile: server-ca.crt, tokenFile: token, dir: own, issuerCAFile: \
         agents.crt}}\ngateways: {{addresses: [\"10.0.0.1:8133\"], caFile: ca.crt}}\nallow: \
         {{cidrs: [10.0.0.0/8]}}\n",
        served.address
    );
    site.write("agent.yaml", &text);
    let here = Here {
        node_name: Some("w".to_owned()),
        node_ip: None,
    };
    let loaded = AgentConfig::load_here(&site.path("agent.yaml"), &here).unwrap();
    let wants = agent_wants(&loaded.config).unwrap();
    (review, site, served, wants, ca)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_gets_the_certificate_of_its_nodes_agent_and_renews_it_by_its_token() {
    let (_review, site, served, wants, ca) = agent_bench("eyesplice:agents").await;
    let [want] = &wants.certificates[..] else {
        panic!("{wants:?}");
    };
    let obtained = obtain(&wants.identity, want, SystemTime::now()).await;
    assert!(obtained.unwrap().issued);
    let subject = "CN=eyesplice:agent:node:w,O=eyesplice:agents";
    assert_eq!(load(want).leaf.subject.to_string(), subject);
    let kept = obtain(&wants.identity, want, SystemTime::now()).await;
    assert!(!kept.unwrap().issued);

    let now = OffsetDateTime::now_utc();
    let old = Recipe {
        organizations: vec!["eyesplice:agents"],
        not_before: now - time::Duration::hours(95),
        not_after: now + time::Duration::hours(5),
        ..client("eyesplice:agent:node:w")
    }
    .signed_by(&ca);
    let pair = format!("{}{}", old.certificate.pem(), old.key.serialize_pem());
    site.write("own/agent-client.pem", &pair);
    let renewed = obtain(&wants.identity, want, SystemTime::now()).await;
    assert!(renewed.unwrap().issued);
    let asked: Vec<String> = served.asked().into_iter().map(|(user, _)| user).collect();
    assert_eq!(asked, ["eyesplice:agent:node:w"; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_of_another_account_gets_no_certificate() {
    let (_review, _site, served, wants, _) = agent_bench("default:agents").await;
    let Lack { error, .. } = lack(&wants.identity, &wants.certificates[0]).await;
    assert_eq!(error.cause(), "token");
    assert!(error.to_string().contains("approval.agents"), "{error}");
    assert!(served.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_of_another_ca_is_not_an_agents() {
    let (_review, site, served, mut wants, _) = agent_bench("eyesplice:agents").await;
    wants.identity.issuer_ca_file =
        Some(FileRef::new("identity.issuerCAFile", site.path("ca.crt")));
    let want = &wants.certificates[0];
    let Lack { error, .. } = lack(&wants.identity, want).await;
    assert_eq!(error.result(), "rejected");
    assert!(
        error.to_string().contains("is not signed by a CA of"),
        "{error}"
    );
    assert!(!want.file.path.exists());
    assert_eq!(served.asked().len(), 1);
}
