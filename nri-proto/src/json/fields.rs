//! The fields of a message, as generated code writes and reads them.

use std::marker::PhantomData;

use serde::de::MapAccess;
use serde::ser::SerializeMap;

use super::numbers::{Enum, Number};
use super::place::Place;
use super::value::{Seed, Value, Written};

/// Where fields are written.
pub(crate) struct Writer<'a, M>(pub(super) &'a mut M);

impl<M: SerializeMap> Writer<'_, M> {
    /// Writes a field, if it is not its default.
    pub(crate) fn field<T: Value>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), M::Error> {
        match value.is_default() {
            true => Ok(()),
            false => self.0.serialize_entry(name, &Written(value)),
        }
    }

    /// The same for a field of an enum.
    pub(crate) fn number<E: Enum>(
        &mut self,
        name: &'static str,
        number: i32,
    ) -> Result<(), M::Error> {
        self.field(name, &Number::<E>::of(number))
    }

    /// The same for a list of an enum.
    pub(crate) fn numbers<E: Enum>(
        &mut self,
        name: &'static str,
        numbers: &[i32],
    ) -> Result<(), M::Error> {
        let numbers: Vec<Number<E>> = numbers.iter().copied().map(Number::of).collect();
        self.field(name, &numbers)
    }
}

/// The value of a field that has just been named.
pub(crate) struct Next<'a, A> {
    pub(super) place: Place<'a>,
    pub(super) map: &'a mut A,
}

impl<'de, A: MapAccess<'de>> Next<'_, A> {
    /// Reads it.
    pub(crate) fn value<T: Value>(self) -> Result<T, A::Error> {
        self.map.next_value_seed(Seed(self.place, PhantomData))
    }

    /// Reads it as one of an enum.
    pub(crate) fn number<E: Enum>(self) -> Result<i32, A::Error> {
        Ok(self.value::<Number<E>>()?.number)
    }

    /// Reads it as a list of an enum.
    pub(crate) fn numbers<E: Enum>(self) -> Result<Vec<i32>, A::Error> {
        let numbers: Vec<Number<E>> = self.value()?;
        Ok(numbers.into_iter().map(|number| number.number).collect())
    }
}
