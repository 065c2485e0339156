//! The context of a call into the API or into a Domain. No clock: a deadline is a value that the caller made.

use std::time::Instant;

use tracing::Span;

/// What a caller says about one call: how long it may take, and what it belongs to.
///
/// ```
/// use std::time::{Duration, Instant};
/// use nri_core::Ctx;
///
/// let cx = Ctx::new().with_deadline(Instant::now() + Duration::from_secs(10));
/// assert!(cx.deadline().is_some());
/// ```
#[derive(Debug, Clone)]
pub struct Ctx {
    deadline: Option<Instant>,
    span: Span,
}

impl Ctx {
    /// No deadline, no parent span.
    pub fn new() -> Self {
        Self {
            deadline: None,
            span: Span::none(),
        }
    }

    /// The same context with a deadline for the whole call, waiting for turns included.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The same context with the span that the call's own spans become children of.
    #[must_use]
    pub fn with_span(mut self, span: Span) -> Self {
        self.span = span;
        self
    }

    /// When the caller stops waiting; `None` if it does not.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The parent span; disabled if there is none.
    pub fn span(&self) -> &Span {
        &self.span
    }
}

impl Default for Ctx {
    fn default() -> Self {
        Self::new()
    }
}
