//! Subject alternative names: the four kinds that profiles know, checked one
//! by one and encoded again by this crate.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use der::asn1::ObjectIdentifier;
use der::{Decode, Encode};
use x509_cert::ext::pkix::name::{GeneralName, HardwareModuleName};

use crate::form::FormError;
use crate::{limits, oid, tlv};

/// One alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlternativeName {
    /// `dNSName`: a host name in lower-case LDH form.
    Dns(String),
    /// `iPAddress`.
    Ip(IpAddr),
    /// `uniformResourceIdentifier`; here only `urn:hufu:...`.
    Uri(String),
    /// `hardwareModuleName` (RFC 4108 section 5), what IEEE 802.1AR calls
    /// for: type of the module and its serial number.
    HardwareModule {
        /// The type, assigned by the module's vendor.
        kind: ObjectIdentifier,
        /// The serial number, 1 to 64 octets.
        serial: Vec<u8>,
    },
}

impl AlternativeName {
    /// A checked host name.
    pub fn dns(name: &str) -> Result<AlternativeName, FormError> {
        let name = name.to_ascii_lowercase();
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if name.len() > limits::SAN_VALUE || !name.split('.').all(label) {
            return Err(refused(format!(
                "{:?} is not a host name; use letters, digits and hyphens in labels of at most 63, without a wildcard",
                shortened(&name)
            )));
        }
        if name.split('.').next_back().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(refused(format!("{name:?} looks like an address; give it as an IP name")));
        }
        Ok(AlternativeName::Dns(name))
    }

    /// A checked URN of this system: `urn:hufu:` and printable ASCII of the
    /// characters RFC 3986 leaves unreserved, and `:` and `%`.
    pub fn urn(uri: &str) -> Result<AlternativeName, FormError> {
        let rest = uri.strip_prefix("urn:hufu:").unwrap_or("");
        let fine = !rest.is_empty()
            && uri.len() <= limits::SAN_VALUE
            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:%".contains(&b));
        if !fine {
            return Err(refused(format!("{:?} is not a urn:hufu: name", shortened(uri))));
        }
        Ok(AlternativeName::Uri(uri.to_owned()))
    }

    /// A hardware module name; the serial number has 1 to 64 octets.
    pub fn hardware_module(
        kind: ObjectIdentifier,
        serial: &[u8],
    ) -> Result<AlternativeName, FormError> {
        if serial.is_empty() || serial.len() > 64 {
            return Err(refused("hwSerialNum must have 1 to 64 octets".to_owned()));
        }
        Ok(AlternativeName::HardwareModule { kind, serial: serial.to_vec() })
    }

    fn from_general(name: &GeneralName) -> Result<AlternativeName, FormError> {
        match name {
            GeneralName::DnsName(name) => Self::dns(name.as_str()),
            GeneralName::UniformResourceIdentifier(uri) => Self::urn(uri.as_str()),
            GeneralName::IpAddress(address) => {
                let octets = address.as_bytes();
                if let Ok(v4) = <[u8; 4]>::try_from(octets) {
                    Ok(AlternativeName::Ip(IpAddr::V4(Ipv4Addr::from(v4))))
                } else if let Ok(v6) = <[u8; 16]>::try_from(octets) {
                    Ok(AlternativeName::Ip(IpAddr::V6(Ipv6Addr::from(v6))))
                } else {
                    Err(refused("an IP name has 4 or 16 octets".to_owned()))
                }
            }
            GeneralName::OtherName(other) if other.type_id == oid::HARDWARE_MODULE_NAME => {
                let module: HardwareModuleName = other
                    .value
                    .decode_as()
                    .map_err(|error| refused(format!("hardwareModuleName: {error}")))?;
                Self::hardware_module(module.hw_type, module.hw_serial_num.as_bytes())
            }
            other => Err(refused(format!(
                "a name of the kind {} is not certified here; use dNSName, iPAddress, urn:hufu: or hardwareModuleName",
                kind_of(other)
            ))),
        }
    }

    fn to_der(&self) -> Vec<u8> {
        match self {
            Self::Dns(name) => tlv::wrap(0x82, &[name.as_bytes()]),
            Self::Uri(uri) => tlv::wrap(0x86, &[uri.as_bytes()]),
            Self::Ip(IpAddr::V4(address)) => tlv::wrap(0x87, &[&address.octets()]),
            Self::Ip(IpAddr::V6(address)) => tlv::wrap(0x87, &[&address.octets()]),
            Self::HardwareModule { kind, serial } => {
                let module = tlv::sequence(&[&tlv::oid(kind), &tlv::octet_string(serial)]);
                tlv::wrap(
                    tlv::context(0),
                    &[
                        &tlv::oid(&oid::HARDWARE_MODULE_NAME),
                        &tlv::wrap(tlv::context(0), &[&module]),
                    ],
                )
            }
        }
    }
}

