//! Addresses that somebody typed at the console, where no router gives any.
//!
//! They are kept as systemd.network(5) files with the machine's state and copied
//! to where systemd-networkd reads them. A card without such a file asks by DHCP
//! and listens for router advertisements.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use hufu_configuration::files;

use crate::site;
use crate::unit::systemctl;

/// The word that such a line begins with.
const WORD: &str = "address";

/// How a line is to be.
const USAGE: &str = "type `address CARD IP/PREFIX via ROUTER dns SERVER`, or `address CARD dhcp`";

/// Longest name of a card, as the kernel has it (IFNAMSIZ without its end).
const MAX_CARD: usize = 15;

/// Most addresses of a card, and most name servers.
const MOST: usize = 4;

/// Largest file of ours that is read, in bytes.
const MAX_FILE: u64 = 16 * 1024;

/// What somebody typed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    /// To see the cards.
    Show,
    /// A card is to have these, or to ask for its address again.
    Set { card: String, plan: Option<Plan> },
}

/// The addresses of a card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Plan {
    addresses: Vec<(IpAddr, u8)>,
    routers: Vec<IpAddr>,
    name_servers: Vec<IpAddr>,
}

/// The addresses of this machine.
#[derive(Debug)]
pub struct Addresses {
    /// Where they are kept.
    kept: PathBuf,
    /// Where systemd-networkd reads them; nobody does where it is `None`.
    runs: Option<PathBuf>,
    /// Where the kernel lists its cards.
    cards: PathBuf,
}

impl Addresses {
    /// Kept in `kept`, read by systemd-networkd in `runs`.
    pub fn new(kept: PathBuf, runs: Option<PathBuf>) -> Self {
        Self { kept, runs, cards: PathBuf::from("/sys/class/net") }
    }

    /// Hands what is kept to systemd-networkd. Nothing happens where it has that.
    ///
    /// # Errors
    /// A sentence with the path, or what the service manager said.
    pub async fn restore(&self) -> anyhow::Result<()> {
        let Some(runs) = &self.runs else { return Ok(()) };
        if copy_new(&self.kept, runs)? {
            reload().await?;
        }
        Ok(())
    }

    /// Does what `line` wants, if it is about addresses; what the console is to
    /// say then. What is typed while the machine's state is not `open` lasts until
    /// it is switched off.
    pub async fn typed(&self, line: &str, open: bool) -> Option<String> {
        let wish = Wish::parse(line)?;
        let runs = self.runs.as_ref()?;
        let done = async {
            match wish? {
                Wish::Show => Ok(()),
                Wish::Set { card, plan } => self.set(runs, &card, plan.as_ref(), open).await,
            }
        };
        let mut said = String::new();
        if let Err(error) = done.await {
            tracing::error!(error = format!("{error:#}"), "no other address");
            said += &format!("Why:         {error:#}\n");
        }
        Some(said + &self.show())
    }

    async fn set(
        &self,
        runs: &Path,
        card: &str,
        plan: Option<&Plan>,
        open: bool,
    ) -> anyhow::Result<()> {
        ensure!(self.cards.join(card).exists(), "there is no card `{card}`");
        for directory in open.then_some(&*self.kept).into_iter().chain([runs]) {
            let path = directory.join(file_name(card));
            match plan {
                Some(plan) => {
                    site::directory(directory, 0o755, None)?;
                    files::publish(&path, plan.file(card).as_bytes(), MAX_FILE)?
                }
                None => files::remove(&path)?,
            };
        }
        reload().await?;
        tracing::info!(card, ?plan, open, "addresses");
        Ok(())
    }

    /// The cards and how to give them addresses; nothing where that is not ours.
    pub fn show(&self) -> String {
        let Some(runs) = &self.runs else { return String::new() };
        let mut lines = String::new();
        for (name, (hardware, connected)) in cards(&self.cards) {
            let cable = if connected { "connected" } else { "no cable" };
            let fixed = runs.join(file_name(&name)).exists();
            let from = if fixed { "addresses from this console" } else { "addresses from DHCP" };
            lines += &format!("Card:        {name}, {hardware}, {cable}, {from}\n");
        }
        format!("{lines}To do:       {USAGE}\n\n")
    }
}

/// Network cards with an Ethernet address: it, and whether a cable is plugged in.
fn cards(directory: &Path) -> BTreeMap<String, (String, bool)> {
    let read = |path: PathBuf| {
        let bytes = files::read(&path, 256).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    };
    let Ok(entries) = fs::read_dir(directory) else { return BTreeMap::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| read(entry.path().join("type")) == "1")
        .map(|entry| {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, (read(path.join("address")), read(path.join("carrier")) == "1"))
        })
        .collect()
}

impl Wish {
    /// What a line says; `None` when it is about something else.
    fn parse(line: &str) -> Option<anyhow::Result<Self>> {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some(WORD) {
            return None;
        }
        let Some(card) = words.next() else { return Some(Ok(Self::Show)) };
        let words: Vec<&str> = words.collect();
        Some(Self::of(card, &words).with_context(|| format!("not done; {USAGE}")))
    }

