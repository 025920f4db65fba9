//! The configuration: one TOML file, unknown keys refused.
//!
//! This is the only place that reads it. Nothing secret is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use hufu_proof::codec::MAX_GENESIS;
use hufu_proof::{Genesis, Host, Jurisdictions, Name, NetworkName};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::archive::Archive;
use crate::files;
use crate::retention::Retention;
use crate::store::Store;

/// Largest configuration file, in bytes.
const MAX_CONFIG: u64 = 256 * 1024;

/// Most time servers.
const MAX_TIME_SERVERS: usize = 8;

/// A node's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whose node it is.
    pub member: MemberConfig,
    /// Where things are.
    pub paths: Paths,
    /// The PKCS#11 token with the node's keys.
    pub token: hufu_keys::TokenConfig,
    /// Where the ledger's record is kept.
    #[serde(default)]
    pub store: Store,
    /// How much of the past is kept: everything, where it is left out.
    pub retention: Option<Retention>,
    /// Where what is old goes before it leaves: nowhere, where it is left out.
    pub archive: Option<Archive>,
    /// Traffic among validators.
    pub network: Network,
    /// What the node serves.
    #[serde(default)]
    pub services: Services,
    /// Attestation of devices; only an authority uses it.
    #[serde(default)]
    pub tpm: Tpm,
    /// The certification authority; only an authority uses it.
    #[serde(default)]
    pub ca: Ca,
    /// Who tells the appliance the time; the servers of its image, where it is left
    /// out.
    pub time: Option<Time>,
    /// Who opens backups of the machine; whom an administrator names, where it
    /// is left out.
    pub backup: Option<Operators>,
}

/// Whose node it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberConfig {
    /// The member's name on the ledger.
    pub name: Name,
    /// `authority`, `regulator`, `maker`, `operator`.
    pub kinds: BTreeSet<Name>,
    /// What it may see as a regulator: `"whole"`, `"none"`, or a list. A
    /// regulator says one of them, nobody else does.
    #[serde(default, deserialize_with = "jurisdictions")]
    pub jurisdictions: Option<Jurisdictions>,
    /// The names on the network that are its own: host names with all below
    /// them, addresses, blocks of addresses. Default: those of
    /// `services.names` that are not loopback.
    pub names: Option<BTreeSet<NetworkName>>,
    /// The name for people, by language (`en`, `zh`).
    #[serde(default)]
    pub title: BTreeMap<String, String>,
}

/// Reads what a regulator may see.
fn jurisdictions<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Jurisdictions>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Word(String),
        Listed(BTreeSet<Name>),
    }
    let expected = "`whole`, `none`, or a list of names of jurisdictions";
    let wrong = |_| D::Error::custom(format!("member.jurisdictions: {expected}"));
    match Written::deserialize(from).map_err(wrong)? {
        Written::Word(word) if word == "whole" => Ok(Some(Jurisdictions::Whole)),
        Written::Word(word) if word == "none" => Ok(Some(Jurisdictions::None)),
        Written::Listed(names) if !names.is_empty() => Ok(Some(Jurisdictions::Only(names))),
        _ => Err(D::Error::custom(format!("member.jurisdictions: {expected}"))),
    }
}

/// Where things are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    /// Everything the node keeps.
    pub data: PathBuf,
    /// The genesis file.
    pub genesis: PathBuf,
}

/// Traffic among validators.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Where the validator listens.
    pub listen: SocketAddr,
    /// Where every member's validator listens, by member: `HOST:PORT`. A name is
    /// looked up again for each attempt to connect.
    pub peers: BTreeMap<Name, PeerAddress>,
}

/// What the node serves; an address left out is not served.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Services {
    /// The JSON interface, mTLS.
    pub gateway: Option<SocketAddr>,
    /// Prometheus metrics and health, plain HTTP.
    pub metrics: Option<SocketAddr>,
    /// EST, mTLS; only an authority serves it.
    pub est: Option<SocketAddr>,
    /// OCSP, CRL and CA certificates, plain HTTP; only an authority serves it.
    pub status: Option<SocketAddr>,
    /// Host names and addresses that clients reach this node at; they go into
    /// the request for its certificate.
    #[serde(default = "local_names")]
    pub names: Vec<String>,
    /// Also accept TLS 1.2, for old plants.
    #[serde(default)]
    pub tls12: bool,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            gateway: None,
            metrics: None,
            est: None,
            status: None,
            names: local_names(),
            tls12: false,
        }
    }
}

fn local_names() -> Vec<String> {
    ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec()
}

/// Where a validator listens: `HOST:PORT`, with a name or an IP address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum PeerAddress {
    /// An address.
    Socket(SocketAddr),
    /// A host's name.
    Name {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
}

