//! How a table of settings is read, whatever the format and whoever's names: keys without regard to
//! case, nothing swallowed, errors that name the key.
//!
//! A type lists its keys once, with [`settings!`]; TOML and JSON then read it by the same rules.
//! What may not enter: any single setting, and any format.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use nri_proto::SocketPath;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::error::UnknownKey;
use crate::duration;

/// The spellings that the keys of a dialect have, each without regard to case as in Go's decoders.
#[derive(Debug, Clone, Copy)]
pub(super) enum Spelling {
    /// `socket_path`, and `socketPath` as in JSON.
    SnakeOrCamel,
    /// `socket_path`.
    Snake,
    /// `socket-path`.
    Kebab,
}

impl Spelling {
    /// Whether `written` is the key `known`, which is in snake case.
    pub(super) fn means(self, known: &str, written: &str) -> bool {
        let same = |separator: &str| known.replace('_', separator).eq_ignore_ascii_case(written);
        match self {
            Self::SnakeOrCamel => same("_") || same(""),
            Self::Snake => same("_"),
            Self::Kebab => same("-"),
        }
    }

    /// The key as the dialect's documentation writes it.
    fn shown(self, known: &str) -> String {
        match self {
            Self::SnakeOrCamel | Self::Snake => known.to_owned(),
            Self::Kebab => known.replace('_', "-"),
        }
    }
}

/// A table with keys that are known.
pub(super) trait Settings: Default {
    /// The keys, in snake case.
    const KEYS: &'static [&'static str];
    /// How they are written.
    const SPELLING: Spelling;

    /// Reads the value of one of [`KEYS`](Self::KEYS).
    fn set<'de, A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        next: Next<'_, A>,
    ) -> Result<(), A::Error>;
}

/// Declares the keys of a table, all of its fields, and how they are spelled; and with that, how it
/// is read. A field that is `as socket` is the path of a socket.
macro_rules! settings {
    ($spelling:ident $name:ident { $($field:ident $(as $how:ident)?,)* }) => {
        impl crate::config::settings::Settings for $name {
            const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];
            const SPELLING: crate::config::settings::Spelling =
                crate::config::settings::Spelling::$spelling;

            fn set<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                key: &'static str,
                next: crate::config::settings::Next<'_, A>,
            ) -> Result<(), A::Error> {
                let Self { $($field),* } = self;
                match key {
                    $(stringify!($field) => {
                        *$field = crate::config::settings::settings!(@read next $($how)?)?;
                    })*
                    _ => {}
                }
                Ok(())
            }
        }

        impl crate::config::settings::Setting for $name {
            fn read<'de, D: serde::Deserializer<'de>>(
                place: crate::config::settings::Place<'_>,
                from: D,
            ) -> Result<Self, D::Error> {
                crate::config::settings::table(place, from, Self::default())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                crate::config::settings::strictly(from)
            }
        }
    };
    (@read $next:ident) => { $next.read() };
    (@read $next:ident socket) => { $next.socket() };
}
pub(super) use settings;

/// What is noted while a table is read.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Keys that mean nothing, each with the path to it.
    pub(super) unknown: RefCell<Vec<(Vec<String>, Option<String>)>>,
    /// The path to the value that could not be read.
    pub(super) failed: RefCell<Option<Vec<String>>>,
}

impl Notes {
    /// The error, with the key that it is about.
    pub(super) fn explain<E: de::Error>(&self, error: E) -> E {
        match self.failed.take() {
            Some(path) => E::custom(format!("key `{}`: {error}", joined(&path))),
            None => error,
        }
    }
}

/// Reads a table in which every key must be known, for serde. Errors name the key.
pub(super) fn strictly<'de, T: Settings, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    let (read, notes) = noting(from, T::default());
    let read = read.map_err(|error| notes.explain(error))?;
    match notes.unknown.take().into_iter().next() {
        Some((path, nearest)) => Err(D::Error::custom(UnknownKey {
            key: joined(&path),
            line: None,
            nearest,
        })),
        None => Ok(read),
    }
}

/// Reads a table over what holds where it says nothing, and notes what is to be said of it.
pub(super) fn noting<'de, T: Settings, D: Deserializer<'de>>(
    from: D,
    absent: T,
) -> (Result<T, D::Error>, Notes) {
    let notes = Notes::default();
    let top = Place {
        outer: None,
        key: "",
        notes: &notes,
    };
    let read = table(top, from, absent);
    (read, notes)
}

/// A path as one key: `policy.rules[0].fields`.
pub(super) fn joined(path: &[String]) -> String {
    let mut key = String::new();
    for part in path {
        if !key.is_empty() && !part.starts_with('[') {
            key.push('.');
        }
        key.push_str(part);
    }
    key
}

/// Where a value is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    outer: Option<&'a Place<'a>>,
    key: &'a str,
    notes: &'a Notes,
}

