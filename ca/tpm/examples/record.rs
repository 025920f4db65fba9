//! Records what a real software TPM says, as fixtures and fuzzing seeds:
//!
//! ```sh
//! cargo run -p hufu-tpm --features device,testing --example record -- ca/tpm/tests/fixtures
//! ```

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use hufu_tpm::device::{DeviceTpm, EkKind};
use hufu_tpm::swtpm::{Manufacturer, Swtpm};

fn main() -> Result<(), Box<dyn Error>> {
    let to = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: record DIRECTORY")?);
    fs::create_dir_all(&to)?;
    let scratch = std::env::temp_dir().join(format!("hufu-record-{}", std::process::id()));
    let manufacturer = Manufacturer::open(&scratch.join("manufacturer"))?;
    manufacturer.make(&scratch.join("tpm"))?;
    let tpm = Swtpm::start(&scratch.join("tpm"))?;

    for (kind, name) in [(EkKind::EccP384, "p384"), (EkKind::Rsa2048, "rsa")] {
        let mut device = DeviceTpm::open_with(&tpm.tcti(), &scratch.join(name), &[kind])?;
        fs::write(to.join(format!("ek-{name}.crt")), device.ek_certificate())?;
        fs::write(to.join(format!("ek-{name}.pub")), device.ek_public().to_tpm2b())?;
        if kind == EkKind::Rsa2048 {
            let (attest, signature) = device.certify(&[9; 32])?;
            fs::write(to.join("ak.pub"), device.ak_public().to_tpm2b())?;
            fs::write(to.join("key.pub"), device.key_public().to_tpm2b())?;
            fs::write(to.join("key.attest"), attest)?;
            fs::write(to.join("key.sig"), signature)?;
            fs::copy(device.key_file(), to.join("device.tpmkeys"))?;
        }
    }
    fs::write(to.join("roots.pem"), manufacturer.roots_pem()?)?;
    drop(tpm);
    fs::remove_dir_all(&scratch)?;
    Ok(())
}
