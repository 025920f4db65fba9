//! Certificates that end: said in time, and the node's own renewed in service.
//!
//! A node asks for a new TLS certificate when a third of the life of the one in
//! use is left ([`recertification`]); also when it slept past its end. The authority
//! makes its next issuing certificate then, where the token holds the root's key
//! ([`issuing`]). What cannot be renewed here is said in status, metrics and log
//! from 30 days before the end on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hufu_configuration::time::now_ms;
use hufu_issuance::{Certificate, UnixTime};
use hufu_proof::transaction::Payload;
use hufu_proof::{Declaration, Serial};
use rustls::pki_types::CertificateDer;

use crate::issuing;
use crate::node::Node;
use crate::recertification;

/// How often the ends are looked at.
const LOOK: Duration = Duration::from_secs(3600);

/// How soon a renewal is tried again once the certificate has ended: the node may
/// have to catch up with the ledger first.
const AGAIN: Duration = Duration::from_secs(60);

/// Days before an end at which the log speaks.
const WARN_DAYS: [u64; 4] = [30, 14, 7, 1];

const DAY: Duration = Duration::from_secs(86_400);

/// A certificate that this node stands on.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Which.
    pub name: &'static str,
    /// Begin of its validity.
    pub not_before: UnixTime,
    /// End of its validity.
    pub not_after: UnixTime,
}

impl Standing {
    /// How long it is still good.
    pub fn left(&self, now: UnixTime) -> Duration {
        now.until(self.not_after)
    }

    /// The warning that is due, in days.
    fn warning(&self, now: UnixTime) -> Option<u64> {
        let left = self.left(now);
        WARN_DAYS.into_iter().filter(|days| left <= DAY * days_of(*days)).min()
    }

    /// Whether two thirds of its life are over.
    fn is_due(&self, now: UnixTime) -> bool {
        let life = self.not_before.until(self.not_after);
        self.left(now) < life / 3
    }

    /// What status says of it, from 30 days before its end on.
    fn reason(&self, now: UnixTime) -> Option<String> {
        self.warning(now)?;
        let (name, end, left) = (self.name, self.not_after, self.left(now));
        let when = match left.as_secs() / DAY.as_secs() {
            _ if left.is_zero() => format!("ended at {end}"),
            0 => format!("ends within a day, at {end}"),
            days => format!("ends in {days} days, at {end}"),
        };
        let remedy = match name {
            TLS => {
                "run `hufu cert renew`, or have tls.csr certified again (`hufu cert issue --renew` at \
                 the authority) and run `hufu cert install`"
            }
            ISSUING => "run `hufu cert renew-issuing` with the token that holds the root's key",
            _ => "a new hierarchy has to be founded before",
        };
        Some(format!("{name} {when}; {remedy}"))
    }
}

fn days_of(days: u64) -> u32 {
    u32::try_from(days).unwrap_or(u32::MAX)
}

/// The node's TLS certificate.
const TLS: &str = "TLS certificate";

/// The certificate that its authority issues under.
const ISSUING: &str = "issuing certificate";

/// The certificates that this node stands on; those that do not parse are left
/// out.
pub fn standing(node: &Node) -> Vec<Standing> {
    let mut all = Vec::new();
    if let Some(certified) = node.certificate.current() {
        all.extend(certified.cert.first().map(|leaf| (TLS, leaf.to_vec())));
    }
    if let Some(authority) = node.authority.get() {
        all.push((ISSUING, authority.issuing().der().to_vec()));
        all.push(("root certificate", node.genesis.authority.root_certificate.clone()));
    }
    let read = |(name, der): (&'static str, Vec<u8>)| {
        let certificate = Certificate::from_der(&der).ok()?;
        let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
        Some(Standing { name, not_before, not_after })
    };
    all.into_iter().filter_map(read).collect()
}

/// What status says of certificates that end soon.
pub fn reasons(node: &Node) -> Vec<String> {
    let now = now();
    standing(node).iter().filter_map(|one| one.reason(now)).collect()
}