impl<'a> Place<'a> {
    /// A value in this one.
    pub(super) fn below<'b>(&'b self, key: &'b str) -> Place<'b>
    where
        'a: 'b,
    {
        Place {
            outer: Some(self),
            key,
            notes: self.notes,
        }
    }

    /// What reads the value here.
    pub(super) fn seed<T: Setting>(
        self,
    ) -> impl for<'de> DeserializeSeed<'de, Value = T> + use<'a, T> {
        Seed(self, PhantomData)
    }

    /// The keys that lead here, as they were written.
    fn path(&self) -> Vec<String> {
        let mut path = self.outer.map(Place::path).unwrap_or_default();
        if self.outer.is_some() {
            path.push(self.key.to_owned());
        }
        path
    }
}

/// The value of a key that has just been read.
#[derive(Debug)]
pub(super) struct Next<'a, A> {
    place: Place<'a>,
    map: &'a mut A,
}

impl<'de, A: MapAccess<'de>> Next<'_, A> {
    /// Reads it.
    pub(super) fn read<T: Setting>(self) -> Result<T, A::Error> {
        self.map.next_value_seed(Seed(self.place, PhantomData))
    }

    /// Reads it as the path of a socket, with or without `unix://`.
    pub(super) fn socket(self) -> Result<PathBuf, A::Error> {
        let place = self.place;
        let text: String = self.map.next_value_seed(Seed(place, PhantomData))?;
        // An empty path is the default one.
        if text.is_empty() {
            return Ok(PathBuf::new());
        }
        let path = SocketPath::parse(&text).map_err(|error| {
            place.notes.failed.replace(Some(place.path()));
            A::Error::custom(error)
        })?;
        Ok(path.into_path_buf())
    }
}

struct Seed<'a, T>(Place<'a>, PhantomData<T>);

impl<'de, T: Setting> DeserializeSeed<'de> for Seed<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        T::read(self.0, from).inspect_err(|_| {
            let mut failed = self.0.notes.failed.borrow_mut();
            // The innermost was noted first.
            failed.get_or_insert_with(|| self.0.path());
        })
    }
}

/// Reads a table with known keys. One that is not known is noted, one that is there twice is an
/// error.
pub(super) fn table<'de, T: Settings, D: Deserializer<'de>>(
    place: Place<'_>,
    from: D,
    absent: T,
) -> Result<T, D::Error> {
    struct Table<'a, T>(Place<'a>, T);

    impl<'de, T: Settings> Visitor<'de> for Table<'_, T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table of settings")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
            let Self(place, mut settings) = self;
            let mut seen: Vec<Option<String>> = vec![None; T::KEYS.len()];
            while let Some(written) = map.next_key::<String>()? {
                let mut known = T::KEYS.iter().zip(&mut seen);
                match known.find(|(known, _)| T::SPELLING.means(known, &written)) {
                    Some((_, Some(before))) => {
                        let path = place.below(&written).path();
                        place.notes.failed.replace(Some(path));
                        return Err(A::Error::custom(twice(before, &written)));
                    }
                    Some((known, seen)) => {
                        let next = Next {
                            place: place.below(&written),
                            map: &mut map,
                        };
                        settings.set(known, next)?;
                        *seen = Some(written);
                    }
                    None => {
                        let path = place.below(&written).path();
                        let nearest = nearest(&written, T::KEYS);
                        let nearest = nearest.map(|known| T::SPELLING.shown(known));
                        place.notes.unknown.borrow_mut().push((path, nearest));
                        map.next_value::<IgnoredAny>()?;
                    }
                }
            }
            Ok(settings)
        }
    }

    from.deserialize_map(Table(place, absent))
}

fn twice(before: &str, now: &str) -> String {
    match before == now {
        true => "it is set twice".to_owned(),
        false => format!("it is set twice, the other time as `{before}`"),
    }
}

/// The known key that takes the fewest changes, if they are few.
fn nearest(written: &str, known: &[&'static str]) -> Option<&'static str> {
    let written = written.to_ascii_lowercase();
    worth_comparing(&written, known)
        .map(|known| (distance(&written, known), known))
        .filter(|(distance, known)| *distance <= most_changes(known))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// The known keys that are not of a very different length: of the others no character is looked at.
fn worth_comparing<'a>(
    written: &'a str,
    known: &'a [&'static str],
) -> impl Iterator<Item = &'static str> + 'a {
    let length = written.len();
    let known = known.iter().copied();
    known.filter(move |known| length.abs_diff(known.len()) <= most_changes(known))
}

/// How many changes make another word of it.
fn most_changes(known: &str) -> usize {
    2 + known.len() / 5
}

/// How many characters have to be inserted, removed or replaced to turn one text into the other.
pub(crate) fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

/// The value of a setting.
pub(super) trait Setting: Sized {
    /// Reads it.
    fn read<'de, D: Deserializer<'de>>(place: Place<'_>, from: D) -> Result<Self, D::Error>;
}

macro_rules! as_serde_reads {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn read<'de, D: Deserializer<'de>>(_: Place<'_>, from: D) -> Result<Self, D::Error> {
                <$type>::deserialize(from)
            }
        }
    )*};
}

