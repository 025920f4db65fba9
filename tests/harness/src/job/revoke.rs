//! Step 8: a certificate is revoked; CRL, OCSP and the ledger agree.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::consortium::Consortium;
use crate::est::Enrolled;
use crate::http::Http;
use crate::inspect::{self, Standing};
use crate::process::wait_for;

/// What three sources say of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinions {
    /// OCSP, asked and verified by `openssl`.
    pub ocsp: Standing,
    /// The CRL, verified by `openssl`.
    pub crl: Standing,
    /// The ledger's record, `good` or `revoked`.
    pub ledger: String,
}

impl Opinions {
    /// Whether all say that it is revoked.
    pub fn all_revoked(&self) -> bool {
        self.ocsp == Standing::Revoked && self.crl == Standing::Revoked && self.ledger == "revoked"
    }

    /// Whether none says that it is revoked.
    pub fn all_good(&self) -> bool {
        self.ocsp == Standing::Good && self.crl == Standing::Good && self.ledger == "good"
    }
}

/// Revokes `certificate`, unless it is revoked.
///
/// # Errors
/// What `hufu cert revoke` said.
pub fn revoke(consortium: &Consortium, certificate: &Enrolled) -> anyhow::Result<()> {
    let serial = certificate.serial()?;
    if ledger(consortium, &serial)? != "revoked" {
        consortium.authority().run(&["cert", "revoke", &serial, "--reason", "key-compromise"])?;
    }
    Ok(())
}

/// Asks all three, again until `until` is content: a CRL is made at most once
/// in a while.
///
/// # Errors
/// When they do not come to agree.
pub fn opinions(
    consortium: &Consortium,
    certificate: &Enrolled,
    until: impl Fn(&Opinions) -> bool,
) -> anyhow::Result<Opinions> {
    let serial = certificate.serial()?;
    let file = consortium.path(&format!("{serial}.pem"));
    fs::write(&file, certificate.pem())?;
    let opinions = wait_for("OCSP, CRL and ledger to agree", Duration::from_secs(30), || {
        let opinions = Opinions {
            ocsp: inspect::ocsp(
                &ocsp_url(consortium),
                &consortium.root_path(),
                &consortium.issuing_path(),
                &file,
            )?,
            crl: inspect::crl(
                &fetch_crl(consortium)?,
                &consortium.root_path(),
                &consortium.issuing_path(),
                &file,
            )?,
            ledger: ledger(consortium, &serial)?,
        };
        ensure!(until(&opinions), "they say {opinions:?}");
        Ok(opinions)
    })?;
    fs::remove_file(&file)?;
    Ok(opinions)
}

/// URL of the OCSP responder.
pub fn ocsp_url(consortium: &Consortium) -> String {
    format!("{}/ocsp", consortium.authority().status_url())
}

/// URL of the CRL.
pub fn crl_url(consortium: &Consortium) -> String {
    format!("{}/crl/issuing.crl", consortium.authority().status_url())
}

/// The CRL of this moment, DER, in a file.
///
/// # Errors
/// When there is none.
pub fn fetch_crl(consortium: &Consortium) -> anyhow::Result<PathBuf> {
    let answer = Http::plain().get(&crl_url(consortium))?.success()?;
    let path = consortium.path("issuing.crl");
    write(&path, &answer.body)?;
    Ok(path)
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn ledger(consortium: &Consortium, serial: &str) -> anyhow::Result<String> {
    let record = consortium.authority().json(&["cert", "show", serial])?;
    let status = record["status"]["status"].as_str();
    Ok(status.with_context(|| format!("no status in {record}"))?.to_owned())
}
