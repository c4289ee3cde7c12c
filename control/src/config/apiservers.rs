//! Reads `apiservers`, where requests to the Kubernetes API go, and the listeners that lead there
//! without TLS of ours.

use super::bounds;
use super::identity::server;
use super::kube_api::{ApiServerTransport, ApiServers, Balance};
use super::model::{Config, Transport};
use eyesplice_identity::document::{At, Node, Problem, Report, Section, value};
use eyesplice_identity::token::review::ReviewCredential;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const BALANCES: [(&str, Balance); 2] = [
    ("roundRobin", Balance::RoundRobin),
    ("leastStreams", Balance::LeastStreams),
];

/// A restart of an API server is noticed before most clients have given up.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// One slow answer is no failure; three in a row are.
const HEALTH_FAILURES: u32 = 3;

/// Reads a listener.
pub(super) fn read_listener(mut section: Section<'_>) -> Option<ApiServerTransport> {
    let example = "\"0.0.0.0:6445\"";
    let address = section.required("address", example, value::socket_address);
    let proxy_protocol = section.optional("proxyProtocol", value::boolean);
    Some(ApiServerTransport {
        address: address?,
        proxy_protocol: proxy_protocol.unwrap_or_default(),
    })
}

/// Reads the section.
pub(super) fn read(root: &mut Section<'_>) -> Option<ApiServers> {
    let mut section = root.section("apiservers")?;
    let at = section.place_of("servers");
    let servers = section.list("servers", bounds::API_SERVERS, server);
    if section.is_blank("servers") {
        section.missing("servers", "[\"https://10.0.0.1:6443\"]");
    }
    for (index, one) in servers.iter().enumerate() {
        if servers.iter().take(index).any(|other| other == one) {
            let what = format!("names {one} twice");
            let problem = Problem::new(what, "list each API server once");
            section.report().error("apiservers.servers", at, problem);
        }
    }
    let ca_file = section.required_file("caFile", "ca.crt");
    let server_name = section.optional("serverName", value::host);
    let credential = ReviewCredential::read(&mut section, false);
    let interval = |node: &Node| value::duration(node, &bounds::HEALTH_INTERVAL);
    let interval = section.optional("healthInterval", interval);
    let failures = |node: &Node| value::integer::<u32>(node, &bounds::HEALTH_FAILURES);
    let failures = section.optional("healthFailures", failures);
    let balance = |node: &Node| value::word(node, &BALANCES);
    let balance = section.optional("balance", balance);
    Some(ApiServers {
        servers,
        ca_file: ca_file?,
        server_name,
        credential,
        health_interval: interval.unwrap_or(HEALTH_INTERVAL),
        health_failures: failures.unwrap_or(HEALTH_FAILURES),
        balance: balance.unwrap_or_default(),
    })
}

/// Checks what listeners, `apiservers` and `front` say of each other.
pub(super) fn check(config: &Config, root: &Section<'_>) {
    let report = root.report();
    let listeners = config.listeners.iter().enumerate();
    let leads =
        |transport: &Transport| matches!(transport, Transport::Front(_) | Transport::ApiServer(_));
    let leading = config
        .listeners
        .iter()
        .find(|listener| leads(&listener.transport));
    let absent = At::default();
    match (leading, root.has("apiservers")) {
        (Some(listener), false) => {
            let what = format!(
                "is required by listener {:?}, which leads to API servers",
                listener.name
            );
            let fix = "add `apiservers: {servers: [\"https://10.0.0.1:6443\"], caFile: ca.crt}`";
            report.error("apiservers", absent, Problem::new(what, fix));
        }
        (None, true) => {
            let what = "is not used: no listener is a `front` or an `apiserver`";
            let problem = Problem::new(what, "add one, or remove the section");
            report.warn("apiservers", root.place_of("apiservers"), problem);
        }
        (Some(_), true) | (None, false) => {}
    }
    let fronts = listeners.filter_map(|(index, listener)| match &listener.transport {
        Transport::Front(front) => Some((index, front)),
        _ => None,
    });
    let fronts: Vec<_> = fronts.collect();
    let by_certificate = fronts
        .iter()
        .find(|(_, front)| front.client_ca_file.is_some());
    match (by_certificate, &config.front.proxy_client) {
        (Some((index, _)), None) => {
            let what = "lets users come with certificates, and nothing would tell API servers who \
                        they are: front.frontProxyClientCertFile is absent";
            let fix = "add it, signed by the CA of their --requestheader-client-ca-file, or leave \
                       clientCAFile out: users have tokens then";
            let path = format!("listeners[{index}].front.clientCAFile");
            report.error(&path, absent, Problem::new(what, fix));
        }
        (None, Some(_)) => {
            let what = "is not used: no `front` listener has a clientCAFile, so users with \
                        certificates are refused";
            let fix = "add it, or remove the certificate";
            let path = "front.frontProxyClientCertFile";
            report.warn(path, root.place_of("front"), Problem::new(what, fix));
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    if fronts.is_empty() && root.has("front") {
        let what = "is not used: no listener is a `front`";
        let problem = Problem::new(what, "add one, or remove the section");
        report.warn("front", root.place_of("front"), problem);
    }
    check_circles(config, report);
}

/// Finds API servers that are listeners of this gateway.
fn check_circles(config: &Config, report: &Report) {
    let Some(api_servers) = &config.apiservers else {
        return;
    };
    for endpoint in &api_servers.servers {
        let Ok(ip) = endpoint.host.parse::<IpAddr>() else {
            continue;
        };
        let own = config.listeners.iter().find(|listener| {
            let at = listener.transport.address();
            let everywhere = |at: SocketAddr| at.ip().is_unspecified() && ip.is_loopback();
            at.is_some_and(|at| at.port() == endpoint.port && (at.ip() == ip || everywhere(at)))
        });
        if let Some(listener) = own {
            let what = format!("{endpoint} is listener {:?} of this gateway", listener.name);
            let fix = "name the API servers themselves";
            report.error("apiservers.servers", At::default(), Problem::new(what, fix));
        }
    }
}
