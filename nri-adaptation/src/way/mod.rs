//! The way to a file, judged from `/` on: who could have changed what is at its end. May not enter:
//! what the file is for.
//!
//! Every name on the way is opened below the directory that was judged before it, links are read
//! and their own way is gone step by step, and whoever needs the file gets the descriptor that was
//! judged. [`distrust`] is the rule, and pure.

mod rule;
mod walk;

pub(crate) use rule::{Control, Kind, Trust, distrust};
pub(crate) use walk::{End, Obstacle, follow, trusted, weaknesses};