impl FromStr for PeerAddress {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Socket(address));
        }
        let wrong = || {
            format!(
                "`{text}` is no HOST:PORT of a validator: give a name or an IP address (IPv6 in \
                 brackets) and a port from 1 to 65535"
            )
        };
        let (host, port) = text.rsplit_once(':').with_context(wrong)?;
        let port = port.parse::<NonZeroU16>().ok().with_context(wrong)?.get();
        anyhow::ensure!(hufu_issuance::AlternativeName::dns(host).is_ok(), wrong());
        Ok(Self::Name { host: host.to_owned(), port })
    }
}

impl TryFrom<String> for PeerAddress {
    type Error = anyhow::Error;

    fn try_from(text: String) -> anyhow::Result<Self> {
        text.parse()
    }
}

/// Who opens backups of the machine, so many of them together.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operators {
    /// Their age recipients.
    pub operators: Vec<String>,
    /// How many of them it takes.
    pub threshold: u8,
}

/// Who tells the time, authenticated (NTS, RFC 8915).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// Servers: `HOST` or `HOST:PORT`, with the port of their key establishment.
    pub servers: Vec<TimeServer>,
    /// Certificates (PEM) of who certifies them. Default: the authorities that the
    /// image knows.
    pub authorities: Option<String>,
}

/// Where keys for the time are had.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TimeServer {
    /// A name or an IP address.
    pub host: String,
    /// Its port, where it is not 4460.
    pub port: Option<u16>,
}

impl FromStr for TimeServer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let wrong = || format!("`{text}` is no HOST or HOST:PORT of a time server");
        let (host, port) = match text.parse::<SocketAddr>() {
            Ok(address) => (address.ip().to_string(), Some(address.port())),
            Err(_) if text.parse::<IpAddr>().is_ok() => (text.to_owned(), None),
            Err(_) => match text.split_once(':') {
                Some((host, port)) => {
                    (host.to_owned(), Some(port.parse().ok().with_context(wrong)?))
                }
                None => (text.to_owned(), None),
            },
        };
        let is_ip = host.parse::<IpAddr>().is_ok();
        let named = hufu_issuance::AlternativeName::dns(&host).is_ok();
        anyhow::ensure!((is_ip || named) && port != Some(0), wrong());
        Ok(Self { host, port })
    }
}

impl TryFrom<String> for TimeServer {
    type Error = anyhow::Error;

    fn try_from(text: String) -> anyhow::Result<Self> {
        text.parse()
    }
}

/// Attestation of devices.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tpm {
    /// Root certificates of TPM manufacturers (PEM files).
    #[serde(default)]
    pub manufacturer_roots: Vec<PathBuf>,
}

/// The certification authority.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ca {
    /// Public URL of the status service, written into certificates. Default:
    /// `http://` and the address it listens on.
    pub status_url: Option<String>,
    /// Certificates a member may have at a time for one profile. Default: no
    /// limit but the ledger's.
    pub quota: Option<u64>,
    /// Certificates a member may have issued in a day (UTC) under one profile.
    /// Default: what the profile says.
    pub quota_per_day: Option<u64>,
    /// At a member that is not the authority: `https://HOST:PORT` of the
    /// authority's EST service, where the node renews its TLS certificate. Default:
    /// it is not renewed in service, and its end is warned of.
    pub est_url: Option<String>,
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// A sentence with the line, the key and the remedy.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        Self::parse(&text(path)?, &path.display().to_string())
    }

    /// Reads and checks the text of a configuration that is known as `origin`.
    ///
    /// # Errors
    /// A sentence with the line, the key and the remedy.
    pub fn parse(text: &str, origin: &str) -> anyhow::Result<Self> {
        let what = || format!("in {origin}");
        let config: Self = toml::from_str(text).with_context(what)?;
        config.check().with_context(what)?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        self.token.validate()?;
        self.retention.iter().try_for_each(Retention::check)?;
        self.archive.iter().try_for_each(Archive::check)?;
        anyhow::ensure!(
            !self.member.kinds.is_empty(),
            "member.kinds: name at least one of authority, regulator, maker, operator"
        );
        match (&self.member.jurisdictions, self.member.kinds.contains("regulator")) {
            (None, true) => anyhow::bail!(
                "member.jurisdictions: say what this regulator may see: \"whole\", \"none\", or a \
                 list such as [\"north\"]"
            ),
            (Some(Jurisdictions::Only(_) | Jurisdictions::Whole), false) => anyhow::bail!(
                "member.jurisdictions: they are a regulator's; leave them out, or add the kind \
                 `regulator`"
            ),
            _ => {}
        }
        if let Some(Operators { operators, threshold }) = &self.backup {
            for operator in operators {
                hufu_backup::check_recipient(operator).context("backup.operators")?;
            }
            let most = operators.len().min(hufu_backup::MAX_OPERATORS);
            anyhow::ensure!(
                operators.len() == most && (1..=most).contains(&usize::from(*threshold)),
                "backup: name 1 to {} operators, and a threshold that is not above their number",
                hufu_backup::MAX_OPERATORS
            );
        }
        if let Some(Time { servers, authorities }) = &self.time {
            anyhow::ensure!(
                (1..=MAX_TIME_SERVERS).contains(&servers.len()),
                "time.servers: name 1 to {MAX_TIME_SERVERS}"
            );
            if let Some(pem) = authorities {
                let found = crate::certificates::in_pem(pem.as_bytes());
                found.context("time.authorities")?;
            }
        }
        if !self.is_authority() {
            anyhow::ensure!(
                self.services.est.is_none() && self.services.status.is_none(),
                "services.est and services.status: only a member of kind `authority` serves them"
            );
        }
        Ok(())
    }

    /// Whether this node runs the certification authority.
    pub fn is_authority(&self) -> bool {
        self.member.kinds.iter().any(|kind| kind.as_str() == "authority")
    }

    /// The names on the network that are the member's own.
    ///
    /// # Errors
    /// When `services.names`, from which they are taken where they are not said,
    /// has one that can be nobody's.
    pub fn own_names(&self) -> anyhow::Result<BTreeSet<NetworkName>> {
        if let Some(names) = &self.member.names {
            return Ok(names.clone());
        }
        let mut names = BTreeSet::new();
        for name in &self.services.names {
            let host: Host = name.parse().context("services.names")?;
            if !host.is_loopback() {
                names.insert(name.parse().context("services.names")?);
            }
        }
        Ok(names)
    }

    /// A path in the data directory.
    pub fn data(&self, name: &str) -> PathBuf {
        self.paths.data.join(name)
    }

    /// Where the running node listens for its operator.
    pub fn admin_socket(&self) -> PathBuf {
        self.data("admin.sock")
    }

    /// Where the node's TLS certificate chain is.
    pub fn tls_chain(&self) -> PathBuf {
        self.data("tls.pem")
    }

    /// Reads the genesis file.
    ///
    /// # Errors
    /// A sentence with the path and what is wrong.
    pub fn genesis(&self) -> anyhow::Result<Genesis> {
        read_genesis(&self.paths.genesis)
    }
}

