//! An instance as a whole: what it is made of, its life from start to stop, another configuration.

pub(crate) mod lifecycle;
pub(crate) mod plugin_watch;
pub(crate) mod reconfigure;
