//! `hufu-image-job`: the main job with one member on the appliance's image.
//!
//! `cargo xtask image test` boots the image and gives this program its console
//! and where its ports are. Three members run on this machine; the plant
//! operator is the image. With `--restore` it is backed up, reset and restored, with
//! `--update` it is updated while readings come in.

mod console;
mod fill;
mod restore;
mod steps;
mod update;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// The main job with one member on the appliance's image.
#[derive(Debug, Parser)]
#[command(name = "hufu-image-job", version)]
struct Arguments {
    /// Keep everything here.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The `hufu` program. Default: the one beside this program.
    #[arg(long, value_name = "FILE")]
    hufu: Option<PathBuf>,
    /// What the image's console says, as it is written.
    #[arg(long, value_name = "FILE")]
    console: PathBuf,
    /// Where the image's setup endpoint is reached.
    #[arg(long, value_name = "ADDRESS")]
    setup: SocketAddr,
    /// Where its port 7100 is reached: the validator's.
    #[arg(long, value_name = "ADDRESS")]
    network: SocketAddr,
    /// Where its port 8444 is reached: the gateway's.
    #[arg(long, value_name = "ADDRESS")]
    gateway: SocketAddr,
    /// Where the image reaches this machine.
    #[arg(long, value_name = "IP", default_value = "10.0.2.2")]
    host: std::net::IpAddr,
    /// A time server for the image, and a file with its certificate.
    #[arg(long, num_args = 2, value_names = ["HOST:PORT", "FILE"])]
    time: Vec<String>,
    /// Back the image up, reset it and restore it, before it is updated.
    #[arg(long)]
    restore: bool,
    /// An update to install under load, and its version.
    #[arg(long, num_args = 2, value_names = ["FILE", "VERSION"])]
    update: Vec<String>,
    /// Instead of work: an update to install, and a file to make when that
    /// begins. The machine is not expected to come back.
    #[arg(long, num_args = 2, value_names = ["FILE", "FILE"], conflicts_with = "update")]
    install: Vec<PathBuf>,
    /// Fill the image's disk, make this file, and wait for a larger disk.
    #[arg(long, value_name = "FILE", conflicts_with = "update")]
    fill: Option<PathBuf>,
    /// A release that the updated image must refuse: below its floor.
    #[arg(long, value_name = "FILE", requires = "update")]
    refused: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut site = steps::set_up(&arguments)?;
    if let [file, begins] = &arguments.install[..] {
        std::fs::write(begins, b"")?;
        update::install(&site, file)?;
        return site.consortium.stop_all();
    }
    let mut fleet = steps::work(&mut site)?;
    if arguments.restore {
        restore::from_backup(&site, &arguments)?;
    }
    if let [file, version] = &arguments.update[..] {
        update::under_load(&mut site, &mut fleet, file.as_ref(), version)?;
        if let Some(file) = &arguments.refused {
            update::refused(&site, file)?;
        }
    }
    if let Some(full) = &arguments.fill {
        fill::until_room(&site, &fleet, full)?;
    }
    site.consortium.stop_all()
}
