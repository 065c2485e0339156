//! What the workspace's own commands share: running cargo and other programs, and where things are.
//!
//! Nothing here is part of the product.

pub mod containerd;
pub mod debian;
pub mod examples;
pub mod low_level;
pub mod process;
pub mod wait;
pub mod workspace;
