//! The process: it puts itself within its bounds before it reads what it is
//! asked, and answers until the node is gone.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::process::{Signal, set_parent_process_death_signal};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bounds::Bounds;
use crate::channel::Channel;
use crate::session::Ask;

/// Bytes of the largest question: SQL and parameters, or a package with those
/// that it requires.
const MAX_QUESTION: usize = 64 << 20;

/// The name of the work that [`main`] does.
pub const SQL: &str = "sql";

/// Answers questions in SQL.
pub fn main() -> ExitCode {
    serve(|ask: Ask| ask.answer())
}

/// Answers questions one after the other, until nobody asks any more.
pub fn serve<Q: DeserializeOwned, A: Serialize>(answer: impl Fn(Q) -> A) -> ExitCode {
    match begin().and_then(|mut channel| {
        while let Some(question) = channel.receive()? {
            channel.send(&answer(question))?;
        }
        Ok(())
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hufu: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The way to the node, which is on standard input, both ways.
fn begin() -> io::Result<Channel> {
    // Before anything is read: if the node is gone already, the stream ends.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    close_inherited()?;
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.peer_addr().map_err(|_| {
        io::Error::other("this runs what a node is asked, and is started by the node")
    })?;
    let mut channel = Channel::new(stream, MAX_QUESTION, None);
    if let Some(bounds) = channel.receive::<Bounds>()? {
        bounds.apply()?;
    }
    Ok(channel)
}

/// Closes what whoever started the node left open to it and to all it starts.
fn close_inherited() -> io::Result<()> {
    let names = std::fs::read_dir("/proc/self/fd")?.flatten().map(|entry| entry.file_name());
    let open: Vec<i32> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // Nothing here has opened any yet. One that is gone was the directory's.
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}
