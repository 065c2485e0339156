//! A container's life beside so much of something, to be run under a program that counts
//! instructions; `cargo xtask bench growth` does. See [`work`] for what is counted. It prints by
//! what the count is to be divided: lives, times the plugins that heard of each.
//!
//! ```text
//! growth list
//! growth DIMENSION COUNT
//! ```

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a benchmark is a program"
)]

mod work;

use std::error::Error;

use work::{Dimension, World};

/// How many lives are counted.
const LIVES: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dimension = args.next().unwrap_or_default();
    if dimension == "list" {
        for dimension in Dimension::ALL {
            for size in dimension.sizes() {
                println!("{}\t{size}", dimension.name());
            }
        }
        return Ok(());
    }
    let Some(dimension) = Dimension::ALL
        .into_iter()
        .find(|known| known.name() == dimension)
    else {
        println!("nothing is counted by itself; use `cargo xtask bench growth`");
        return Ok(());
    };
    let count = args.next().ok_or("say how much there is")?.parse()?;
    let mut world = World::new(dimension, count)?;
    measured(&mut world);
    println!("{}", LIVES * world.plugins());
    Ok(())
}

/// Only this counts; a function of its own, so that it is found by its name.
#[inline(never)]
fn measured(world: &mut World) {
    (0..LIVES).for_each(|_| world.live());
}
