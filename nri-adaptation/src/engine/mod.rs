//! Requests on their way through the plugins. The scheduler of the core decides; the engine
//! performs what it wants, and tells it what came of that. The rooms below `driver` return what
//! came of their work and call nobody back; `membership`, `requests` and `creation` stand on the
//! engine.

pub(crate) mod call;
pub(crate) mod creation;
pub(crate) mod domains;
pub(crate) mod driver;
pub(crate) mod inventory;
pub(crate) mod listed;
pub(crate) mod listings;
pub(crate) mod membership;
pub(crate) mod recent;
pub(crate) mod reconciling;
pub(crate) mod relaying;
pub(crate) mod requests;
pub(crate) mod review;
pub(crate) mod showing;
pub(crate) mod side_effects;
pub(crate) mod state;
pub(crate) mod synchronize;
pub(crate) mod target;
pub(crate) mod unlisted;
pub(crate) mod unsolicited;
