use proptest::prelude::*;

use super::*;
use crate::codec;

fn owned(text: &str) -> NetworkName {
    text.parse().unwrap()
}

fn host(text: &str) -> Host {
    text.parse().unwrap()
}

#[test]
fn a_name_covers_itself_and_what_is_below_it() {
    for (name, covered, not) in [
        (
            "maker.example",
            vec!["maker.example", "a.maker.example", "A.B.Maker.Example"],
            vec!["otherMaker.example", "example", "maker.example.org", "127.0.0.1"],
        ),
        ("192.0.2.7", vec!["192.0.2.7", "::ffff:192.0.2.7"], vec!["192.0.2.8", "maker.example"]),
        ("192.0.2.0/25", vec!["192.0.2.127"], vec!["192.0.2.128", "2001:db8::1"]),
        ("2001:db8::/32", vec!["2001:db8::1"], vec!["2001:db9::1", "192.0.2.7"]),
    ] {
        for one in covered {
            assert!(owned(name).covers(&host(one)), "{name} covers {one}");
        }
        for one in not {
            assert!(!owned(name).covers(&host(one)), "{name} does not cover {one}");
        }
    }
}

#[test]
fn what_belongs_to_nobody_cannot_be_owned() {
    for text in [
        "localhost",
        "node.localhost",
        "127.0.0.1",
        "127.0.0.0/30",
        "0.0.0.0/0",
        "::/0",
        "::1",
        "::",
        "::ffff:192.0.2.7",
        "169.254.1.1",
        "fe80::1",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
        "126.0.0.0/7",
    ] {
        assert!(matches!(text.parse::<NetworkName>(), Err(NameError::Nobodys(_))), "{text}");
    }
    for text in ["localhost", "node.localhost", "127.0.0.9", "::1", "::ffff:127.0.0.1"] {
        assert!(host(text).is_loopback(), "{text}");
    }
    assert!(!host("localhost.example").is_loopback());
    for text in ["localhost", "127.0.0.1", "::1", "169.254.0.1", "fe80::1"] {
        assert_eq!(host(text).covering_names(), [], "{text}");
    }
}

#[test]
fn what_is_no_name_is_refused() {
    for text in [
        "",
        ".",
        "maker.example.",
        ".maker.example",
        "*.maker.example",
        "-a.example",
        "a-.example",
        "a_b.example",
        "größe.example",
        "1.2.3",
        "a b",
        "a\0b",
        "192.0.2.0/33",
        "192.0.2.1/24",
        "192.0.2.0/024",
        "192.0.2.0/+24",
        "192.0.2.0/",
        "example/24",
        &"a".repeat(64),
        &["a"; 128].join("."),
    ] {
        assert!(text.parse::<NetworkName>().is_err(), "{text}");
    }
}

#[test]
fn names_have_one_encoding() {
    let upper = codec::encode(&(0_u8, "Maker.example"));
    assert!(codec::decode::<NetworkName>("name", &upper, 300).is_err());
    let loopback = codec::encode(&(0_u8, "localhost"));
    assert!(codec::decode::<NetworkName>("name", &loopback, 300).is_err());
    assert!(codec::decode::<Host>("name", &loopback, 300).is_ok());
    let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
    assert!(codec::decode::<Host>("name", &codec::encode(&(1_u8, mapped)), 300).is_err());
    let beyond: IpAddr = "192.0.2.1".parse().unwrap();
    let bytes = codec::encode(&(1_u8, beyond, 24_u8));
    assert!(codec::decode::<NetworkName>("name", &bytes, 300).is_err());
    // Pinned: the forms of docs/formats.md.
    for (text, hexadecimal) in [
        ("maker.example", "000d0000006d616b65722e6578616d706c65"),
        ("192.0.2.0/24", "0100c000020018"),
        ("2001:db8::1", "010120010db800000000000000000000000180"),
    ] {
        assert_eq!(hex::encode(codec::encode(&owned(text))), hexadecimal, "{text}");
    }
    assert_eq!(hex::encode(codec::encode(&host("192.0.2.7"))), "0100c0000207");
}

fn a_label() -> impl Strategy<Value = String> {
    "[a-c]{1,2}"
}

fn an_owned_name() -> impl Strategy<Value = NetworkName> {
    let dns = prop::collection::vec(a_label(), 1..4).prop_map(|labels| owned(&labels.join(".")));
    let v4 = (0_u8..4, 24_u8..=32).prop_map(|(last, length)| {
        let number = u32::from_be_bytes([192, 0, 2, last << 6]);
        let kept = number & (u32::MAX << (32 - u32::from(length)));
        NetworkName::Ip(IpBlock::new(Ipv4Addr::from_bits(kept).into(), length).unwrap())
    });
    let v6 = (any::<u8>(), 16_u8..=128).prop_map(|(one, length)| {
        let number = Ipv6Addr::new(0x2001, 0xdb8, u16::from(one), 0, 0, 0, 0, 1).to_bits();
        let kept = number & (u128::MAX << (128 - u32::from(length)));
        NetworkName::Ip(IpBlock::new(Ipv6Addr::from_bits(kept).into(), length).unwrap())
    });
    prop_oneof![3 => dns, 2 => v4, 1 => v6]
}

proptest! {
    #[test]
    fn text_and_bytes_read_as_they_were_written(name in an_owned_name()) {
        prop_assert_eq!(&owned(&name.to_string()), &name);
        let bytes = codec::encode(&name);
        prop_assert_eq!(codec::decode::<NetworkName>("name", &bytes, 300).unwrap(), name);
    }

    /// Names that do not overlap have no host in common: nobody can be
    /// certified for a host that two members own.
    #[test]
    fn a_host_has_one_owner(one in an_owned_name(), other in an_owned_name(), below in a_label()) {
        prop_assert_eq!(one.overlaps(&other), other.overlaps(&one));
        for name in [&one, &other] {
            let hosts = match name {
                NetworkName::Dns(OwnedDnsName(name)) => vec![
                    Host::Dns(name.clone()),
                    host(&format!("{below}.{name}")),
                ],
                NetworkName::Ip(block) => vec![Host::at(block.first)],
            };
            for host in hosts {
                prop_assert!(name.covers(&host));
                if one.covers(&host) && other.covers(&host) {
                    prop_assert!(one.overlaps(&other), "{} {} {}", one, other, host);
                }
            }
        }
        // And what overlaps does have one: the narrower name itself.
        if one.overlaps(&other) && matches!((&one, &other), (NetworkName::Dns(_), NetworkName::Dns(_))) {
            let narrow = if one.to_string().len() > other.to_string().len() { &one } else { &other };
            let host = host(&narrow.to_string());
            prop_assert!(one.covers(&host) && other.covers(&host));
        }
    }

    /// Whose a host is is looked up by the names that would cover it.
    #[test]
    fn a_name_is_among_those_that_cover_its_hosts(name in an_owned_name(), below in a_label()) {
        let hosts = match &name {
            NetworkName::Dns(OwnedDnsName(name)) => {
                vec![Host::Dns(name.clone()), host(&format!("{below}.{name}"))]
            }
            NetworkName::Ip(block) => vec![Host::at(block.first)],
        };
        for host in hosts {
            let covering = host.covering_names();
            prop_assert!(covering.contains(&name), "{} of {}", name, host);
            prop_assert!(covering.iter().all(|one| one.covers(&host)));
        }
    }

    #[test]
    fn no_text_panics(text in ".{0,40}") {
        let _ = text.parse::<NetworkName>();
        let _ = text.parse::<Host>();
    }
}
