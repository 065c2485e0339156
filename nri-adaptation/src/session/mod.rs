//! A plugin's connection, from its first byte to its end: who may connect, what it may say, and the
//! stages of its life. Processes and the socket are not known here.

pub(crate) mod admission;
pub(crate) mod external;
pub(crate) mod registration;
pub(crate) mod stages;
