//! Names on the network, and whose they are.
//!
//! A member's record lists the names that are its own ([`NetworkName`]): DNS
//! names with everything below them, and blocks of IP addresses. Two members
//! never own names that overlap. A certificate speaks for a single [`Host`],
//! and only for one that its member owns.
//!
//! # What nobody owns
//!
//! Loopback names and addresses mean the machine that uses them, so they are
//! nobody's; a certificate may hold them in any member's name, and whoever
//! relies on it goes by the member that it names. What means another host to
//! everybody who uses it (unspecified, link-local, multicast, reserved) belongs
//! to nobody either, and is certified for nobody.
//!
//! # One form
//!
//! DNS names are lower-case letters, digits and hyphens, without a dot at the
//! end; internationalised ones are in their ASCII form (RFC 5890 A-labels). An
//! IPv6 address that stands for an IPv4 one (RFC 4291 §2.5.5.2) is the IPv4
//! address. What is in another form does not decode.

use std::fmt;
use std::io::{Error, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::as_text::{debug_as_text, serde_as_text};
use crate::identifier::bounded_text;

/// Why a text or address is not a name that can be owned or certified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Not a host name.
    #[error(
        "`{0}` is not a host name: labels of 1 to 63 letters, digits and hyphens, {max} characters \
         at most, no wildcard, and internationalised names in their ASCII form",
        max = DnsName::MAX
    )]
    Host(String),
    /// An address with bits beyond its prefix, or a prefix that is too long.
    #[error(
        "`{0}` is not a block of addresses: write an address, or the first address of a block and \
         its length, such as 192.0.2.0/24"
    )]
    Block(String),
    /// Loopback, unspecified, link-local, multicast or reserved.
    #[error("{0} means another host to everybody who uses it, so it belongs to no member")]
    Nobodys(String),
}

/// A host name in its one form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct DnsName(String);

impl DnsName {
    /// Longest name in characters (RFC 1035 §2.3.4).
    pub const MAX: usize = 253;

    /// Checks `text`, which may have capital letters.
    ///
    /// # Errors
    /// [`NameError::Host`].
    pub fn new(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError::Host(text.chars().take(Self::MAX + 1).collect());
        if text.len() > Self::MAX {
            return Err(wrong());
        }
        let name = text.to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'-')
        };
        // What ends in a number is read as an address (WHATWG URL §3.5).
        let number = |label: &str| label.bytes().all(|one| one.is_ascii_digit());
        let fine = name.split('.').all(label) && !name.rsplit('.').next().is_some_and(number);
        if fine { Ok(Self(name)) } else { Err(wrong()) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `other` is this name or below it.
    pub fn covers(&self, other: &DnsName) -> bool {
        match other.0.strip_suffix(&self.0) {
            Some(rest) => rest.is_empty() || rest.ends_with('.'),
            None => false,
        }
    }

    /// Whether it means the machine that uses it (RFC 6761 §6.3).
    pub fn is_loopback(&self) -> bool {
        self.0 == "localhost" || self.0.ends_with(".localhost")
    }
}

impl BorshDeserialize for DnsName {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let text = bounded_text(reader, Self::MAX)?;
        let name = Self::new(&text).map_err(invalid)?;
        if name.0 == text { Ok(name) } else { Err(invalid(NameError::Host(text))) }
    }
}

/// Addresses with a common prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct IpBlock {
    first: IpAddr,
    length: u8,
}

/// Blocks that belong to nobody: RFC 1122 §3.2.1.3, RFC 3927, RFC 5771, RFC
/// 1112 §4; RFC 4291 §2.5.2, §2.5.3, §2.5.5.2, §2.5.6, §2.7.
const NOBODYS: [IpBlock; 10] = [
    block(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8),
    block(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    block(IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    block(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4),
    block(IpAddr::V4(Ipv4Addr::new(240, 0, 0, 0)), 4),
    block(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 128),
    block(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    block(IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0)), 96),
    block(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
    block(IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
];

const fn block(first: IpAddr, length: u8) -> IpBlock {
    IpBlock { first, length }
}

impl IpBlock {
    /// The addresses that have the first `length` bits of `first`.
    ///
    /// # Errors
    /// [`NameError::Block`] when `length` is over the address's, or `first` has
    /// bits beyond it; [`NameError::Nobodys`] when some of the addresses can be
    /// nobody's.
    pub fn new(first: IpAddr, length: u8) -> Result<Self, NameError> {
        let block = Self { first, length };
        let text = || block.to_string();
        if length > width(first) || bits(first) & !mask(length) != 0 {
            return Err(NameError::Block(text()));
        }
        if NOBODYS.iter().any(|nobodys| nobodys.overlaps(&block)) {
            return Err(NameError::Nobodys(text()));
        }
        Ok(block)
    }

    /// Whether `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        width(self.first) == width(address)
            && (bits(self.first) ^ bits(address)) & mask(self.length) == 0
    }

    /// Whether an address is in both.
    pub fn overlaps(&self, other: &IpBlock) -> bool {
        if self.length <= other.length {
            self.contains(other.first)
        } else {
            other.contains(self.first)
        }
    }
}

/// Bits of an address.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address as a number, its first bit in front of all others.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The first `length` bits.
fn mask(length: u8) -> u128 {
    match length {
        0 => 0,
        length => u128::MAX << (128 - u32::from(length.min(128))),
    }
}

/// The first `length` bits of an address, and zeros.
fn truncated(address: IpAddr, length: u8) -> IpAddr {
    let kept = bits(address) & mask(length);
    match address {
        // The lower 96 bits are zeros.
        IpAddr::V4(_) => Ipv4Addr::from_bits((kept >> 96) as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(kept).into(),
    }
}

impl BorshDeserialize for IpBlock {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let first = IpAddr::deserialize_reader(reader)?;
        let length = u8::deserialize_reader(reader)?;
        Self::new(first, length).map_err(invalid)
    }
}

/// A name that a member owns.
///
/// Written as a host name (`maker.example`: it and all below it), an address
/// (`192.0.2.7`) or a block of addresses (`2001:db8::/32`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum NetworkName {
    /// A name and all below it.
    Dns(OwnedDnsName) = 0,
    /// Addresses.
    Ip(IpBlock) = 1,
}

/// A host name that can be owned: not a loopback one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct OwnedDnsName(DnsName);

impl OwnedDnsName {
    /// Takes a name that is not loopback.
    ///
    /// # Errors
    /// [`NameError::Nobodys`].
    pub fn new(name: DnsName) -> Result<Self, NameError> {
        if name.is_loopback() { Err(NameError::Nobodys(name.0)) } else { Ok(Self(name)) }
    }
}

impl BorshDeserialize for OwnedDnsName {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        Self::new(DnsName::deserialize_reader(reader)?).map_err(invalid)
    }
}

