//! How keys and values become bytes. The same in every engine.
//!
//! A versioned row's key is `escape(key) ‖ !height`, with `!height` the bitwise
//! complement of the height, big-endian, so that the newest comes first.
//! `escape` writes a zero byte as `00 FF` and ends with `00 01`, which keeps
//! the order of keys and lets no key be a prefix of another. Its value is `00`
//! for a removal or `01 ‖ value`.
//!
//! A plain row's key is the key itself; its value is `height ‖ value`, the
//! height big-endian.

/// Length of an encoded height.
pub(crate) const HEIGHT: usize = 8;

/// Appends `escape(key)`.
pub(crate) fn escape(key: &[u8], out: &mut Vec<u8>) {
    for byte in key {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 1]);
}

/// `escape(key)` without its end: where keys not less than `key` begin.
pub(crate) fn escape_open(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 2);
    escape(key, &mut out);
    out.truncate(out.len() - 2);
    out
}

/// The key of a versioned row.
pub(crate) fn versioned_key(key: &[u8], height: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 2 + HEIGHT);
    escape(key, &mut out);
    out.extend_from_slice(&(!height).to_be_bytes());
    out
}

/// The key and height of a versioned row; `None` if it is not one.
pub(crate) fn split_versioned_key(row: &[u8]) -> Option<(Vec<u8>, u64)> {
    let (escaped, height) = row.split_at_checked(row.len().checked_sub(HEIGHT)?)?;
    let mut key = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    loop {
        match *bytes.next()? {
            0 => match *bytes.next()? {
                0xff => key.push(0),
                1 => break,
                _ => return None,
            },
            byte => key.push(byte),
        }
    }
    if bytes.next().is_some() {
        return None;
    }
    Some((key, !u64::from_be_bytes(height.try_into().ok()?)))
}

/// The value of a versioned row.
pub(crate) fn versioned_value(value: Option<Vec<u8>>) -> Vec<u8> {
    match value {
        None => vec![0],
        Some(value) => {
            let mut out = Vec::with_capacity(1 + value.len());
            out.push(1);
            out.extend_from_slice(&value);
            out
        }
    }
}

/// What a versioned row holds; `None` if it is not one.
pub(crate) fn split_versioned_value(row: &[u8]) -> Option<Option<&[u8]>> {
    match row.split_first()? {
        (0, []) => Some(None),
        (1, value) => Some(Some(value)),
        _ => None,
    }
}

/// The value of a plain row.
pub(crate) fn plain_value(height: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEIGHT + value.len());
    out.extend_from_slice(&height.to_be_bytes());
    out.extend_from_slice(value);
    out
}

/// Height and value of a plain row; `None` if it is not one.
pub(crate) fn split_plain_value(row: &[u8]) -> Option<(u64, &[u8])> {
    let (height, value) = row.split_at_checked(HEIGHT)?;
    Some((u64::from_be_bytes(height.try_into().ok()?), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        // Zero and one often, because they are what escaping is about.
        prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()], 0..12)
    }

    proptest! {
        #[test]
        fn versioned_keys_round_trip(key in key(), height: u64) {
            let row = versioned_key(&key, height);
            prop_assert_eq!(split_versioned_key(&row), Some((key, height)));
        }

        #[test]
        fn versioned_keys_sort_by_key_then_newest_first(
            one in key(), other in key(), low: u64, high: u64,
        ) {
            let left = versioned_key(&one, low);
            let right = versioned_key(&other, high);
            let expected = one.cmp(&other).then(high.cmp(&low));
            prop_assert_eq!(left.cmp(&right), expected);
            prop_assert_eq!(escape_open(&one) <= right, one <= other);
        }

        #[test]
        fn arbitrary_rows_do_not_panic(row in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some((key, height)) = split_versioned_key(&row) {
                prop_assert_eq!(versioned_key(&key, height), row.clone());
            }
            if let Some(value) = split_versioned_value(&row) {
                prop_assert_eq!(versioned_value(value.map(<[u8]>::to_vec)), row.clone());
            }
            if let Some((height, value)) = split_plain_value(&row) {
                prop_assert_eq!(plain_value(height, value), row);
            }
        }
    }
}
