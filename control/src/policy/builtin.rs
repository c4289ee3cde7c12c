//! The denials that need no rule: addresses that an egress for kubelets, pods and services has no
//! business with, in whatever form they are written (docs/wire.md, "Names that resolve twice").

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is denied before any rule is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, derive_more::Display)]
#[display("{}", self.as_str())]
pub enum BuiltinDenial {
    /// 127.0.0.0/8, ::1.
    Loopback,
    /// 169.254.0.0/16, fe80::/10.
    LinkLocal,
    /// A cloud's metadata service: it hands out credentials to whoever asks from this host.
    Metadata,
    /// 224.0.0.0/4, ff00::/8.
    Multicast,
    /// 255.255.255.255.
    Broadcast,
    /// 0.0.0.0/8, ::; the kernel dials this host instead.
    Unspecified,
    /// A listener of this process or its admin endpoint.
    OwnListener,
}

impl BuiltinDenial {
    /// Tells whether `egress.insecureAllowTargets` lifts the denial. What nobody can mean to dial
    /// stays denied.
    pub fn can_be_exempted(self) -> bool {
        matches!(self, Self::Loopback | Self::LinkLocal | Self::Metadata)
    }

    /// Names what the address is, for the kubectl user.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "a cloud metadata address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
            Self::Unspecified => "an unspecified address",
            Self::OwnListener => "a listener of eyesplice itself",
        }
    }
}

/// AWS and GCP and Azure (link-local; listed so that the reason is right), Azure's WireServer,
/// Alibaba, Oracle.
const METADATA_V4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// Networks of metadata and host services over IPv6, outside of link-local: AWS (IMDS at `::254`, EKS Pod
/// Identity at `::23`, name server and clock beside them), GCP, Oracle, Scaleway, Akamai, Alibaba. AWS
/// gives each host service an address in its network, so all of it counts.
const METADATA_V6: [(Ipv6Addr, u8); 6] = [
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128),
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128),
    (Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1), 128),
    (Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200), 128),
];

/// Says why an address is denied, looking into IPv6 addresses that carry an IPv4 address.
///
/// `exempt` lifts a denial for the address as it would be dialled, never by the IPv4 address
/// inside of another form: whoever wants such a form reached has to list it as it is.
pub fn builtin_denial(address: IpAddr, exempt: &[IpNet]) -> Option<BuiltinDenial> {
    let address = address.to_canonical();
    let denial = match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => {
            classify_v6(v6).or_else(|| embedded_v4(v6).into_iter().find_map(classify_v4))
        }
    }?;
    let exempted = denial.can_be_exempted() && exempt.iter().any(|net| net.contains(&address));
    (!exempted).then_some(denial)
}

fn classify_v4(address: Ipv4Addr) -> Option<BuiltinDenial> {
    if METADATA_V4.contains(&address) {
        Some(BuiltinDenial::Metadata)
    } else if address.is_loopback() {
        Some(BuiltinDenial::Loopback)
    } else if address.is_link_local() {
        Some(BuiltinDenial::LinkLocal)
    } else if address.is_multicast() {
        Some(BuiltinDenial::Multicast)
    } else if address.is_broadcast() {
        Some(BuiltinDenial::Broadcast)
    } else if address.octets()[0] == 0 {
        Some(BuiltinDenial::Unspecified)
    } else {
        None
    }
}

fn classify_v6(address: Ipv6Addr) -> Option<BuiltinDenial> {
    let within = |(network, bits): &(Ipv6Addr, u8)| {
        (network.to_bits() ^ address.to_bits())
            .checked_shr(u32::from(128 - bits))
            .is_some_and(|differs| differs == 0)
    };
    if METADATA_V6.iter().any(within) {
        Some(BuiltinDenial::Metadata)
    } else if address.is_loopback() {
        Some(BuiltinDenial::Loopback)
    } else if address.is_unspecified() {
        Some(BuiltinDenial::Unspecified)
    } else if address.is_multicast() {
        Some(BuiltinDenial::Multicast)
    } else if address.is_unicast_link_local() {
        Some(BuiltinDenial::LinkLocal)
    } else {
        None
    }
}

