//! The power button, pressed by hand or by a management controller: the machine is
//! shut down in order.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hufu_configuration::files;
use tokio::sync::mpsc;

/// Bytes of an event on a 64-bit machine (`struct input_event` in linux/input.h):
/// time 16, type 2, code 2, value 4.
const EVENT: usize = 24;

/// A key (`EV_KEY`), the one that is meant (`KEY_POWER`), and that it goes down.
const KEY: u16 = 1;
const POWER: u16 = 116;
const DOWN: i32 = 1;

/// How often it is looked for buttons that were not there before.
const LOOK: Duration = Duration::from_secs(5);

/// Longest list of keys that is read, in bytes.
const MAX_KEYS: u64 = 4096;

/// Rings when the button is pressed. Where there is none, it never does.
pub fn pressed() -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel(1);
    let watch = move || {
        let mut watched = BTreeSet::new();
        while !sender.is_closed() {
            for (name, device) in buttons(Path::new("/sys/class/input")) {
                if watched.insert(name) {
                    listen(device, sender.clone());
                }
            }
            std::thread::sleep(LOOK);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("buttons".to_owned()).spawn(watch) {
        tracing::error!(%error, "the power button does nothing");
    }
    receiver
}

/// Waits for presses on a thread of its own, because reading cannot be given up.
fn listen(device: PathBuf, pressed: mpsc::Sender<()>) {
    let name = device.display().to_string();
    let listens = std::thread::Builder::new().name("button".to_owned());
    let spawned = listens.spawn(move || {
        if let Err(error) = ring(&device, &pressed) {
            tracing::warn!(%error, device = %device.display(), "a power button is not listened to");
        }
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, name, "a power button is not listened to");
    }
}

/// Tells of each press, until nobody hears it.
fn ring(device: &Path, pressed: &mpsc::Sender<()>) -> io::Result<()> {
    let mut device = File::open(device)?;
    let mut event = [0; EVENT];
    loop {
        device.read_exact(&mut event)?;
        if is_press(&event) && pressed.blocking_send(()).is_err() {
            return Ok(());
        }
    }
}

/// Devices that have a power button, by the kernel's name for them.
fn buttons(directory: &Path) -> Vec<(OsString, PathBuf)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("event"))
        .filter(|entry| {
            let keys = files::read(&entry.path().join("device/capabilities/key"), MAX_KEYS);
            keys.is_ok_and(|keys| has_power(&String::from_utf8_lossy(&keys)))
        })
        .map(|entry| (entry.file_name(), Path::new("/dev/input").join(entry.file_name())))
        .collect()
}

/// Whether a device's keys have the button: words of 64 bits, the last ones first.
fn has_power(keys: &str) -> bool {
    let word = keys.split_ascii_whitespace().rev().nth(usize::from(POWER / 64));
    let bits = word.and_then(|word| u64::from_str_radix(word, 16).ok()).unwrap_or(0);
    bits >> (POWER % 64) & 1 == 1
}

fn is_press(event: &[u8; EVENT]) -> bool {
    let [.., a, b, c, d, e, f, g, h] = *event;
    u16::from_ne_bytes([a, b]) == KEY
        && u16::from_ne_bytes([c, d]) == POWER
        && i32::from_ne_bytes([e, f, g, h]) == DOWN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_press_of_that_button_and_nothing_else() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut event = [7; EVENT];
            event[16..18].copy_from_slice(&kind.to_ne_bytes());
            event[18..20].copy_from_slice(&code.to_ne_bytes());
            event[20..].copy_from_slice(&value.to_ne_bytes());
            event
        };
        assert!(is_press(&event(1, 116, 1)));
        for (kind, code, value) in [(1, 116, 0), (1, 116, 2), (1, 30, 1), (0, 116, 1), (0, 0, 0)] {
            assert!(!is_press(&event(kind, code, value)), "{kind} {code} {value}");
        }
    }

    #[test]
    fn devices_with_the_button_are_found() {
        let directory = tempfile::tempdir().unwrap();
        // A button of its own, a keyboard with one, a mouse, nonsense, no event device.
        for (name, keys) in [
            ("event0", "10000000000000 0\n"),
            ("event1", "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n"),
            ("event2", "1f0000 0 0 0 0\n"),
            ("event3", "x 0"),
            ("mouse0", "10000000000000 0\n"),
        ] {
            let capabilities = directory.path().join(name).join("device/capabilities");
            fs::create_dir_all(&capabilities).unwrap();
            fs::write(capabilities.join("key"), keys).unwrap();
        }
        let mut found = buttons(directory.path());
        found.sort();
        let names: Vec<_> = found.iter().map(|(name, _)| name.to_string_lossy()).collect();
        assert_eq!(names, ["event0", "event1"]);
        assert_eq!(found[0].1, Path::new("/dev/input/event0"));
        assert!(buttons(Path::new("/nonexistent")).is_empty());
    }
}
