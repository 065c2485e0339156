//! An ordered table whose keys are texts, compared by their normal form and given back as they were
//! spelled last. Keys are short, many, and written once: they share one buffer, so that a key costs
//! no allocation.

use std::cmp::Ordering;

use crate::keys::KeyKind;

/// Up to how many rows it is cheaper to put in place one by one than to sort.
const FEW: usize = 8;

/// For how many rows there is room at first.
const ROOM: usize = 16;

/// How long keys are, by and large.
const SHORT: usize = 32;

/// A table from texts to values, in order of the texts' normal forms.
#[derive(Debug, Clone)]
pub(super) struct KeyTable<T> {
    kind: KeyKind,
    text: String,
    rows: Vec<Row<T>>,
}

#[derive(Debug, Clone)]
struct Row<T> {
    /// Where the normal form stands.
    start: usize,
    end: usize,
    /// Where the spelling ends that stands behind the normal form. Nothing does if the normal form
    /// is the spelling.
    spelled_end: usize,
    value: T,
}

impl<T> Row<T> {
    fn key<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.start..self.end).unwrap_or_default()
    }

    fn spelling<'t>(&self, text: &'t str) -> &'t str {
        match text.get(self.end..self.spelled_end) {
            None | Some("") => self.key(text),
            Some(spelling) => spelling,
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
    /// An empty table for keys of this kind.
    pub(super) fn of(kind: KeyKind) -> Self {
        Self {
            kind,
            text: String::new(),
            rows: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The value of a key, however it is spelled.
    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.find(&self.kind.normal(key))
            .ok()
            .map(|at| &self.rows[at].value)
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.find(&self.kind.normal(key)).is_ok()
    }

    /// The rows in order of the keys' normal forms, with the keys as they were spelled last.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.rows
            .iter()
            .map(|row| (row.spelling(&self.text), &row.value))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(key, _)| key)
    }

    /// Writes a value, in place of the one before.
    pub(super) fn insert(&mut self, key: &str, value: T) {
        let normal = self.kind.normal(key);
        match self.find(&normal) {
            Ok(at) => self.replace(at, &normal, key, value),
            Err(at) => {
                let row = self.row(&normal, key, value);
                self.rows.insert(at, row);
            }
        }
    }

    /// Writes many values, each in place of the one before. No key may be there twice, in whatever
    /// spelling.
    pub(super) fn insert_all<'k>(&mut self, entries: impl Iterator<Item = (&'k str, T)>) {
        if entries.size_hint().1.is_some_and(|most| most <= FEW) {
            for (key, value) in entries {
                self.insert(key, value);
            }
            return;
        }
        let known = self.rows.len();
        for (key, value) in entries {
            let normal = self.kind.normal(key);
            match self.find_in(known, &normal) {
                Ok(at) => self.replace(at, &normal, key, value),
                Err(_) => {
                    let row = self.row(&normal, key, value);
                    self.rows.push(row);
                }
            }
        }
        // What was there is in order already, which the sort finds out.
        let text = &self.text;
        self.rows.sort_by(|a, b| a.key(text).cmp(b.key(text)));
    }

    /// Writes a value, and its key where it is spelled in another way than before.
    fn replace(&mut self, at: usize, normal: &str, spelling: &str, value: T) {
        if self.rows[at].spelling(&self.text) == spelling {
            self.rows[at].value = value;
        } else {
            self.rows[at] = self.row(normal, spelling, value);
        }
    }

    fn row(&mut self, normal: &str, spelling: &str, value: T) -> Row<T> {
        if self.rows.is_empty() {
            // Where one key is written, a few more follow.
            self.rows.reserve(ROOM);
            self.text.reserve(ROOM * SHORT);
        }
        let start = self.text.len();
        self.text.push_str(normal);
        let end = self.text.len();
        if spelling != normal {
            self.text.push_str(spelling);
        }
        Row {
            start,
            end,
            spelled_end: self.text.len(),
            value,
        }
    }

    /// The place of a key, by its normal form.
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
            let mut table = KeyTable::of(KeyKind::Text);
            let mut map = BTreeMap::new();
            for batch in batches {
                // From the last to the first: no order is promised.
                table.insert_all(batch.iter().rev().map(|(key, value)| (key.as_str(), *value)));
                map.extend(batch);
                prop_assert!(table.iter().eq(map.iter().map(|(key, value)| (key.as_str(), value))));
                prop_assert!(map.iter().all(|(key, value)| table.get(key) == Some(value)));
            }
            prop_assert!(!table.contains("d"));
            let mut alone = KeyTable::of(KeyKind::Text);
            for (key, value) in &map {
                alone.insert(key, *value);
            }
            prop_assert_eq!(alone, table);
        }

        /// A key is found however it is spelled, and comes back as it was spelled last.
        #[test]
        fn spellings_of_a_key_are_one_key(batches in prop::collection::vec(
            prop::collection::btree_map("[ab]", (prop::sample::select(vec!["", "/", "//"]), 0..9u8), 0..20),
            0..6,
        )) {
            let mut table = KeyTable::of(KeyKind::Path);
            let mut alone = KeyTable::of(KeyKind::Path);
            let mut map = BTreeMap::new();
            for batch in batches {
                let spelled = |name: &String, slashes: &&str| format!("/{name}{slashes}");
                let entries: Vec<_> =
                    batch.iter().map(|(name, (slashes, value))| (spelled(name, slashes), *value)).collect();
                // Without an upper bound for their number, many are written at once.
                table.insert_all(entries.iter().map(|(key, value)| (key.as_str(), *value)).chain((0..9).map_while(|_| None)));
                for ((key, value), name) in entries.into_iter().zip(batch.keys()) {
                    alone.insert(&key, value);
                    map.insert(format!("/{name}"), (key, value));
                }
            }
            prop_assert!(table.iter().eq(map.values().map(|(key, value)| (key.as_str(), value))));
            for (key, (_, value)) in &map {
                prop_assert_eq!(table.get(&format!("{key}/.")), Some(value));
            }
            prop_assert_eq!(alone, table);
        }
    }
}