    fn of(card: &str, words: &[&str]) -> anyhow::Result<Self> {
        let named = (1..=MAX_CARD).contains(&card.len())
            && card.bytes().all(|byte| byte.is_ascii_alphanumeric());
        ensure!(named && card != "lo", "`{card}` is no name of a card");
        let card = card.to_owned();
        let asks = words == ["dhcp"];
        Ok(Self::Set { card, plan: if asks { None } else { Some(Plan::parse(words)?) } })
    }
}

impl Plan {
    fn parse(words: &[&str]) -> anyhow::Result<Self> {
        let mut plan = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "via" => plan.routers.push(ip(words.next().context("`via` what?")?)?),
                "dns" => plan.name_servers.push(ip(words.next().context("`dns` what?")?)?),
                other => plan.addresses.push(network(other)?),
            }
        }
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.addresses.is_empty(), "no address was given");
        ensure!(
            self.addresses.len() <= MOST && self.name_servers.len() <= MOST,
            "at most {MOST} addresses and {MOST} name servers"
        );
        for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
            let routers = self.routers.iter().filter(|ip| family(ip)).count();
            ensure!(routers <= 1, "one router for IPv4 and one for IPv6");
        }
        for router in &self.routers {
            let near = |(ip, prefix): &(IpAddr, u8)| {
                prefix_of(*ip, *prefix) == prefix_of(*router, *prefix) && ip != router
            };
            let link_local = matches!(router, IpAddr::V6(ip) if ip.is_unicast_link_local());
            ensure!(
                link_local || self.addresses.iter().any(near),
                "the router {router} is in no network of these addresses"
            );
        }
        Ok(())
    }

    /// As systemd.network(5) has it.
    fn file(&self, card: &str) -> String {
        let mut text = format!(
            "# Typed at the console.\n[Match]\nName={card}\n\n[Network]\nDHCP=no\nIPv6AcceptRA=no\n\
             LinkLocalAddressing=ipv6\nLLMNR=no\nMulticastDNS=no\nEmitLLDP=no\n"
        );
        for (ip, prefix) in &self.addresses {
            text += &format!("Address={ip}/{prefix}\n");
        }
        for router in &self.routers {
            text += &format!("Gateway={router}\n");
        }
        for server in &self.name_servers {
            text += &format!("DNS={server}\n");
        }
        text
    }
}

/// An address that a machine can have.
fn ip(word: &str) -> anyhow::Result<IpAddr> {
    let ip: IpAddr = word.parse().ok().with_context(|| format!("`{word}` is no IP address"))?;
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    ensure!(
        !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !broadcast,
        "`{word}` is no address of a machine"
    );
    Ok(ip)
}

/// An address and the length of its network's prefix.
fn network(word: &str) -> anyhow::Result<(IpAddr, u8)> {
    let (address, prefix) = word
        .split_once('/')
        .with_context(|| format!("`{word}` is no address with a prefix, as in 192.0.2.7/24"))?;
    let ip = ip(address)?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.parse().ok().filter(|prefix| (1..=most).contains(prefix));
    Ok((ip, prefix.with_context(|| format!("the prefix of `{word}` is not 1 to {most}"))?))
}

/// The first bits of an address, with its family.
fn prefix_of(ip: IpAddr, prefix: u8) -> (bool, u128) {
    let (bits, width) = match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()), 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    let beyond = u32::from(prefix.min(width));
    (ip.is_ipv4(), bits.checked_shr(u32::from(width) - beyond).unwrap_or(0))
}

fn file_name(card: &str) -> String {
    format!("70-{card}.network")
}

/// Copies our files that are not the same there; whether there were any.
fn copy_new(from: &Path, to: &Path) -> anyhow::Result<bool> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries.with_context(|| format!("cannot read {}", from.display()))?,
    };
    let mut copied = false;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", from.display()))?;
        let name = entry.file_name();
        // What a power failure left of one that was being written.
        if !name.to_string_lossy().ends_with(".network") {
            continue;
        }
        let text = files::read(&entry.path(), MAX_FILE)?;
        copied |= files::publish(&to.join(&name), &text, MAX_FILE)?;
    }
    Ok(copied)
}

