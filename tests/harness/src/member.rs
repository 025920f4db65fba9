//! One member: its directory, configuration and token, and the `hufu` command
//! line on its machine.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::process::{self, Answer};

/// Debian's PKCS#11 module of SoftHSM2.
pub const SOFTHSM2_MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Who a member is.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// Its name on the ledger.
    pub name: &'static str,
    /// Its only kind.
    pub kind: &'static str,
    /// English title.
    pub english: &'static str,
    /// Chinese title.
    pub chinese: &'static str,
}

/// The four founders.
pub const ROLES: [Role; 4] = [
    Role {
        name: "authority",
        kind: "authority",
        english: "National certification authority",
        chinese: "国家认证机构",
    },
    Role {
        name: "regulator",
        kind: "regulator",
        english: "Market regulator",
        chinese: "市场监管机构",
    },
    Role { name: "maker", kind: "maker", english: "Device maker", chinese: "设备制造商" },
    Role {
        name: "operator", kind: "operator", english: "Plant operator", chinese: "工厂运营商"
    },
];

/// Companies that come when a story needs more members than the founders. What
/// each plays, the story says.
pub const COMPANIES: [Role; 4] = [
    Role { name: "east", kind: "operator", english: "Company East", chinese: "东部公司" },
    Role { name: "south", kind: "operator", english: "Company South", chinese: "南部公司" },
    Role { name: "west", kind: "operator", english: "Company West", chinese: "西部公司" },
    Role { name: "north", kind: "operator", english: "Company North", chinese: "北部公司" },
];

/// Where a member's services listen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Addresses {
    /// Traffic among validators.
    pub network: SocketAddr,
    /// JSON interface.
    pub gateway: SocketAddr,
    /// Metrics and health.
    pub metrics: SocketAddr,
    /// EST, when it is the authority.
    pub est: SocketAddr,
    /// OCSP and CRL, when it is the authority.
    pub status: SocketAddr,
}

impl Addresses {
    /// Ports of one member.
    pub const COUNT: usize = 5;
}

/// One member.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who it is.
    pub role: Role,
    /// Where its services listen.
    pub addresses: Addresses,
    /// Everything of it on this machine.
    pub directory: PathBuf,
    hufu: PathBuf,
    /// Where its node is asked from a workstation; it runs here without it.
    appliance: Option<String>,
}