/// The IPv4 addresses that a router or translator may read out of an IPv6 address.
///
/// Mapped and compatible (RFC 4291), translated (RFC 2765), NAT64 of the well-known prefix and of the
/// local one (RFC 6052, RFC 8215; prefixes of 64 and of 96 bits within it, for the embedded parts of
/// shorter ones end in zeros, which read as an unspecified address), 6to4 (RFC 3056), Teredo's server and
/// client (RFC 4380) and ISATAP (RFC 5214). NAT64 prefixes of a network's own and 6rd cannot be known:
/// deny them by rule.
pub fn embedded_v4(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let s = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    let mut found = Vec::new();
    let low = join(s[6], s[7]);
    let zero = |range: std::ops::Range<usize>| s[range].iter().all(|&part| part == 0);
    let mapped = zero(0..5) && s[5] == 0xffff;
    let compatible = zero(0..6) && (s[6] != 0 || s[7] > 1);
    let translated = zero(0..4) && s[4] == 0xffff && s[5] == 0;
    let local_nat64 = s[0] == 0x64 && s[1] == 0xff9b && s[2] == 1;
    let nat64 = s[0] == 0x64 && s[1] == 0xff9b && zero(2..6) || local_nat64;
    let isatap = (s[4] & !0x0200) == 0 && s[5] == 0x5efe;
    if mapped || compatible || translated || nat64 || isatap {
        found.push(low);
    }
    // Behind 64 bits of prefix and 8 of zeros, with zeros behind it.
    if local_nat64 && s[4] >> 8 == 0 && s[6] & 0xff == 0 && s[7] == 0 {
        found.push(join(s[4] << 8 | s[5] >> 8, s[5] << 8 | s[6] >> 8));
    }
    if s[0] == 0x2002 {
        found.push(join(s[1], s[2]));
    }
    if s[0] == 0x2001 && s[1] == 0 {
        found.push(join(s[2], s[3]));
        // The client's is written with every bit turned over.
        found.push(join(!s[6], !s[7]));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtin_denial_every_special_address_has_its_reason() {
        use BuiltinDenial::*;
        let table = [
            ("127.0.0.1", Loopback),
            ("127.255.255.254", Loopback),
            ("::1", Loopback),
            ("169.254.0.1", LinkLocal),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("169.254.169.254", Metadata),
            ("168.63.129.16", Metadata),
            ("100.100.100.200", Metadata),
            ("192.0.0.192", Metadata),
            ("fd00:ec2::254", Metadata),
            ("fd00:ec2::23", Metadata),
            ("fd00:ec2::253", Metadata),
            ("fd20:ce::254", Metadata),
            ("fd00:c1::a9fe:a9fe", Metadata),
            ("fd00:42::42", Metadata),
            ("fd00:a9fe:a9fe::1", Metadata),
            ("fd00:100::100:200", Metadata),
            ("169.254.170.23", LinkLocal),
            ("224.0.0.1", Multicast),
            ("239.255.255.255", Multicast),
            ("ff02::1", Multicast),
            ("255.255.255.255", Broadcast),
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("::", Unspecified),
        ];
        for (address, want) in table {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(builtin_denial(address, &[]), Some(want), "{address}");
            let IpAddr::V4(v4) = address else { continue };
            let [a, b, c, d] = v4.octets();
            for form in [
                format!("::ffff:{v4}"),
                format!("::ffff:0:{v4}"),
                format!("64:ff9b::{v4}"),
                format!("64:ff9b:1::{v4}"),
                format!("64:ff9b:1:2:3:4:{v4}"),
                format!("64:ff9b:1:2:{a:02x}:{b:02x}{c:02x}:{d:02x}00:0"),
                format!("2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1"),
                format!("2001:0:{a:02x}{b:02x}:{c:02x}{d:02x}:0:1234:f5ff:fffe"),
                format!(
                    "2001:0:a00:1:8000:1234:{:02x}{:02x}:{:02x}{:02x}",
                    !a, !b, !c, !d
                ),
                format!("fd00::5efe:{v4}"),
                format!("fd00::200:5efe:{v4}"),
            ] {
                let embedded: IpAddr = form.parse().unwrap();
                assert_eq!(builtin_denial(embedded, &[]), Some(want), "{form}");
            }
            if !v4.is_unspecified() {
                let compatible: IpAddr = format!("::{v4}").parse().unwrap();
                assert_eq!(builtin_denial(compatible, &[]), Some(want), "{compatible}");
            }
        }
    }

    #[test]
    fn builtin_denial_ordinary_addresses_pass() {
        for address in [
            "10.0.0.1",
            "192.168.1.1",
            "8.8.8.8",
            "fd00::1",
            "2001:db8::1",
            "64:ff9b::a00:1",
            "64:ff9b:1:2:a:0:100:0",
            "2001:0:a00:1:8000:1234:f5ff:fffe",
            "2001:db8:7f00:1::1",
            "fd20:ce::253",
            "fd00:ec3::254",
            "::ffff:10.0.0.1",
            "2002:a00:1::1",
            "100.100.100.201",
        ] {
            assert_eq!(
                builtin_denial(address.parse().unwrap(), &[]),
                None,
                "{address}"
            );
        }
    }

    #[test]
    fn builtin_denial_exemption_lifts_only_what_can_be_meant() {
        let all: Vec<IpNet> = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        for (address, want) in [
            ("127.0.0.1", None),
            ("::ffff:127.0.0.1", None),
            ("169.254.169.254", None),
            ("fe80::1", None),
            ("0.0.0.0", Some(BuiltinDenial::Unspecified)),
            ("::", Some(BuiltinDenial::Unspecified)),
            ("224.0.0.1", Some(BuiltinDenial::Multicast)),
            ("255.255.255.255", Some(BuiltinDenial::Broadcast)),
        ] {
            assert_eq!(
                builtin_denial(address.parse().unwrap(), &all),
                want,
                "{address}"
            );
        }
        let loopback: Vec<IpNet> = vec!["127.0.0.0/8".parse().unwrap()];
        let nat64 = "64:ff9b::7f00:1".parse().unwrap();
        assert_eq!(
            builtin_denial(nat64, &loopback),
            Some(BuiltinDenial::Loopback)
        );
    }
}