/// Renews and warns until the future is dropped.
pub async fn keep(node: Arc<Node>) {
    let mut warned: Vec<(&'static str, u64)> = Vec::new();
    loop {
        let now = now();
        let mut pause = LOOK;
        if let Err(error) = follow_issuing(&node) {
            tracing::warn!("issuing certificates are not followed: {error:#}");
        }
        for one in standing(&node) {
            // A front-end's is renewed where its key is certified: it cannot submit what
            // that takes.
            if one.is_due(now) && !node.ledger.follows() {
                let renewed = match one.name {
                    TLS => recertification::renew_own(&node).await,
                    ISSUING => renew_issuing(&node).await,
                    _ => Ok(None),
                };
                match renewed {
                    Ok(Some(_)) => {
                        tracing::info!("the {} was renewed; the services use it", one.name);
                        warned.retain(|(name, _)| *name != one.name);
                        continue;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!("the {} is not renewed: {error:#}", one.name);
                        pause = if one.left(now).is_zero() { AGAIN } else { LOOK };
                    }
                }
            }
            // Once for each of the days.
            if let Some(days) = one.warning(now)
                && !warned.contains(&(one.name, days))
            {
                warned.push((one.name, days));
                tracing::warn!("{}", one.reason(now).unwrap_or_default());
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Lets this node's doors know them, and its authority go on with the newest.
///
/// # Errors
/// The state cannot be read, or the newest is not the authority's.
pub fn follow_issuing(node: &Node) -> anyhow::Result<()> {
    let all = issuing::all(&node.ledger, &node.genesis.authority)?;
    for one in &all {
        node.chains.also_under(CertificateDer::from(one.der().to_vec()));
    }
    if let (Some(authority), Some(newest)) = (node.authority.get(), all.last()) {
        authority.go_on_with(newest)?;
    }
    Ok(())
}

/// Makes the next issuing certificate, declares it and goes on with it: its
/// serial number. `None` where the token does not hold the root's key.
///
/// # Errors
/// This node runs no authority, its issuing certificate is revoked, the token
/// does not sign, or the ledger refuses.
pub async fn renew_issuing(node: &Arc<Node>) -> anyhow::Result<Option<Serial>> {
    let authority = node.authority()?;
    let Some(next) = authority.next_issuing(&node.config).await? else { return Ok(None) };
    let certificate = next.der().to_vec();
    let payload = Payload::Declare(Declaration::IssuingCertificate { certificate });
    node.submitter.submit_any(payload).await?;
    follow_issuing(node)?;
    tracing::info!(serial = %next.serial(), until = %next.not_after(), "issuing certificate renewed");
    Ok(Some(Serial::new(next.serial().as_bytes()).context("its serial number")?))
}

fn now() -> UnixTime {
    UnixTime::from(now_ms())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_said_at_30_14_7_and_1_days_and_renewal_is_due_before() {
        let begin = UnixTime::from_seconds(1_800_000_000);
        let end = begin.plus(DAY * 397);
        let one = Standing { name: TLS, not_before: begin, not_after: end };
        let at = |days: u32| end.minus(DAY * days);
        assert!(!one.is_due(at(200)) && one.is_due(at(132)));
        for (days, warning) in [
            (31, None),
            (30, Some(30)),
            (15, Some(30)),
            (14, Some(14)),
            (7, Some(7)),
            (2, Some(7)),
            (1, Some(1)),
            (0, Some(1)),
        ] {
            assert_eq!(one.warning(at(days)), warning, "{days}");
            assert_eq!(one.reason(at(days)).is_some(), warning.is_some(), "{days}");
        }
        let said = one.reason(at(14)).unwrap();
        assert!(said.contains("ends in 14 days") && said.contains("--renew"), "{said}");
        let past = one.reason(end.plus(DAY)).unwrap();
        assert!(past.contains("ended at"), "{past}");
    }
}
