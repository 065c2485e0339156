//! Pre-installed plugins: found, launched, kept going, stopped.

pub(crate) mod discovery;
pub(crate) mod life;
pub(crate) mod output;
pub(crate) mod overlooked;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod restarts;
pub(crate) mod supervised;
pub(crate) mod supervisor;
pub(crate) mod without_effect;
