//! Traffic between runtimes and plugins: watched on its way ([`Tap`]), kept in recordings
//! ([`Recorder`], [`Recording`]), and played again to a plugin ([`replay_to_plugin`]) or to a
//! runtime ([`replay_to_runtime`]).
//!
//! What may not enter: what any message means to a runtime or a plugin.

mod answers;
mod difference;
mod entry;
mod messages;
mod print;
mod recording;
mod replay;
mod tap;
mod trace;

pub use answers::{AnswersReport, replay_to_runtime};
pub use difference::Difference;
pub use entry::{Entry, Side, What};
pub use print::{Form, Printer};
pub use recording::{FORMAT_VERSION, Recorder, Recording, RecordingError};
pub use replay::{Changed, ReplayOptions, ReplayReport, replay_to_plugin};
pub use tap::{Entries, Sink, Tap, TapOptions};
