use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Target, TargetError> {
    text.parse()
}

#[test]
fn authority_good_spellings_come_out_in_one() {
    for (text, expected) in [
        ("10.0.0.7:10250", "10.0.0.7:10250"),
        ("[::1]:10250", "[::1]:10250"),
        ("[2001:DB8:0:0::7]:1", "[2001:db8::7]:1"),
        ("[::ffff:10.0.0.7]:65535", "10.0.0.7:65535"),
        ("[::ffff:7f00:1]:80", "127.0.0.1:80"),
        ("Worker-3.Example.COM:10250", "worker-3.example.com:10250"),
        ("worker-3.example.com.:10250", "worker-3.example.com:10250"),
        ("node_1:10250", "node_1:10250"),
        ("1node:1", "1node:1"),
        ("10.0.0.7.nip.io:1", "10.0.0.7.nip.io:1"),
        ("0xnode:1", "0xnode:1"),
    ] {
        let authority = parse(text).unwrap();
        assert_eq!(authority.to_string(), expected);
        assert_eq!(parse(expected), Ok(authority), "its own text");
    }
    assert!(matches!(
        parse("[::ffff:10.0.0.7]:1").unwrap().host,
        Host::Ip(IpAddr::V4(_))
    ));
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
    assert_eq!(longest.len(), limits::NAME_BYTES);
    assert!(parse(&format!("{longest}:1")).is_ok());
    assert!(
        parse(&format!("{longest}.:1")).is_ok(),
        "the final dot does not count"
    );
    assert_eq!(parse(&format!("{longest}c:1")), Err(TargetError::BadName));
    assert_eq!(
        parse(&format!("{}:1", "a".repeat(64))),
        Err(TargetError::BadName)
    );
}

#[test]
fn authority_hostile_spellings_are_refused_by_cause() {
    use TargetError as E;
    for (text, expected) in [
        ("", E::NoPort),
        ("node", E::NoPort),
        ("node:", E::NoPort),
        ("[::1]", E::NoPort),
        ("[::1]:", E::NoPort),
        ("node:0", E::BadPort),
        ("node:010250", E::BadPort),
        ("node:+1", E::BadPort),
        ("node:65536", E::BadPort),
        ("node:1a", E::BadPort),
        ("node:99999999999999999999", E::BadPort),
        ("user@node:1", E::UserInfo),
        ("user:password@node:1", E::UserInfo),
        ("10.0.0.7:1@node:1", E::UserInfo),
        ("[fe80::1%eth0]:1", E::Zone),
        ("[fe80::1%25eth0]:1", E::Zone),
        ("::1:10250", E::BadIpv6),
        ("2001:db8::7:1", E::BadIpv6),
        ("[::1:10250", E::BadIpv6),
        ("[::1]x:1", E::BadIpv6),
        ("[]:1", E::BadIpv6),
        ("[10.0.0.7]:1", E::BadIpv6),
        ("[node]:1", E::BadIpv6),
        ("[::1]]:1", E::BadIpv6),
        ("[v1.x]:1", E::BadIpv6),
        ("127.1:1", E::OddIpv4),
        ("127.0.0.1.:1", E::OddIpv4),
        ("0x7f.1:1", E::OddIpv4),
        ("0x7f000001:1", E::OddIpv4),
        ("0X7F:1", E::OddIpv4),
        ("0x:1", E::OddIpv4),
        ("127.0.0.0x1:1", E::OddIpv4),
        ("0177.0.0.1:1", E::OddIpv4),
        ("127.0.0.01:1", E::OddIpv4),
        ("2130706433:1", E::OddIpv4),
        ("256.0.0.1:1", E::OddIpv4),
        ("1.2.3.4.5:1", E::OddIpv4),
        ("node.1:1", E::OddIpv4),
        (":1", E::BadName),
        (".:1", E::BadName),
        ("a..b:1", E::BadName),
        (".a:1", E::BadName),
        ("a..:1", E::BadName),
        ("-a:1", E::BadName),
        ("a-:1", E::BadName),
        ("a.-b:1", E::BadName),
        ("a b:1", E::BadName),
        ("a/b:1", E::BadName),
        ("a%2e:1", E::BadName),
        ("a\0:1", E::BadName),
        ("a,b:1", E::BadName),
        ("n\u{f6}de:1", E::BadName),
        ("\u{ff11}27.0.0.1:1", E::BadName),
        ("*:1", E::BadName),
    ] {
        assert_eq!(parse(text), Err(expected), "{text:?}");
    }
}

#[test]
fn host_alone_takes_ipv6_with_and_without_brackets() {
    for text in ["::1", "[::1]"] {
        assert_eq!(text.parse::<Host>().unwrap().to_string(), "::1");
    }
    assert_eq!("Node-1".parse::<Host>().unwrap().to_string(), "node-1");
    for bad in ["", "node:1", "[::1", "::1]", "a@b", "127.1", "[fe80::1%1]"] {
        assert!(bad.parse::<Host>().is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn authority_of_any_text_is_refused_or_stable(text in "\\PC{0,40}") {
        if let Ok(authority) = parse(&text) {
            prop_assert_eq!(parse(&authority.to_string()), Ok(authority));
        }
    }

    #[test]
    fn authority_of_likely_text_is_refused_or_stable(text in "[0-9a-fx.:%@\\[\\]A-]{0,24}:[0-9]{0,6}") {
        if let Ok(authority) = parse(&text) {
            prop_assert_eq!(parse(&authority.to_string()), Ok(authority.clone()));
            // Whatever the system's own lenient reading, a name never looks like an address.
            if let Host::Name(name) = authority.host {
                prop_assert!(name.as_str().parse::<IpAddr>().is_err());
            }
        }
    }
}
