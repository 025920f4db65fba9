//! `hufu device` on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use hufu_proof::{Name, UnixMillis};

use super::examples;

/// `hufu device`.
#[derive(Debug, Subcommand)]
pub enum Device {
    /// Enrol a device: its TPM proves that the key in the request lives in it.
    #[command(after_help = examples::DEVICE_ENROLL)]
    Enroll(Enroll),
    /// Sign readings in the device's TPM and send them.
    #[command(after_help = examples::DEVICE_SEND)]
    Send(Send),
    /// Make a user and password with which a device that has no certificate yet
    /// enrols over EST, once (authority only).
    #[command(after_help = examples::DEVICE_TOKEN)]
    Token(Token),
}

/// `hufu device enroll`. The production line authenticates with the node key of
/// the maker's token (`--config`).
#[derive(Debug, Args)]
pub struct Enroll {
    /// How to reach the TPM: `device:/dev/tpmrm0`, `swtpm:host=…,port=…`.
    #[arg(long)]
    pub tcti: String,
    /// Where the device keeps its wrapped keys.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// The EST server, for instance `https://ca.example:8443`.
    #[arg(long, value_name = "URL")]
    pub est: String,
    /// The root certificate (PEM) that the server's certificate must chain to.
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// The device's identifier: the certificate's serialNumber attribute.
    #[arg(long, value_name = "ID")]
    pub device_id: String,
    /// More certificates of the TPM maker between the EK and its root (PEM).
    #[arg(long, value_name = "FILE")]
    pub ek_chain: Option<PathBuf>,
    /// The certificate profile.
    #[arg(long, default_value = "idevid-tpm")]
    pub profile: Name,
    /// Where to write the certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// `hufu device send`.
#[derive(Debug, Args)]
pub struct Send {
    /// How to reach the TPM.
    #[arg(long)]
    pub tcti: String,
    /// Where the device keeps its wrapped keys and certificate.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// A member's gateway, for instance `https://node.example:8444`.
    #[arg(long, value_name = "URL")]
    pub gateway: String,
    /// Whose gateway it is; another member's server is not spoken to. Without
    /// it, any member's is.
    #[arg(long)]
    pub member: Option<Name>,
    /// The root certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// The genesis file.
    #[arg(long, value_name = "FILE")]
    pub genesis: PathBuf,
    /// The contract.
    #[arg(long, default_value = "operation-supervision")]
    pub contract: Name,
    /// Its stream.
    #[arg(long, default_value = "reading")]
    pub stream: Name,
    /// Readings: CSV in UTF-8 whose header names the stream's columns, parted by
    /// commas; numbers with a point, times with their offset from UTC or in
    /// milliseconds since 1970.
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// Rows in one signed batch.
    #[arg(long, default_value_t = 1000)]
    pub batch: usize,
    /// The earliest time of measurement that is taken, when the device measured
    /// before its certificate began: milliseconds since 1970, or
    /// 2026-01-31T08:00:00+08:00.
    #[arg(long, value_name = "TIME", value_parser = super::moment)]
    pub measured_from: Option<UnixMillis>,
    /// Send rows that an earlier run has sent once more.
    #[arg(long)]
    pub again: bool,
}

/// `hufu device token`. The password is shown once; the authority keeps only a
/// digest of it.
#[derive(Debug, Args)]
pub struct Token {
    /// The certificate profile it enrols under.
    #[arg(long, default_value = "idevid")]
    pub profile: Name,
    /// The member that answers for the device.
    #[arg(long, value_name = "MEMBER")]
    pub owner: Name,
    /// Only for the device with this identifier: the serialNumber attribute of
    /// the request.
    #[arg(long, value_name = "ID")]
    pub device_id: Option<String>,
    /// How many keys it enrols: more than one for a batch of devices.
    #[arg(long, default_value_t = 1, conflicts_with = "device_id")]
    pub keys: u32,
    /// How long it may be used: a number and s, m, h or d; at most 90d.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    pub valid_for: Duration,
}

/// Parses a number and a unit: `30m`, `12h`, `7d`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let takes = || "takes a whole number and s, m, h or d, for instance 12h".to_owned();
    let unit = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(takes()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| takes())?;
    Ok(Duration::from_secs(u64::from(number) * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("90m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "h", "12", "-1h", "1.5h", "1时", "99999999999d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