as_serde_reads!(bool, String, Vec<String>, PathBuf);

impl Setting for Duration {
    fn read<'de, D: Deserializer<'de>>(_: Place<'_>, from: D) -> Result<Self, D::Error> {
        duration::text::deserialize(from)
    }
}

impl<T: Setting> Setting for Option<T> {
    fn read<'de, D: Deserializer<'de>>(place: Place<'_>, from: D) -> Result<Self, D::Error> {
        T::read(place, from).map(Some)
    }
}

impl Setting for u32 {
    fn read<'de, D: Deserializer<'de>>(_: Place<'_>, from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Number("a whole number from 0 to 4294967295", PhantomData))
    }
}

impl Setting for usize {
    fn read<'de, D: Deserializer<'de>>(_: Place<'_>, from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Number("a whole number, 0 or more", PhantomData))
    }
}

/// A number of the type, and what to say where there is something else.
#[derive(Clone, Copy)]
struct Number<T>(&'static str, PhantomData<T>);

impl<T: TryFrom<i64> + TryFrom<u64>> Visitor<'_> for Number<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }
}

/// Lists of numbers are lists of user or group ids.
impl Setting for Vec<u32> {
    fn read<'de, D: Deserializer<'de>>(_: Place<'_>, from: D) -> Result<Self, D::Error> {
        struct Id(u32);

        impl<'de> Deserialize<'de> for Id {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let expected = "a numeric user or group id (names are not looked up)";
                let number = from.deserialize_any(Number(expected, PhantomData))?;
                Ok(Self(number))
            }
        }

        let ids = Vec::<Id>::deserialize(from)?;
        Ok(ids.into_iter().map(|id| id.0).collect())
    }
}

/// Tables by names that the user chooses. They are compared as they are written.
impl<T: Setting> Setting for BTreeMap<String, T> {
    fn read<'de, D: Deserializer<'de>>(place: Place<'_>, from: D) -> Result<Self, D::Error> {
        struct Tables<'a, T>(Place<'a>, PhantomData<T>);

        impl<'de, T: Setting> Visitor<'de> for Tables<'_, T> {
            type Value = BTreeMap<String, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of tables, one for each name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut tables = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let place = self.0.below(&name);
                    let table = map.next_value_seed(Seed(place, PhantomData))?;
                    if tables.contains_key(&name) {
                        place.notes.failed.replace(Some(place.path()));
                        return Err(A::Error::custom(twice(&name, &name)));
                    }
                    tables.insert(name, table);
                }
                Ok(tables)
            }
        }

        from.deserialize_map(Tables(place, PhantomData))
    }
}

/// Settings that are one of several words, without regard to case.
macro_rules! words {
    ($($type:ty),*) => {$(
        impl crate::config::settings::Setting for $type {
            fn read<'de, D: serde::Deserializer<'de>>(
                _: crate::config::settings::Place<'_>,
                from: D,
            ) -> Result<Self, D::Error> {
                use serde::de::IntoDeserializer as _;
                let word = <String as serde::Deserialize>::deserialize(from)?;
                let word: serde::de::value::StringDeserializer<D::Error> =
                    word.to_ascii_lowercase().into_deserializer();
                serde::Deserialize::deserialize(word)
            }
        }
    )*};
}
pub(super) use words;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, DefaultValidatorConfig, PluginConfig};

    /// The cells of all tables that are filled in for a name.
    fn cells(written: &str, known: &[&'static str]) -> usize {
        let compared = worth_comparing(written, known);
        compared
            .map(|known| (written.len() + 1) * (known.len() + 1))
            .sum()
    }

    /// Law: what an unknown key costs is bounded, so that many cost as much as they are many.
    #[test]
    fn looking_for_what_was_meant_costs_a_bounded_amount_for_every_unknown_key() {
        for known in [
            Config::KEYS,
            PluginConfig::KEYS,
            DefaultValidatorConfig::KEYS,
        ] {
            let most: usize = known
                .iter()
                .map(|known| (known.len() + most_changes(known) + 1) * (known.len() + 1))
                .sum();
            let text = "x_socket_pth_plugin_timeout".repeat(1 << 16);
            let lengths = (0..200).chain([1 << 10, 1 << 20]);
            for written in lengths.map(|length| &text[..length]) {
                assert!(cells(written, known) <= most, "{} bytes", written.len());
            }
            let keys: Vec<String> = (0..20_000).map(|n| format!("socket_pth{n}")).collect();
            let all: usize = keys.iter().map(|key| cells(key, known)).sum();
            assert!(all <= keys.len() * most);
            assert_eq!(cells(&text, known), 0);
        }
    }
}
