//! Law: what an event costs does not grow with what there is beside it. Allocations are counted
//! here; `cargo xtask bench growth` counts instructions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a panic is the report of a test"
)]

#[path = "../benches/growth/work.rs"]
mod work;

use work::{Dimension, World};

/// How often a container comes and goes, to be counted.
const LIVES: usize = 20;

/// Allocations of a container's life, per plugin, beside so much of something.
fn allocations(dimension: Dimension, count: usize) -> f64 {
    let mut world = World::new(dimension, count).unwrap();
    let counted = allocation_counter::measure(|| (0..LIVES).for_each(|_| world.live()));
    counted.count_total as f64 / (LIVES * world.plugins()) as f64
}

#[test]
fn an_event_allocates_the_same_whatever_there_is_beside_it() {
    for dimension in Dimension::ALL {
        let [few, _, many] = dimension.sizes() else {
            panic!("there are three sizes");
        };
        // Setting up a hundred thousand of something takes a while without optimisation.
        let many = (*many).min(3_000);
        let (few, many) = (allocations(dimension, *few), allocations(dimension, many));
        println!("{}: {few:.1}, {many:.1}", dimension.name());
        // Nodes of ordered tables come and go.
        assert!(
            many <= few * 1.2 + 5.0,
            "{}: {few} allocations beside few, {many} beside many",
            dimension.name()
        );
    }
}
