//! An ordered table whose keys are texts. Keys are short, many, and written once: they share one buffer, so that a key costs
//! no allocation.

use std::cmp::Ordering;

/// Up to how many rows it is cheaper to put in place one by one than to sort.
const FEW: usize = 8;

/// For how many rows there is room at first.
const ROOM: usize = 16;

/// How long keys are, by and large.
const SHORT: usize = 32;

/// A table from texts to values, in order of the texts.
#[derive(Debug, Clone)]
pub(super) struct KeyTable<T> {
    text: String,
    rows: Vec<Row<T>>,
}

#[derive(Debug, Clone)]
struct Row<T> {
    start: usize,
    end: usize,
    value: T,
}

impl<T> Row<T> {
    fn key<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

impl<T> Default for KeyTable<T> {
    fn default() -> Self {
        Self {
            text: String::new(),
            rows: Vec::new(),
        }
    }
}

impl<T: PartialEq> PartialEq for KeyTable<T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: Eq> Eq for KeyTable<T> {}

impl<T> KeyTable<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.find(key).ok().map(|at| &self.rows[at].value)
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }

    /// The rows in order of the keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.rows
            .iter()
            .map(|row| (row.key(&self.text), &row.value))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(key, _)| key)
    }

    /// Writes a value, in place of the one before.
    pub(super) fn insert(&mut self, key: &str, value: T) {
        match self.find(key) {
            Ok(at) => self.rows[at].value = value,
            Err(at) => {
                let row = self.row(key, value);
                self.rows.insert(at, row);
            }
        }
    }

    /// Writes many values, each in place of the one before. No key may be there twice.
    pub(super) fn insert_all<'k>(&mut self, entries: impl Iterator<Item = (&'k str, T)>) {
        if entries.size_hint().1.is_some_and(|most| most <= FEW) {
            for (key, value) in entries {
                self.insert(key, value);
            }
            return;
        }
        let known = self.rows.len();
        for (key, value) in entries {
            match self.find_in(known, key) {
                Ok(at) => self.rows[at].value = value,
                Err(_) => {
                    let row = self.row(key, value);
                    self.rows.push(row);
                }
            }
        }
        // What was there is in order already, which the sort finds out.
        let text = &self.text;
        self.rows.sort_by(|a, b| a.key(text).cmp(b.key(text)));
    }

    fn row(&mut self, key: &str, value: T) -> Row<T> {
        if self.rows.is_empty() {
            // Where one key is written, a few more follow.
            self.rows.reserve(ROOM);
            self.text.reserve(ROOM * SHORT);
        }
        let start = self.text.len();
        self.text.push_str(key);
        Row {
            start,
            end: self.text.len(),
            value,
        }
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.find_in(self.rows.len(), key)
    }

    /// Looks among the first rows only.
    fn find_in(&self, rows: usize, key: &str) -> Result<usize, usize> {
        let rows = &self.rows[..rows];
        // Plugins are called in order, and their keys often have it too.
        match rows.last().map(|last| last.key(&self.text).cmp(key)) {
            None | Some(Ordering::Less) => Err(rows.len()),
            Some(Ordering::Equal) => Ok(rows.len() - 1),
            Some(Ordering::Greater) => rows.binary_search_by(|row| row.key(&self.text).cmp(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However values come in, one by one or together, the table is an ordered map.
        #[test]
        fn it_is_an_ordered_map(
            batches in prop::collection::vec(prop::collection::btree_map("[a-c-]{0,2}", 0..9u8, 0..20), 0..6),
        ) {
            let mut table = KeyTable::default();
            let mut map = BTreeMap::new();
            for batch in batches {
                // From the last to the first: no order is promised.
                table.insert_all(batch.iter().rev().map(|(key, value)| (key.as_str(), *value)));
                map.extend(batch);
                prop_assert!(table.iter().eq(map.iter().map(|(key, value)| (key.as_str(), value))));
                prop_assert!(map.iter().all(|(key, value)| table.get(key) == Some(value)));
            }
            prop_assert!(!table.contains("d"));
            let mut alone = KeyTable::default();
            for (key, value) in &map {
                alone.insert(key, *value);
            }
            prop_assert_eq!(alone, table);
        }
    }
}
