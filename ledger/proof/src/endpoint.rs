//! Where on the network something listens.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::as_text::{debug_as_text, serde_as_text};
use crate::names::{Host, NameError};

/// A host and a port: `HOST:PORT`, of an IPv6 address `[HOST]:PORT`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Endpoint {
    /// The host.
    pub host: Host,
    /// The port, 1 to 65535.
    pub port: NonZeroU16,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Not of the form.
    #[error(
        "`{0}` is not HOST:PORT: give a name or an IP address (IPv6 in brackets) and a port from \
         1 to 65535"
    )]
    Form(String),
    /// The host is none.
    #[error("the host before the port is none")]
    Host(#[from] NameError),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let wrong = || EndpointError::Form(text.chars().take(300).collect());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(host) if host.contains(':') => host,
            None if !host.contains(':') => host,
            _ => return Err(wrong()),
        };
        Ok(Self { host: host.parse()?, port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.to_string();
        match host.contains(':') {
            true => write!(formatter, "[{host}]:{}", self.port),
            false => write!(formatter, "{host}:{}", self.port),
        }
    }
}

debug_as_text!(Endpoint);
serde_as_text!(Endpoint);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn an_endpoint_has_one_form() {
        for text in ["node.example:7000", "192.0.2.7:1", "[2001:db8::1]:65535", "localhost:80"] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
            let bytes = codec::encode(&endpoint);
            assert_eq!(codec::decode::<Endpoint>("endpoint", &bytes, 1_000).unwrap(), endpoint);
        }
        for wrong in [
            "",
            "node.example",
            "node.example:0",
            "node.example:65536",
            "2001:db8::1:80",
            ":80",
            "[node.example]:80",
            "[2001:db8::1]80",
            "node example:80",
            "*.example:80",
        ] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }
}
