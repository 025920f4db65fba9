//! A bounded cache that forgets what was not used for a while.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Two generations: when the young one is full it becomes the old one, and what
/// was old is forgotten. Use moves an entry to the young generation. The order
/// of iteration is never used, so results do not depend on it.
#[derive(Debug)]
pub struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    capacity: usize,
}

impl<K: Eq + Hash, V> Generations<K, V> {
    /// A cache of at most twice `capacity` entries.
    pub fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), capacity: capacity.max(1) }
    }

    /// The value of `key`, which counts as used.
    pub fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.young.get(key)
    }

    /// Keeps `value`; it replaces an older one of the same key.
    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.capacity {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Forgets `key`.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_size_is_bounded() {
        let mut cache = Generations::new(10);
        cache.insert(0, 0);
        for number in 1..100 {
            assert_eq!(cache.get(&0), Some(&0));
            cache.insert(number, number);
            assert!(cache.young.len() + cache.old.len() <= 20);
        }
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.get(&99), Some(&99));
        cache.remove(&99);
        assert_eq!(cache.get(&99), None);
        cache.insert(0, 7);
        assert_eq!(cache.get(&0), Some(&7), "a newer value wins over an old generation");
    }
}
