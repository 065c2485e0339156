//! Whether a launched plugin that has ended is launched again, and after which pause. Pure: it is
//! told how long the plugin took part, and knows no clock.

use std::time::Duration;

/// The longest pause, unless the first one is longer.
const LONGEST: Duration = Duration::from_secs(300);
/// Who was ready for this long did not fail to come up: the next end is the first one again.
pub(crate) const STEADY: Duration = Duration::from_secs(60);

/// What the configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The first pause; each further one in a row is twice as long.
    pub(crate) backoff: Duration,
    /// How many times in a row; 0 is never.
    pub(crate) limit: u32,
}

/// The ends of one plugin so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Restarts {
    in_a_row: u32,
}

impl Restarts {
    /// The plugin has ended after it took part for some time, if it did at all. Returned is the
    /// pause after which it is to be launched again; `None` if it is given up.
    pub(crate) fn ended(&mut self, rule: Rule, took_part: Option<Duration>) -> Option<Duration> {
        if took_part.is_some_and(|time| time >= STEADY) {
            self.in_a_row = 0;
        }
        if self.in_a_row >= rule.limit {
            return None;
        }
        let times = 2u32.saturating_pow(self.in_a_row);
        let pause = rule.backoff.saturating_mul(times);
        self.in_a_row += 1;
        Some(pause.min(LONGEST.max(rule.backoff)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(pauses: impl IntoIterator<Item = Option<Duration>>) -> Vec<Option<u64>> {
        let pauses = pauses.into_iter();
        pauses.map(|pause| pause.map(|p| p.as_secs())).collect()
    }

    const RULE: Rule = Rule {
        backoff: Duration::from_secs(1),
        limit: 5,
    };

    #[test]
    fn pauses_double_and_the_row_has_an_end() {
        let mut restarts = Restarts::default();
        let pauses = (0..7).map(|_| restarts.ended(RULE, None));
        let expected = [Some(1), Some(2), Some(4), Some(8), Some(16), None, None];
        assert_eq!(seconds(pauses), expected);
    }

    #[test]
    fn taking_part_for_a_while_ends_the_row() {
        let mut restarts = Restarts::default();
        let short = Some(STEADY - Duration::from_nanos(1));
        let lives = [None, short, short, Some(STEADY), short, None, None, None];
        let pauses = lives.map(|took_part| restarts.ended(RULE, took_part));
        let expected = [1, 2, 4, 1, 2, 4, 8, 16].map(Some);
        assert_eq!(seconds(pauses), expected);
        assert_eq!(restarts.ended(RULE, None), None);
        assert_eq!(restarts.ended(RULE, Some(STEADY)), Some(RULE.backoff));
    }

    #[test]
    fn pauses_are_bounded_and_never_overflow() {
        let limit = u32::MAX;
        let mut restarts = Restarts::default();
        let pauses: Vec<_> = (0..100)
            .map(|_| restarts.ended(Rule { limit, ..RULE }, None))
            .collect();
        assert_eq!(pauses[99], Some(LONGEST));
        // A first pause that is longer stays what it is.
        let backoff = LONGEST * 2;
        let mut restarts = Restarts::default();
        let pauses = [0; 3].map(|_| restarts.ended(Rule { limit, backoff }, None));
        assert_eq!(pauses, [Some(backoff); 3]);
        let backoff = Duration::MAX;
        let mut restarts = Restarts::default();
        let pauses = [0; 3].map(|_| restarts.ended(Rule { limit, backoff }, None));
        assert_eq!(pauses, [Some(backoff); 3]);
    }

    #[test]
    fn a_limit_of_zero_is_never() {
        let rule = Rule { limit: 0, ..RULE };
        assert_eq!(Restarts::default().ended(rule, Some(STEADY)), None);
    }
}
