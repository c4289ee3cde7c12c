//! Writes the header of the PROXY protocol, version 2 (proxy-protocol.txt of HAProxy, section 2.2):
//! it tells a server where a connection comes from that reaches it through us.

use std::net::{IpAddr, SocketAddr};

/// What every header begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, of a connection that the sender makes for itself.
const LOCAL: u8 = 0x20;

/// Version 2, of a connection that the sender makes for somebody else.
const PROXY: u8 = 0x21;

/// Appends the header of a connection from the first address to the second; none: one whose
/// addresses mean nothing to the server, which takes our own then.
pub fn write_v2(addresses: Option<(SocketAddr, SocketAddr)>, out: &mut Vec<u8>) {
    out.extend_from_slice(&SIGNATURE);
    let Some((source, destination)) = addresses else {
        return out.extend_from_slice(&[LOCAL, 0, 0, 0]);
    };
    // A socket for both families shows IPv4 as a part of IPv6.
    match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[PROXY, TCP4, 0, 12]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (from, to) => {
            out.extend_from_slice(&[PROXY, TCP6, 0, 36]);
            out.extend_from_slice(&wide(from));
            out.extend_from_slice(&wide(to));
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}

/// TCP over IPv4: twice four bytes and two ports follow.
const TCP4: u8 = 0x11;

/// TCP over IPv6: twice sixteen bytes and two ports follow.
const TCP6: u8 = 0x21;

fn wide(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(source: &str, destination: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let addresses = (source.parse().unwrap(), destination.parse().unwrap());
        write_v2(Some(addresses), &mut out);
        assert_eq!(out[..12], SIGNATURE);
        assert_eq!(
            out.len() - 16,
            usize::from(out[14]) << 8 | usize::from(out[15])
        );
        out.split_off(12)
    }

    #[test]
    fn addresses_of_one_family_keep_it() {
        let expected = [
            0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 0xd4, 0x31, 0x19, 0x2b,
        ];
        assert_eq!(header("192.0.2.1:54321", "198.51.100.2:6443"), expected);
        assert_eq!(
            header("[::ffff:192.0.2.1]:54321", "[::ffff:198.51.100.2]:6443"),
            expected
        );
        let six = header("[2001:db8::1]:1", "[2001:db8::2]:2");
        assert_eq!(six[..4], [0x21, 0x21, 0, 36]);
        assert_eq!(six[4..8], [0x20, 1, 0x0d, 0xb8]);
        assert_eq!(six[19], 1);
        assert_eq!(six[35..], [2, 0, 1, 0, 2]);
    }

    #[test]
    fn addresses_of_two_families_are_both_ipv6() {
        let mixed = header("192.0.2.1:1", "[2001:db8::2]:2");
        assert_eq!(mixed[..4], [0x21, 0x21, 0, 36]);
        assert_eq!(mixed[14..20], [0xff, 0xff, 192, 0, 2, 1]);
    }

    #[test]
    fn connection_without_addresses_is_the_senders_own() {
        let mut out = Vec::new();
        write_v2(None, &mut out);
        assert_eq!(
            out[..12],
            *b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A"
        );
        assert_eq!(out[12..], [0x20, 0, 0, 0]);
    }
}
