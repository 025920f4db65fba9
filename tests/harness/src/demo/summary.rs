//! What `--exit` prints on its last line.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

/// Figures, files and addresses of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Whether all went as it should.
    pub ok: bool,
    /// All state.
    pub dir: PathBuf,
    /// All that a verifier needs to be given.
    pub genesis: PathBuf,
    /// The signed reports.
    pub report: ReportFiles,
    /// The receipt of a batch of readings.
    pub receipt: PathBuf,
    /// A certificate with its issuance receipt.
    pub certificate: PathBuf,
    /// Height at the end.
    pub height: u64,
    /// State root of that height, the same on all validators.
    pub state_root: String,
    /// Validators that agree on it.
    pub validators: usize,
    /// Devices.
    pub devices: Devices,
    /// Rows of readings.
    pub readings: Readings,
    /// Findings in the report.
    pub findings: u64,
    /// How long things took.
    pub seconds: Seconds,
    /// Where services listen, or listened.
    pub urls: Urls,
}

/// The signed reports.
#[derive(Clone, Debug, Serialize)]
pub struct ReportFiles {
    /// To read.
    pub html: PathBuf,
    /// To process.
    pub json: PathBuf,
}

/// Numbers of devices.
#[derive(Clone, Debug, Serialize)]
pub struct Devices {
    /// With a certificate.
    pub enrolled: usize,
    /// Of these, with a key proved to live in a TPM.
    pub tpm_attested: usize,
    /// Revoked.
    pub revoked: usize,
}

/// Rows sent in this run.
#[derive(Clone, Debug, Serialize)]
pub struct Readings {
    /// Recorded.
    pub accepted: usize,
    /// Refused, as they had to be.
    pub refused: usize,
}

/// Seconds.
#[derive(Clone, Debug, Serialize)]
pub struct Seconds {
    /// Building the programs.
    pub build: f64,
    /// Ceremonies, founding, start of the nodes, certificates.
    pub ceremony: f64,
    /// Enrolment of all devices.
    pub enrol: f64,
    /// Recording readings.
    pub record: f64,
    /// All reports.
    pub report: f64,
    /// Everything, the build included.
    pub total: f64,
}

/// Addresses.
#[derive(Clone, Debug, Serialize)]
pub struct Urls {
    /// EST, mTLS.
    pub est: String,
    /// OCSP.
    pub ocsp: String,
    /// CRL.
    pub crl: String,
    /// The regulator's gateway, mTLS.
    pub gateway: String,
    /// The authority's metrics.
    pub metrics: String,
}

impl Summary {
    /// One line of JSON.
    pub fn to_json(&self) -> String {
        // Paths of this run are made of what we were given as UTF-8.
        serde_json::to_string(self).unwrap_or_else(|error| Self::failure(&error.to_string()))
    }

    /// One line of JSON for a run that did not end well.
    pub fn failure(error: &str) -> String {
        json!({ "ok": false, "error": error }).to_string()
    }
}
