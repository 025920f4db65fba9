//! Which tile of the log a path names (c2sp.org/tlog-tiles, Merkle Tree).

use std::fmt;
use std::str::FromStr;

/// Hashes in a full tile.
pub const WIDTH: u64 = 256;

/// Longest path of a tile below its level, in bytes: seven elements, since the log
/// never has 2^63 entries, and the width.
const MAX_PATH: usize = 40;

/// A tile within its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Its place in the level.
    pub index: u64,
    /// Hashes in it, 1 to 256.
    pub width: u64,
}

/// Why a path names no tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tile: write x001/x234/067, with .p/1 to .p/255 behind it for one that is not full")]
pub struct NotATile;

impl Tile {
    /// The number of its first hash in the level.
    pub fn begin(&self) -> Option<u64> {
        self.index.checked_mul(WIDTH)
    }
}

impl FromStr for Tile {
    type Err = NotATile;

    /// There is one way to write each (tlog-tiles, Merkle Tree).
    fn from_str(path: &str) -> Result<Self, NotATile> {
        if path.len() > MAX_PATH {
            return Err(NotATile);
        }
        let (index, width) = match path.split_once(".p/") {
            Some((index, width)) => (index, width.parse().map_err(|_| NotATile)?),
            None => (path, WIDTH),
        };
        let mut number = 0u64;
        for element in index.split('/') {
            let digits = element.strip_prefix('x').unwrap_or(element);
            let part: u64 = digits.parse().map_err(|_| NotATile)?;
            number = number
                .checked_mul(1000)
                .and_then(|so_far| so_far.checked_add(part))
                .ok_or(NotATile)?;
        }
        let tile = Self { index: number, width };
        let full = tile.width == WIDTH;
        let good = (1..=WIDTH).contains(&tile.width) && full != path.contains(".p/");
        (good && tile.to_string() == path).then_some(tile).ok_or(NotATile)
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut elements = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            elements.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        elements.reverse();
        formatter.write_str(&elements.join("/"))?;
        match self.width {
            WIDTH => Ok(()),
            width => write!(formatter, ".p/{width}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tile_has_one_path() {
        for (path, index, width) in [
            ("000", 0, 256),
            ("000.p/1", 0, 1),
            ("067", 67, 256),
            ("x001/x234/067", 1_234_067, 256),
            ("x001/000.p/255", 1000, 255),
        ] {
            assert_eq!(path.parse(), Ok(Tile { index, width }), "{path}");
        }
        for path in [
            "",
            "0",
            "00",
            "0000",
            "x000/001",
            "000/001",
            "x001/x002",
            "x001",
            "001/",
            "/001",
            "000.p/0",
            "000.p/256",
            "000.p/01",
            "000.p/",
            "000.p/+1",
            "000.p/1/",
            "+00",
            "x+01/000",
            "000.p/1.p/1",
            "٠٠٠",
            "x018/x446/x744/x073/x709/x551/x616/000",
            "x018/x446/x744/x073/x709/x551/616",
        ] {
            assert_eq!(path.parse::<Tile>(), Err(NotATile), "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(index in 0u64..=u64::MAX / 256, width in 1u64..=256) {
            let tile = Tile { index, width };
            prop_assert_eq!(tile.to_string().parse(), Ok(tile));
        }

        #[test]
        fn what_is_read_is_written(path in "[x0-9/.p]{0,48}") {
            if let Ok(tile) = path.parse::<Tile>() {
                prop_assert_eq!(tile.to_string(), path);
            }
        }
    }
}
