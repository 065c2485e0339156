//! A runtime in a box: everything that a test of NRI needs around it, in a directory that goes with
//! it.

mod builder;
mod describe;
mod joined;
mod runtime;

pub use builder::TestRuntimeBuilder;
pub use describe::Describe;
pub use joined::Joined;
pub use runtime::TestRuntime;
