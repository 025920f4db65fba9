//! A path of a tile from anywhere is read without a panic, and is the only one of
//! its tile.

#![no_main]

use hufu_proof::tile::Tile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    if let Ok(tile) = path.parse::<Tile>() {
        assert_eq!(tile.to_string(), path);
        assert!((1..=256).contains(&tile.width));
    }
});
