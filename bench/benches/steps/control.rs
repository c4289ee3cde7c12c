//! Certificates, tokens and verdicts: what the control half does per CSR, per login and per stream.

use super::Step;
use data_encoding::BASE64;
use eyesplice::admit::Gatekeeper;
use eyesplice::config::{Config, Document};
use eyesplice::material::Material;
use eyesplice::measure::{Rehearsal, verify_kubelet};
use eyesplice_dataplane::seam::{Control, Peer, StreamId, StreamRequest, Verdict};
use eyesplice_identity::inventory::Inventory;
use eyesplice_identity::pem::{CaBundle, FileRef};
use eyesplice_identity::pins::Pins;
use eyesplice_identity::pki::{DEFAULT_SERVICE_IP, InitOptions, Source, init};
use eyesplice_identity::token::BearerToken;
use eyesplice_identity::token::bootstrap::{BootstrapToken, Bound, Expiry, Record, Usages};
use eyesplice_identity::token::jwt::{Algorithm, SigningKey};
use eyesplice_identity::token::serviceaccount::{
    DEFAULT_LEEWAY, MintRequest, ObjectRef, Verifier, mint,
};
use eyesplice_identity::token::static_tokens::StaticTokens;
use eyesplice_identity::verify::{Expected, KubeletTrust, Mode, Trust};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// Lines of a large token file.
const STATIC_TOKENS: usize = 10_000;

const NODE: &str = "worker-1";
const NODE_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

const AUTHORITY: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen: {address: \"127.0.0.1:0\", tlsCertFile: apiserver.crt, tlsPrivateKeyFile: apiserver.key}
authentication: {clientCAFile: ca.crt}
store: {path: authority.redb}
signers:
- {signerName: kubernetes.io/kubelet-serving, certFile: kubelet-serving-ca.crt, keyFile: kubelet-serving-ca.key}
approval: {inventoryFile: inventory.yaml}
";

const GATEWAY: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners: [{name: uds, unix: {path: egress.sock}}]
egress:
  rules:
  - {name: no-db, cidrs: [10.9.0.0/16], action: deny}
  - {name: kubelets, cidrs: [10.0.0.0/8], ports: [10250], action: terminate}
egressCA: {certFile: egress-ca.crt, keyFile: egress-ca.key}
kubelet:
  caFile: kubelet-serving-ca.crt
  clientCertFile: eyesplice-kubelet-client.crt
  clientKeyFile: eyesplice-kubelet-client.key
  apiserverClientCAFile: ca.crt
  inventoryFile: inventory.yaml
";

/// All steps. Files are gone when the last of them is.
pub(crate) fn steps() -> Vec<Step> {
    let site = Rc::new(site());
    let mut steps = certificates(&site);
    steps.extend(tokens());
    steps.push(verdict(&site));
    steps
}

/// The certificates of a cluster with one node: ECDSA P-256 throughout.
fn site() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let options = InitOptions {
        apiserver: Vec::new(),
        server: None,
        service_ips: vec![DEFAULT_SERVICE_IP],
        service_cidrs: Vec::new(),
        nodes: vec![format!("{NODE}={NODE_IP}").parse().expect("a node")],
        gateway: Vec::new(),
        agents: Vec::new(),
    };
    init(dir.path(), &Source::Options(Box::new(options)), true).expect("certificates");
    for (name, text) in [("authority.yaml", AUTHORITY), ("gateway.yaml", GATEWAY)] {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a file");
    }
    dir
}

/// What a kubelet asks for as a server, as the store keeps it.
fn csr() -> Vec<u8> {
    let user = format!("system:node:{NODE}");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "system:nodes");
    params
        .distinguished_name
        .push(DnType::CommonName, user.as_str());
    let name = SanType::DnsName(NODE.try_into().expect("a name"));
    params.subject_alt_names = vec![name, SanType::IpAddress(NODE_IP.into())];
    let key = KeyPair::generate().expect("a key");
    let request = params.serialize_request(&key).expect("a request");
    let request = BASE64.encode(request.pem().expect("PEM").as_bytes());
    let spec = serde_json::json!({
        "request": request,
        "signerName": "kubernetes.io/kubelet-serving",
        "usages": ["digital signature", "server auth"],
        "username": user,
        "groups": ["system:nodes", "system:authenticated"],
    });
    serde_json::json!({"metadata": {"name": "csr-1"}, "spec": spec})
        .to_string()
        .into_bytes()
}

fn certificates(site: &Rc<TempDir>) -> Vec<Step> {
    let config = site.path().join("authority.yaml");
    let rehearsal = Rehearsal::new(&config, &csr(), SystemTime::now()).expect("an authority");
    let rehearsal = Rc::new(rehearsal);
    let (read, approve, sign) = (Rc::clone(&rehearsal), Rc::clone(&rehearsal), rehearsal);
    vec![
        Step::new("csr/read", move || assert!(read.reads())),
        Step::new("csr/approve", move || assert!(approve.approves())),
        Step::new("csr/sign_p256", move || assert!(sign.signs())),
        kubelet(site.path()),
    ]
}

