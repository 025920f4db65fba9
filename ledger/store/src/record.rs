//! What an engine remembers of itself, as bytes. The same in every engine.

use crate::Applied;

/// What is written where an engine keeps the format of its rows.
pub(crate) const FORMAT: &str = "hufu-store 2";

/// Which height is staged, with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Staged {
    pub(crate) height: u64,
    pub(crate) digest: [u8; 32],
    /// Whether every row of it was written.
    pub(crate) complete: bool,
}

pub(crate) fn encode_staged(staged: &Staged) -> Vec<u8> {
    let mut out = staged.height.to_be_bytes().to_vec();
    out.extend_from_slice(&staged.digest);
    out.push(u8::from(staged.complete));
    out
}

pub(crate) fn decode_staged(row: &[u8]) -> Option<Staged> {
    let (height, rest) = row.split_first_chunk::<8>()?;
    let (digest, rest) = rest.split_first_chunk::<32>()?;
    let complete = match rest {
        [0] => false,
        [1] => true,
        _ => return None,
    };
    Some(Staged { height: u64::from_be_bytes(*height), digest: *digest, complete })
}

pub(crate) fn encode_applied(applied: &Applied) -> Vec<u8> {
    let mut out = applied.height.to_be_bytes().to_vec();
    out.extend_from_slice(&applied.block);
    out.extend_from_slice(&applied.commitment);
    out
}

pub(crate) fn decode_applied(row: &[u8]) -> Option<Applied> {
    let (height, rest) = row.split_first_chunk::<8>()?;
    let (block, commitment) = rest.split_first_chunk::<32>()?;
    Some(Applied {
        height: u64::from_be_bytes(*height),
        block: *block,
        commitment: commitment.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_round_trip(
            height: u64, digest: [u8; 32], complete: bool,
            commitment in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let staged = Staged { height, digest, complete };
            prop_assert_eq!(decode_staged(&encode_staged(&staged)), Some(staged));
            let applied = Applied { height, block: digest, commitment };
            prop_assert_eq!(decode_applied(&encode_applied(&applied)), Some(applied));
        }

        #[test]
        fn arbitrary_records_do_not_panic(row in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode_staged(&row);
            let _ = decode_applied(&row);
        }
    }
}
