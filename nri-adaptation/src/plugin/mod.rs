//! One plugin: who it is, how it is reached (over a connection or in this process), and what is
//! known of it. Other plugins, requests and their order are not known here.

pub(crate) mod builtin;
pub(crate) mod busy_poll;
pub(crate) mod config_file;
pub(crate) mod connected;
pub(crate) mod credentials;
pub(crate) mod end_reason;
pub(crate) mod endpoint;
pub(crate) mod failure;
pub(crate) mod inventory;
pub(crate) mod live_validator;
pub(crate) mod places;
pub(crate) mod remote;
