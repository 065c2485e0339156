//! The kinds of fields, one file each. A kind knows how values of several plugins combine, who owns them then, and how they
//! are applied; it does not know which fields there are.

mod appended;
mod args;
mod keyed_list;
mod keyed_map;
mod rdt;
mod single;
mod slots;

pub(super) use appended::{AppendedHooks, AppendedList};
pub(super) use args::Args;
pub(crate) use keyed_list::Entry;
pub(super) use keyed_list::KeyedList;
pub(super) use keyed_map::{KeyedMap, LiteralMap};
pub(super) use rdt::Rdt;
pub(super) use single::Single;