/// Reads the text of a configuration file.
///
/// # Errors
/// A sentence with the path.
pub fn text(path: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(path)
        .with_context(|| {
            format!("no configuration at {}: name it with --config FILE", path.display())
        })?
        .len();
    anyhow::ensure!(size <= MAX_CONFIG, "{} is over {MAX_CONFIG} bytes", path.display());
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a genesis file.
///
/// # Errors
/// A sentence with the path and what is wrong.
pub fn read_genesis(path: &Path) -> anyhow::Result<Genesis> {
    let bytes = files::read(path, MAX_GENESIS as u64)
        .context("cannot read the genesis file; `hufu org found` makes it")?;
    Genesis::from_json(&bytes).with_context(|| format!("in {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[member]
name = "maker"
kinds = ["maker"]
[paths]
data = "/var/lib/hufu"
genesis = "/etc/hufu/genesis.json"
[token]
module = "/usr/lib/softhsm/libsofthsm2.so"
label = "maker"
[network]
listen = "127.0.0.1:7000"
peers = { maker = "127.0.0.1:7000" }
"#;

    fn load(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hufu.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_small_configuration_has_sane_defaults() {
        let config = load(GOOD).unwrap();
        assert_eq!(config.services.names, ["localhost", "127.0.0.1", "::1"]);
        assert!(!config.services.tls12);
        assert_eq!(config.store, Store::Embedded);
        assert!(!config.is_authority());
    }

    #[test]
    fn a_regulator_says_what_it_may_see() {
        let regulator = GOOD.replace("kinds = [\"maker\"]", "kinds = [\"regulator\"]");
        let with = |said: &str| {
            let kinds = "kinds = [\"regulator\"]";
            load(&regulator.replace(kinds, &format!("{kinds}\njurisdictions = {said}")))
        };
        let north = Jurisdictions::Only(BTreeSet::from([Name::new("north").unwrap()]));
        for (said, expected) in [
            ("\"whole\"", Jurisdictions::Whole),
            ("\"none\"", Jurisdictions::None),
            ("[\"north\"]", north),
        ] {
            assert_eq!(with(said).unwrap().member.jurisdictions, Some(expected));
        }
        for wrong in ["[]", "\"all\"", "true", "[\"North\"]"] {
            let error = with(wrong).unwrap_err();
            assert!(error.contains("`whole`, `none`, or a list"), "{error}");
        }
        assert!(load(&regulator).unwrap_err().contains("what this regulator may see"));
        let maker = GOOD.replace("[paths]", "jurisdictions = \"whole\"\n[paths]");
        assert!(load(&maker).unwrap_err().contains("they are a regulator's"));
    }

    #[test]
    fn a_member_owns_the_names_it_is_reached_at_unless_it_says_others() {
        let services =
            "[services]\nnames = [\"node.maker.example\", \"192.0.2.7\", \"localhost\"]\n";
        let owned = |text: &str| {
            let names = load(text).unwrap().own_names();
            names.map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(owned(GOOD).unwrap(), [""; 0]);
        let reached = format!("{GOOD}{services}");
        assert_eq!(owned(&reached).unwrap(), ["node.maker.example", "192.0.2.7"]);
        let said = reached.replace("[paths]", "names = [\"maker.example\"]\n[paths]");
        assert_eq!(owned(&said).unwrap(), ["maker.example"]);
        assert!(owned(&reached.replace("192.0.2.7", "169.254.1.1")).is_err());
        assert!(load(&said.replace("\"maker.example", "\"*.example")).is_err());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (from, to, words) in [
            ("label", "lable", "unknown field `lable`"),
            ("label", "lable", "line 10"),
            ("listen = \"127", "listen = \"x127", "line 12"),
            ("name = \"maker\"", "name = \"Maker\"", "is not a name"),
            ("kinds = [\"maker\"]", "kinds = []", "member.kinds"),
            (
                "[network]",
                "[backup]\noperators = [\"age1x\"]\nthreshold = 1\n[network]",
                "age-keygen",
            ),
            (
                "[network]",
                "[backup]\noperators = []\nthreshold = 1\n[network]",
                "1 to 16 operators",
            ),
            (
                "[network]",
                "[time]\nservers = [\"a b\"]\n[network]",
                "`a b` is no HOST or HOST:PORT",
            ),
            ("[network]", "[time]\nservers = []\n[network]", "time.servers: name 1 to 8"),
            (
                "[network]",
                "[time]\nservers = [\"a\"]\nauthorities = \"x\"\n[network]",
                "time.authorities: no certificate",
            ),
            ("[network]", "[retention]\nheights = 255\n[network]", "retention.heights"),
            ("[network]", "[archive]\ndirectory = \"old\"\n[network]", "archive.directory"),
            (
                "[network]",
                "[archive]\ndirectory = \"/old\"\nheights = 255\n[network]",
                "archive.heights",
            ),
            ("[network]", "[store]\nengine = \"x\"\n[network]", "`embedded` or `foundationdb`"),
            ("[network]", "[store]\nengine = \"foundationdb\"\n[network]", "store.cluster_file"),
            ("[network]", "[services]\nest = \"127.0.0.1:1\"\n[network]", "services.est"),
        ] {
            let error = load(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn a_time_server_is_a_host_and_perhaps_a_port() {
        for (text, host, port) in [
            ("time.example.org", "time.example.org", None),
            ("time.example.org:4461", "time.example.org", Some(4461)),
            ("192.0.2.1", "192.0.2.1", None),
            ("192.0.2.1:1", "192.0.2.1", Some(1)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]:4460", "2001:db8::1", Some(4460)),
        ] {
            let server = TimeServer { host: host.to_owned(), port };
            assert_eq!(text.parse::<TimeServer>().unwrap(), server);
        }
        for wrong in
            ["", ":1", "a:", "a:0", "a:65536", "a\nserver b", "a b", "a nts", "-a", "1.2.3"]
        {
            assert!(wrong.parse::<TimeServer>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_peer_has_a_name_or_an_address_and_a_port() {
        for text in ["192.0.2.1:7000", "[2001:db8::1]:7000"] {
            let socket = PeerAddress::Socket(text.parse().unwrap());
            assert_eq!(text.parse::<PeerAddress>().unwrap(), socket);
        }
        for host in ["node.maker.example", "localhost", "n-1"] {
            let named = PeerAddress::Name { host: host.to_owned(), port: 7000 };
            assert_eq!(format!("{host}:7000").parse::<PeerAddress>().unwrap(), named);
        }
        for wrong in [
            "",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:-1",
            "a b:1",
            "a_b:1",
            "*.a:1",
            "1.2.3:1",
            "256.1.1.1:1",
            "2001:db8::1:7000",
            "a..b:1",
            "-a:1",
            "https://a:1",
        ] {
            assert!(wrong.parse::<PeerAddress>().is_err(), "{wrong:?}");
        }
        let text = GOOD.replace("\"127.0.0.1:7000\" }", "\"node.maker.example\" }");
        let error = load(&text).unwrap_err();
        assert!(error.contains("no HOST:PORT") && error.contains("line 13"), "{error}");
    }

    #[test]
    fn a_missing_file_says_how_to_name_it() {
        let error = Config::load(Path::new("/nonexistent/hufu.toml")).unwrap_err();
        assert!(format!("{error:#}").contains("--config FILE"));
    }
}
