//! What the owner of a machine is told by its command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::vault::Seal;

/// Where a setup endpoint listens unless told otherwise.
pub const SETUP: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 8440);

/// `hufu appliance run`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Where the setup endpoint listens while something is missing.
    #[arg(long, value_name = "ADDRESS", default_value_t = SETUP)]
    pub listen: SocketAddr,
    /// What the token's PINs are sealed to, by `systemd-creds`.
    #[arg(long, value_enum, default_value_t = Seal::Tpm2)]
    pub seal: Seal,
    /// Who runs the node.
    #[arg(long, value_enum, default_value_t = NodeManager::Systemd)]
    pub node: NodeManager,
    /// Run ceremony and node as this user. Default: as who runs this.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// The program that applies the firewall's rules.
    #[arg(long, value_name = "FILE", default_value = "/usr/sbin/nft")]
    pub nft: PathBuf,
    /// Leave the firewall to somebody else. The rules are written all the same.
    #[arg(long)]
    pub no_firewall: bool,
    /// A directory where a sealed volume must be mounted. Where it is not, the
    /// machine is locked rather than new.
    #[arg(long, value_name = "DIR")]
    pub sealed_volume: Option<PathBuf>,
    /// A directory where a volume labelled HUFU-SETUP is mounted when somebody
    /// plugs it in: hufu.toml and witnesses.txt, genesis.json, tls.pem.
    #[arg(long, value_name = "DIR")]
    pub setup_volume: Option<PathBuf>,
    /// Where systemd-networkd reads the addresses of network cards that were typed
    /// at the console.
    #[arg(long, value_name = "DIR")]
    pub networkd: Option<PathBuf>,
    /// Where chronyd reads the time servers of the configuration.
    #[arg(long, value_name = "DIR")]
    pub chrony: Option<PathBuf>,
    /// Shut the machine down when its power button is pressed.
    #[arg(long)]
    pub power_button: bool,
    /// The PKCS#11 module of the setup endpoint's token in memory.
    #[arg(long, value_name = "FILE", default_value = hufu_keys::SOFTHSM2_MODULE)]
    pub soft_module: PathBuf,
    /// How long a new configuration may wait to be confirmed, for tests.
    #[arg(long, hide = true, value_name = "MS")]
    pub trial_ms: Option<u64>,
    /// Pause before a node that ended is started again, for tests.
    #[arg(long, hide = true, value_name = "MS")]
    pub back_off_ms: Option<u64>,
}

/// Who runs the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NodeManager {
    /// The service manager: `hufu.service`.
    Systemd,
    /// This process, for a machine without service manager.
    Child,
}
