//! The context of a call into the API or into a Domain. No clock: a deadline is a value that the
//! caller made.

use std::time::Instant;

use tracing::Span;

/// What a caller says about one call: how long it may take, what it belongs to, and a number to
/// know it by.
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
    budget: Option<Instant>,
    span: Span,
    tag: Option<u64>,
    validated_elsewhere: bool,
}

impl Ctx {
    /// No deadline, no parent span.
    pub fn new() -> Self {
        Self {
            deadline: None,
            budget: None,
            span: Span::none(),
            tag: None,
            validated_elsewhere: false,
        }
    }

    /// The same context with a deadline for the whole call, waiting for turns included.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The same context with a time at which the call is to have ended with what is known by then,
    /// where [`with_deadline`](Self::with_deadline) would have it fail. For callers that have to
    /// answer in time, such as a plugin towards its runtime.
    ///
    /// What may be refused goes on without the plugins that have not answered: they are late, and
    /// what that means for the request is their policy's business; those whose turn has not come
    /// are not asked any more, which means the same. A plugin gets the time that is left of the
    /// budget, if that is less than its own; it is only held against it if it took at least half of
    /// the budget. Validators that did not judge by then have not accepted.
    ///
    /// Notifications (what has happened: stops, removals, post events) end for the caller as a
    /// success, and go on: all plugins still hear of them. They do not make later requests of the
    /// pod exceed their budgets. Only where a request of the same pod is before it for which
    /// another caller still waits does a call end as
    /// [`Error::OutOfTime`](crate::Error::OutOfTime).
    ///
    /// Only the plugins' part is bounded. The deadline bounds the rest: updates and evictions that
    /// a domain carries out before a call returns.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use nri_core::Ctx;
    ///
    /// let cx = Ctx::new().with_budget(Instant::now() + Duration::from_millis(1900));
    /// assert!(cx.budget().is_some() && cx.deadline().is_none());
    /// ```
    #[must_use]
    pub fn with_budget(mut self, until: Instant) -> Self {
        self.budget = Some(until);
        self
    }

    /// By when the call is to have ended with what is known; `None` if it takes the time it takes.
    pub fn budget(&self) -> Option<Instant> {
        self.budget
    }

    /// The same context with the span that the call's own spans become children of.
    #[must_use]
    pub fn with_span(mut self, span: Span) -> Self {
        self.span = span;
        self
    }

    /// The same context with a number of the caller's own, by which an observer can tell which
    /// plugin calls belong to the call.
    #[must_use]
    pub fn with_tag(mut self, tag: u64) -> Self {
        self.tag = Some(tag);
        self
    }

    /// The same context for a creation that is not validated before it is answered: the caller has
    /// it validated later, together with what others ask for, by `Nri::validate` of
    /// `nri-adaptation`. Without that it must not be applied. For other requests it changes
    /// nothing.
    ///
    /// ```
    /// use nri_core::Ctx;
    /// assert!(Ctx::new().validates_creations());
    /// assert!(!Ctx::new().without_validation().validates_creations());
    /// ```
    #[must_use]
    pub fn without_validation(mut self) -> Self {
        self.validated_elsewhere = true;
        self
    }

    /// Whether validators judge a creation before it is answered.
    pub fn validates_creations(&self) -> bool {
        !self.validated_elsewhere
    }

    /// The number that the caller gave it; `None` if it gave none.
    pub fn tag(&self) -> Option<u64> {
        self.tag
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