impl Member {
    /// The member whose things are in `directory`, which is made where it is
    /// not there, with a token directory and PINs of its own.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn create(
        role: Role,
        addresses: Addresses,
        directory: PathBuf,
        hufu: &Path,
    ) -> anyhow::Result<Self> {
        let member = Self { role, addresses, directory, hufu: hufu.to_owned(), appliance: None };
        let what = || format!("cannot set up {}", member.directory.display());
        fs::create_dir_all(member.tokens()).with_context(what)?;
        let settings = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            member.tokens().display()
        );
        fs::write(member.softhsm(), settings).with_context(what)?;
        // At a real site the PIN comes from a systemd credential or a person;
        // here it lies in a file so that this can be repeated without one.
        for file in [member.pin(), member.security_officer_pin()] {
            if !file.exists() {
                let pin: u64 = rand::rng().random_range(0..10_u64.pow(12));
                write_secret(&file, &format!("{pin:012}")).with_context(what)?;
            }
        }
        Ok(member)
    }

    /// Holds its key ceremony, unless it was held.
    ///
    /// # Errors
    /// What `hufu init` said.
    pub fn hold_ceremony(&self) -> anyhow::Result<()> {
        if !self.data("transcript.json").exists() {
            self.run(&["init", "--so-pin-fd", "4", "--witness", "the demonstration"])?;
        }
        Ok(())
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.role.name
    }

    /// Whether it runs the certification authority.
    pub fn is_authority(&self) -> bool {
        self.name() == "authority"
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.join("hufu.toml")
    }

    /// A path in its data directory.
    pub fn data(&self, name: &str) -> PathBuf {
        self.directory.join("data").join(name)
    }

    /// Where its token's objects are.
    pub fn tokens(&self) -> PathBuf {
        self.directory.join("tokens")
    }

    /// What `SOFTHSM2_CONF` names.
    pub fn softhsm(&self) -> PathBuf {
        self.directory.join("softhsm2.conf")
    }

    /// The file with the token's PIN.
    pub fn pin(&self) -> PathBuf {
        self.directory.join("pin")
    }

    fn security_officer_pin(&self) -> PathBuf {
        self.directory.join("so-pin")
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.directory.join("hufu.log")
    }

    /// URL of its gateway.
    pub fn gateway_url(&self) -> String {
        format!("https://{}", self.addresses.gateway)
    }

    /// URL of its metrics and health.
    pub fn metrics_url(&self) -> String {
        format!("http://{}", self.addresses.metrics)
    }

    /// URL of its EST server.
    pub fn est_url(&self) -> String {
        format!("https://{}", self.addresses.est)
    }

    /// URL of its OCSP and CRL server.
    pub fn status_url(&self) -> String {
        format!("http://{}", self.addresses.status)
    }

    /// Writes the configuration.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(
        &self,
        genesis: &Path,
        members: &[(Role, Addresses)],
        manufacturer_roots: &Path,
    ) -> anyhow::Result<()> {
        let peers: Vec<String> = members
            .iter()
            .map(|(role, addresses)| format!("{} = \"{}\"", role.name, addresses.network))
            .collect();
        let mut text = format!(
            r#"# The node of {english}.

[member]
name = "{name}"
kinds = ["{kind}"]
title = {{ en = "{english}", zh = "{chinese}" }}

[paths]
data = {data:?}
genesis = {genesis:?}

[token]
module = "{SOFTHSM2_MODULE}"
label = "{name}"
workers = 2

[network]
listen = "{network}"
peers = {{ {peers} }}

[services]
names = ["127.0.0.1"]
gateway = "{gateway}"
metrics = "{metrics}"
"#,
            name = self.role.name,
            kind = self.role.kind,
            english = self.role.english,
            chinese = self.role.chinese,
            data = self.directory.join("data"),
            network = self.addresses.network,
            peers = peers.join(", "),
            gateway = self.addresses.gateway,
            metrics = self.addresses.metrics,
        );
        let more = match self.name() {
            "regulator" => "jurisdictions = \"whole\"\n",
            // Names of its own, of which nobody else gets certificates.
            "operator" => "names = [\"operator.example\"]\n",
            _ => "",
        };
        text = text.replace("\ntitle = ", &format!("\n{more}title = "));
        if self.is_authority() {
            text += &format!(
                "est = \"{}\"\nstatus = \"{}\"\n\n[tpm]\nmanufacturer_roots = [{:?}]\n",
                self.addresses.est, self.addresses.status, manufacturer_roots
            );
        }
        let authority = members.iter().find(|(role, _)| role.name == "authority");
        if let Some((_, addresses)) = authority.filter(|_| !self.is_authority()) {
            text += &format!("\n[ca]\nest_url = \"https://{}\"\n", addresses.est);
        }
        let file = self.config();
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// `hufu` on this member's machine: its configuration, its token, its PIN
    /// on file descriptor 3, and the security officer's on 4 where it is asked for.
    pub fn hufu(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("sh");
        let script = match arguments.contains(&"--so-pin-fd") {
            true => "pin=$1; so_pin=$2; shift 2; exec \"$@\" 3<\"$pin\" 4<\"$so_pin\"",
            false => "pin=$1; shift 2; exec \"$@\" 3<\"$pin\"",
        };
        command
            .args(["-c", script, "sh"])
            .args([self.pin(), self.security_officer_pin()])
            .arg(&self.hufu)
            .arg("--config")
            .arg(self.config())
            .args(["--pin-fd", "3"])
            .args(self.appliance.iter().flat_map(|url| ["--appliance", url]))
            .args(arguments)
            .env("SOFTHSM2_CONF", self.softhsm());
        command
    }

    /// A workstation of this member beside its node, in `directory`: a token and
    /// a configuration of its own, whose certificate request is for a client.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn workstation(&self, directory: PathBuf) -> anyhow::Result<Self> {
        let (role, addresses) = (self.role, self.addresses.clone());
        let workstation = Self::create(role, addresses, directory, &self.hufu)?;
        let node = fs::read_to_string(self.config()).context("the node's configuration")?;
        let quoted = |member: &Self| format!("{:?}", member.directory.join("data"));
        let services = node.find("[services]").context("no [services]")?;
        let content = node[..services].replace(&quoted(self), &quoted(&workstation));
        fs::write(workstation.config(), content + "[services]\nnames = []\n")?;
        Ok(workstation)
    }

    /// A front-end of this member in `directory`, as on another machine: a data
    /// directory and addresses of its own, and the member's token, which several
    /// machines reach where it is a network's.
    ///
    /// # Errors
    /// When the directory cannot be written, or the node has no certificate yet.
    pub fn front_end(&self, addresses: Addresses, directory: PathBuf) -> anyhow::Result<Self> {
        let front = Self::create(self.role, addresses, directory, &self.hufu)?;
        for (from, to) in [(self.pin(), front.pin()), (self.softhsm(), front.softhsm())] {
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        let data = |member: &Self| format!("{:?}", member.directory.join("data"));
        let mut text = fs::read_to_string(self.config()).context("the node's configuration")?;
        text = text.replace(&data(self), &data(&front));
        let at = |one: &Addresses| [one.gateway, one.metrics, one.est, one.status];
        for (own, its) in at(&self.addresses).into_iter().zip(at(&front.addresses)) {
            text = text.replace(&format!("\"{own}\""), &format!("\"{its}\""));
        }
        fs::write(front.config(), text)?;
        fs::create_dir_all(front.data(""))?;
        fs::copy(self.data("tls.pem"), front.data("tls.pem")).context("the certificate chain")?;
        Ok(front)
    }

    /// The same, with a node on the appliance whose gateway is at `url`.
    #[must_use]
    pub fn of_appliance(self, url: &str) -> Self {
        Self { appliance: Some(url.to_owned()), ..self }
    }

    /// Runs `hufu` to its end.
    ///
    /// # Errors
    /// When it does not start, or does not succeed.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Answer> {
        let mut answer = process::run(&mut self.hufu(arguments))?;
        answer.shown = format!("hufu --config {} {}", self.config().display(), arguments.join(" "));
        answer.success()
    }

    /// Runs `hufu --json` to its end and gives what it printed.
    ///
    /// # Errors
    /// When it does not succeed or does not print JSON.
    pub fn json(&self, arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
        let mut all = vec!["--json"];
        all.extend(arguments);
        self.run(&all)?.json()
    }

    /// The line that a person would paste for `arguments`.
    pub fn pasteable(&self, arguments: &str) -> String {
        format!(
            "SOFTHSM2_CONF={} {} --config {} --pin-fd 3 {arguments} 3<{}",
            self.softhsm().display(),
            self.hufu.display(),
            self.config().display(),
            self.pin().display(),
        )
    }
}

fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}
