//! The manual: for who writes a plugin.
//!
//! | chapter | |
//! |---|---|
//! | [`ten_minutes`] | a plugin, from an empty directory to a test |
//! | [`handlers_and_answers`] | what a handler gets, what it may answer, and how long it may take |
//! | [`connecting`] | identity, registration, reconnection, old runtimes |
//! | [`unsolicited_updates`] | updating and evicting containers when no event asks for it |
//! | [`configuring`] | the plugin's own configuration |
//! | [`migrating_from_go`] | who knows `pkg/stub` and `pkg/plugin` |
//! | [`moving_a_go_plugin`] | a Go plugin and what becomes of it, side by side |
//! | [`shipping`] | a static program, an image, a DaemonSet, installed with the runtime |
//!
//! The runtime's end has a manual too, in the crate `nri-adaptation`: its chapter on concepts
//! explains the words.
//!
//! What may not enter: anything but documentation.

pub mod configuring;
pub mod connecting;
pub mod handlers_and_answers;
pub mod migrating_from_go;
pub mod moving_a_go_plugin;
pub mod shipping;
pub mod ten_minutes;
pub mod unsolicited_updates;