async fn reload() -> anyhow::Result<()> {
    systemctl(&["reload", "systemd-networkd.service"]).await.map(drop)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fixed(line: &str) -> Plan {
        match Wish::parse(line).unwrap().unwrap() {
            Wish::Set { plan: Some(plan), .. } => plan,
            other => panic!("{other:?}"),
        }
    }

    fn refusal(line: &str) -> String {
        format!("{:#}", Wish::parse(line).unwrap().unwrap_err())
    }

    #[test]
    fn a_line_becomes_the_networks_file() {
        let line = "address enp1s0  192.0.2.7/24 via 192.0.2.1 2001:db8::7/64 via fe80::1 \
                    dns 192.0.2.53";
        assert_eq!(
            fixed(line).file("enp1s0"),
            "# Typed at the console.\n[Match]\nName=enp1s0\n\n[Network]\nDHCP=no\nIPv6AcceptRA=no\n\
             LinkLocalAddressing=ipv6\nLLMNR=no\nMulticastDNS=no\nEmitLLDP=no\n\
             Address=192.0.2.7/24\nAddress=2001:db8::7/64\nGateway=192.0.2.1\nGateway=fe80::1\n\
             DNS=192.0.2.53\n"
        );
        assert_eq!(Wish::parse(" address ").unwrap().unwrap(), Wish::Show);
        let ask = Wish::parse("address eth0 dhcp").unwrap().unwrap();
        assert_eq!(ask, Wish::Set { card: "eth0".to_owned(), plan: None });
        for other in ["", "factory reset", "addresses", "again"] {
            assert!(Wish::parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_line_that_would_not_work_is_refused_with_its_reason() {
        for (line, reason) in [
            ("address lo 192.0.2.7/24", "no name of a card"),
            ("address ../../etc 192.0.2.7/24", "no name of a card"),
            ("address enp1s0enp1s0enp1s0 192.0.2.7/24", "no name of a card"),
            ("address eth0 via 192.0.2.1", "no address was given"),
            ("address eth0 192.0.2.7", "with a prefix"),
            ("address eth0 192.0.2.7/33", "not 1 to 32"),
            ("address eth0 192.0.2.7/0", "not 1 to 32"),
            ("address eth0 2001:db8::1/129", "not 1 to 128"),
            ("address eth0 127.0.0.1/8", "no address of a machine"),
            ("address eth0 224.0.0.1/8", "no address of a machine"),
            ("address eth0 192.0.2.7/24 via", "`via` what?"),
            ("address eth0 192.0.2.7/24 via 198.51.100.1", "in no network"),
            ("address eth0 192.0.2.7/24 via 192.0.2.7", "in no network"),
            ("address eth0 192.0.2.7/24 via 192.0.2.1 via 192.0.2.2", "one router"),
            ("address eth0 192.0.2.7/24 dns x", "no IP address"),
            ("address eth0 192.0.2.7/24\u{7}", "not 1 to 32"),
            ("address eth0 dhcp now", "with a prefix"),
        ] {
            let told = refusal(line);
            assert!(told.contains(reason) && told.contains(USAGE), "{line:?}: {told}");
        }
    }

    #[test]
    fn what_is_kept_is_handed_over_once() {
        let (kept, runs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert!(!copy_new(&kept.path().join("none"), runs.path()).unwrap());
        fs::write(kept.path().join(file_name("eth0")), "a").unwrap();
        fs::write(kept.path().join(".70-eth1.network.7.new"), "half").unwrap();
        assert!(copy_new(kept.path(), runs.path()).unwrap());
        assert!(!copy_new(kept.path(), runs.path()).unwrap());
        assert_eq!(fs::read_dir(runs.path()).unwrap().count(), 1);
        fs::write(kept.path().join(file_name("eth0")), "b").unwrap();
        assert!(copy_new(kept.path(), runs.path()).unwrap());
        assert_eq!(fs::read(runs.path().join(file_name("eth0"))).unwrap(), b"b");
    }

    #[tokio::test]
    async fn a_card_that_is_not_there_gets_nothing_and_the_others_are_shown() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for (card, kind, carrier) in [("eth0", "1", "1"), ("eth1", "1", ""), ("lo", "772", "1")] {
            let card = path("cards").join(card);
            fs::create_dir_all(&card).unwrap();
            fs::write(card.join("type"), format!("{kind}\n")).unwrap();
            fs::write(card.join("address"), "52:54:00:12:34:56\n").unwrap();
            fs::write(card.join("carrier"), carrier).unwrap();
        }
        let addresses =
            Addresses { kept: path("kept"), runs: Some(path("runs")), cards: path("cards") };
        let told = addresses.typed("address eth7 192.0.2.7/24", true).await.unwrap();
        assert_eq!(
            told,
            format!(
                "Why:         there is no card `eth7`\n\
                 Card:        eth0, 52:54:00:12:34:56, connected, addresses from DHCP\n\
                 Card:        eth1, 52:54:00:12:34:56, no cable, addresses from DHCP\n\
                 To do:       {USAGE}\n\n"
            )
        );
        assert!(!path("kept").exists() && !path("runs").exists());
        // Where nobody reads them, the console knows no such word.
        let elsewhere = Addresses { runs: None, ..addresses };
        assert_eq!(elsewhere.typed("address", true).await, None);
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange_and_no_file_gets_another_line(
            line in "address [a-z0-9./ ]{0,20}( (via|dns|dhcp|[0-9./:a-f]{1,20})){0,6}"
        ) {
            if let Some(Ok(Wish::Set { card, plan: Some(plan) })) = Wish::parse(&line) {
                let text = plan.file(&card);
                let lines = 11 + plan.addresses.len() + plan.routers.len() + plan.name_servers.len();
                prop_assert_eq!(text.lines().count(), lines);
            }
        }
    }
}