impl fmt::Display for AlternativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "DNS:{name}"),
            Self::Ip(address) => write!(f, "IP:{address}"),
            Self::Uri(uri) => write!(f, "URI:{uri}"),
            Self::HardwareModule { kind, serial } => {
                write!(f, "hardwareModule:{kind}:{}", hex::encode(serial))
            }
        }
    }
}

/// Parses the value of a subjectAltName extension.
pub(crate) fn parse(value: &[u8]) -> Result<Vec<AlternativeName>, FormError> {
    let names = Vec::<GeneralName>::from_der(value)
        .map_err(|error| refused(format!("does not decode: {error}")))?;
    if names.to_der().map_err(FormError::encoding)? != value {
        return Err(refused("is not in DER".to_owned()));
    }
    if names.is_empty() || names.len() > limits::SAN_NAMES {
        return Err(refused(format!("must hold 1 to {} names", limits::SAN_NAMES)));
    }
    let names: Vec<AlternativeName> =
        names.iter().map(AlternativeName::from_general).collect::<Result<_, _>>()?;
    for (position, name) in names.iter().enumerate() {
        if names[..position].contains(name) {
            return Err(refused(format!("{name} stands twice")));
        }
    }
    Ok(names)
}

/// Whether a request for `some` asks for what a certificate with `held` has: the
/// same names in whatever order. Member and roles, which the authority wrote, it
/// may leave out.
pub(crate) fn renews(some: &[AlternativeName], held: &[AlternativeName]) -> bool {
    let asked = |name: &AlternativeName| some.contains(name);
    some.iter().all(|name| held.contains(name))
        && held.iter().all(|name| matches!(name, AlternativeName::Uri(_)) || asked(name))
}

/// The names as text, for messages.
pub(crate) fn listed(names: &[AlternativeName]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The value of a subjectAltName extension.
pub(crate) fn to_der(names: &[AlternativeName]) -> Vec<u8> {
    let names: Vec<Vec<u8>> = names.iter().map(AlternativeName::to_der).collect();
    let parts: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    tlv::sequence(&parts)
}

fn refused(detail: String) -> FormError {
    FormError::Extension { extension: "subjectAltName".to_owned(), detail }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

fn kind_of(name: &GeneralName) -> &'static str {
    match name {
        GeneralName::OtherName(_) => "otherName",
        GeneralName::Rfc822Name(_) => "rfc822Name",
        GeneralName::DnsName(_) => "dNSName",
        GeneralName::DirectoryName(_) => "directoryName",
        GeneralName::EdiPartyName(_) => "ediPartyName",
        GeneralName::UniformResourceIdentifier(_) => "uniformResourceIdentifier",
        GeneralName::IpAddress(_) => "iPAddress",
        GeneralName::RegisteredId(_) => "registeredID",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = AlternativeName> {
        prop_oneof![
            "[a-z][a-z0-9]{0,20}(\\.[a-z][a-z0-9]{0,10}){0,3}".prop_map(AlternativeName::Dns),
            any::<IpAddr>().prop_map(AlternativeName::Ip),
            "urn:hufu:member:[a-z0-9._~-]{1,30}".prop_map(AlternativeName::Uri),
            proptest::collection::vec(any::<u8>(), 1..=64).prop_map(|serial| {
                AlternativeName::HardwareModule {
                    kind: ObjectIdentifier::new_unwrap("2.23.133.1.2"),
                    serial,
                }
            }),
        ]
    }

    proptest! {
        #[test]
        fn der_round_trips(names in proptest::collection::vec(name(), 1..8)) {
            let mut distinct: Vec<AlternativeName> = Vec::new();
            for name in names {
                if !distinct.contains(&name) {
                    distinct.push(name);
                }
            }
            prop_assert_eq!(parse(&to_der(&distinct)).unwrap(), distinct);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }

    #[test]
    fn wildcards_mail_and_duplicates_are_refused() {
        assert!(AlternativeName::dns("*.example.org").is_err());
        assert!(AlternativeName::dns("a..b").is_err());
        assert!(AlternativeName::dns("10.0.0.1").is_err());
        assert!(AlternativeName::urn("https://example.org").is_err());
        assert!(AlternativeName::urn("urn:hufu:role:a b").is_err());
        let twice = [AlternativeName::Dns("a".into()), AlternativeName::Dns("a".into())];
        assert!(parse(&to_der(&twice)).unwrap_err().to_string().contains("twice"));
        let mail = tlv::sequence(&[&tlv::wrap(0x81, &[b"a@b.c"])]);
        assert!(parse(&mail).unwrap_err().to_string().contains("rfc822Name"));
        assert!(parse(&tlv::sequence(&[])).is_err());
    }
}