impl NetworkName {
    /// Whether the owner of this may speak for `host`.
    pub fn covers(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Dns(OwnedDnsName(name)), Host::Dns(host)) => name.covers(host),
            (Self::Ip(block), Host::Ip(address)) => block.contains(address.0),
            _ => false,
        }
    }

    /// Whether some host would be covered by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dns(one), Self::Dns(other)) => one.0.covers(&other.0) || other.0.covers(&one.0),
            (Self::Ip(one), Self::Ip(other)) => one.overlaps(other),
            _ => false,
        }
    }
}

/// What a certificate speaks for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Host {
    /// One name.
    Dns(DnsName) = 0,
    /// One address.
    Ip(Address) = 1,
}

/// An address in its one form: never IPv6 for what is IPv4.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct Address(IpAddr);

impl BorshDeserialize for Address {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let address = IpAddr::deserialize_reader(reader)?;
        if address.to_canonical() == address {
            Ok(Self(address))
        } else {
            Err(invalid(NameError::Block(address.to_string())))
        }
    }
}

impl Host {
    /// The host at `address`.
    pub fn at(address: IpAddr) -> Self {
        Self::Ip(Address(address.to_canonical()))
    }

    /// The names whose owner may speak for this one, the narrowest first; none
    /// of what belongs to nobody.
    pub fn covering_names(&self) -> Vec<NetworkName> {
        match self {
            Self::Dns(DnsName(name)) => {
                let labels = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
                let names = std::iter::once(name.as_str()).chain(labels);
                let owned = names.map(|name| OwnedDnsName::new(DnsName(name.to_owned())));
                owned.filter_map(|name| Some(NetworkName::Dns(name.ok()?))).collect()
            }
            Self::Ip(Address(address)) => (0..=width(*address))
                .rev()
                .filter_map(|length| {
                    Some(NetworkName::Ip(IpBlock::new(truncated(*address, length), length).ok()?))
                })
                .collect(),
        }
    }

    /// Whether it means the machine that uses it.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Dns(name) => name.is_loopback(),
            Self::Ip(Address(address)) => address.is_loopback(),
        }
    }
}

impl From<DnsName> for Host {
    fn from(name: DnsName) -> Self {
        Self::Dns(name)
    }
}

fn invalid(error: NameError) -> Error {
    Error::new(ErrorKind::InvalidData, error)
}

impl FromStr for DnsName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl FromStr for NetworkName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError::Block(text.chars().take(64).collect());
        if let Some((first, length)) = text.split_once('/') {
            let first: IpAddr = first.parse().map_err(|_| wrong())?;
            let canonical = length.parse::<u8>().ok().filter(|read| read.to_string() == length);
            return Ok(Self::Ip(IpBlock::new(first, canonical.ok_or_else(wrong)?)?));
        }
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self::Ip(IpBlock::new(address, width(address))?)),
            Err(_) => Ok(Self::Dns(OwnedDnsName::new(DnsName::new(text)?)?)),
        }
    }
}

impl FromStr for Host {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self::at(address)),
            Err(_) => Ok(Self::Dns(DnsName::new(text)?)),
        }
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for IpBlock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == width(self.first) {
            fmt::Display::fmt(&self.first, formatter)
        } else {
            write!(formatter, "{}/{}", self.first, self.length)
        }
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(OwnedDnsName(name)) => fmt::Display::fmt(name, formatter),
            Self::Ip(block) => fmt::Display::fmt(block, formatter),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => fmt::Display::fmt(name, formatter),
            Self::Ip(Address(address)) => fmt::Display::fmt(address, formatter),
        }
    }
}

debug_as_text!(DnsName, NetworkName, Host, IpBlock);
serde_as_text!(DnsName, NetworkName, Host);

#[cfg(test)]
mod tests;