/// The chain of a kubelet, judged as its stream's verifier does.
fn kubelet(site: &Path) -> Step {
    let file = |name: &str| FileRef::new("bench", site.join(name));
    let bundle = CaBundle::load(file("kubelet-serving-ca.crt")).expect("a CA");
    let inventory = Inventory::load(&site.join("inventory.yaml")).expect("an inventory");
    let trust = Trust::kubelets(KubeletTrust {
        roots: bundle.roots,
        pins: Arc::new(Pins::default()),
        inventory: Some(Arc::new(inventory)),
        mode: Mode::Enforce,
    })
    .expect("a trust");
    let host = format!("{NODE_IP}:10250").parse::<eyesplice_proto::target::Target>();
    let host = host.expect("an address").host;
    let expected = Expected::kubelet(host, 10250, Some(NODE.into()));
    let pem = fs::read(site.join(format!("kubelet-{NODE}.crt"))).expect("a certificate");
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .expect("certificates");
    let now = UnixTime::now();
    Step::new("verify/kubelet_chain", move || {
        verify_kubelet(&trust, &expected, black_box(&chain), now).expect("a good chain");
    })
}

fn tokens() -> Vec<Step> {
    let es256 = SigningKey::generate(Algorithm::Es256).expect("a key").0;
    let mut steps = vec![
        service_account("token/verify_es256", &es256),
        service_account("token/verify_rs256", &rsa()),
    ];
    // Not a generated one: a letter costs other instructions than a digit.
    let token: BootstrapToken = "abcdef.0123456789abcdef".parse().expect("a token");
    let record = Record {
        token: token.clone(),
        expiry: Expiry::Never,
        usages: Usages {
            authentication: true,
            signing: false,
        },
        groups: Vec::new(),
        bound: Bound::default(),
        description: String::new(),
    };
    let presented = token.expose();
    let now = SystemTime::now();
    steps.push(Step::new("token/verify_bootstrap", move || {
        let presented: BootstrapToken = black_box(&presented).parse().expect("a token");
        record.authenticate(&presented, now).expect("its user");
    }));
    steps.push(static_token());
    steps
}

/// RSA keys are not made by this project; openssl makes one.
fn rsa() -> SigningKey {
    let made = Command::new("openssl").args(["genrsa", "2048"]).output();
    let made = made.expect("openssl, which the tests need, too");
    let der = PrivateKeyDer::from_pem_slice(&made.stdout).expect("a key");
    SigningKey::from_der(&der).expect("an RSA key")
}

fn service_account(name: &'static str, key: &SigningKey) -> Step {
    let now = SystemTime::now();
    let request = MintRequest {
        namespace: "prod".to_owned(),
        account: ObjectRef {
            name: "web".to_owned(),
            uid: "0b5f0b0e-5f0a-4d3c-8f3e-6f0f2a9a7c11".to_owned(),
        },
        audiences: vec![ISSUER.to_owned()],
        lifetime: Duration::from_secs(3600),
        bound: None,
    };
    let minted = mint(key, ISSUER, &request, now).expect("a token");
    let keys = vec![key.public().clone()];
    let verifier = Verifier::new(keys, vec![ISSUER.to_owned()], Vec::new(), DEFAULT_LEEWAY);
    Step::new(name, move || {
        let verified = verifier.verify(black_box(minted.token.expose()), &[], now);
        black_box(verified.expect("a good token"));
    })
}

fn static_token() -> Step {
    let mut text = String::new();
    for index in 0..STATIC_TOKENS {
        writeln!(text, "{index:032x},user-{index},{index},\"dev,ops\"").expect("text");
    }
    let tokens = StaticTokens::parse(&text, Path::new("tokens.csv")).expect("a token file");
    let presented = BearerToken::new(&format!("{:032x}", STATIC_TOKENS / 2)).expect("a token");
    Step::new("token/find_static_of_10000", move || {
        assert!(tokens.find(black_box(&presented)).is_some());
    })
}

/// The whole decision about a stream to a kubelet; leaf and policy are there from the first one.
fn verdict(site: &Rc<TempDir>) -> Step {
    let site = Rc::clone(site);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let config = Config::load(&site.path().join("gateway.yaml"))
        .expect("a configuration")
        .config;
    let material = Material::load(&config, SystemTime::now()).expect("its files");
    let gatekeeper = Gatekeeper::new(config, material, runtime.handle().clone());
    let request = StreamRequest {
        id: StreamId::new(0, 0, 1),
        listener: "uds".into(),
        peer: Peer::Unix {
            pid: 1,
            uid: 0,
            gid: 0,
        },
        target: format!("{}:10250", IpAddr::from(NODE_IP))
            .parse()
            .expect("a target"),
        received: SystemTime::now(),
        hop: None,
    };
    Step::new("verdict/admit_kubelet", move || {
        let verdict = runtime.block_on(gatekeeper.admit(request.clone()));
        assert!(matches!(verdict, Ok(Verdict::Connect(_))), "{verdict:?}");
        // Leaves are read from files that must stay as long as the steps.
        black_box(&site);
    })
}
