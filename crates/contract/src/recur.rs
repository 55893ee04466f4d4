//! When a task that repeats runs next. Pure.
//!
//! The calendar is croner's, asked in local time; what a clock change does to it is decided here. A local
//! time that is skipped runs at the first instant after the gap. One that is repeated runs once, unless the
//! schedule is for every hour: that goes on through both.

use crate::time::Timestamp;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// Longest expression.
const BYTES_MAX: usize = 200;
/// No clock is set back by more.
const SHIFT_MAX: SignedDuration = SignedDuration::from_hours(3);

/// A cron expression in a time zone.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    every_hour: bool,
    zone: TimeZone,
}

impl Schedule {
    /// Reads five fields, six with the second first, or a name such as `@daily`. What runs more often than
    /// once a minute, or never, is refused.
    pub fn parse(text: &str, zone: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("{text:?} is no schedule: {why}");
        if text.len() > BYTES_MAX {
            return Err(format!("a schedule of more than {BYTES_MAX} bytes"));
        }
        let spelled = match text.trim().to_ascii_lowercase().as_str() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            "@minutely" => "* * * * *",
            "@weekdays" => "0 0 * * 1-5",
            "@weekends" => "0 0 * * 0,6",
            _ => text,
        };
        let fields: Vec<_> = spelled.split_whitespace().collect();
        let hour = match fields.as_slice() {
            [_, hour, _, _, _] => hour,
            // One second of the minute: two runs are a minute apart at least.
            [second, _, hour, _, _, _] if second.parse::<u8>().is_ok() => hour,
            [_, _, _, _, _, _] => {
                return Err(bad("it may run once a minute at most; give the second as one number"));
            }
            _ => return Err(bad("it has five fields: minute, hour, day, month, day of the week")),
        };
        let parser =
            CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(spelled).map_err(|e| bad(&e.to_string()))?;
        let every_hour = matches!(*hour, "*" | "*/1" | "0-23");
        let schedule = Self { cron, every_hour, zone: zone_of(zone)? };
        // Leap years come at least every eight years.
        let civil = DateTime::constant(2096, 1, 1, 0, 0, 0, 0);
        schedule.civil_after(civil).ok_or_else(|| bad("there is no such day"))?;
        Ok(schedule)
    }

    /// The first time strictly after `after`.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let local = after.to_zoned(self.zone.clone()).datetime();
        let civil = self.civil_after(local)?;
        let quiet = |from: Timestamp, to: Timestamp| {
            let change = self.zone.following(from - SHIFT_MAX).next();
            change.is_none_or(|t| t.timestamp() > to + SHIFT_MAX)
        };
        let ambiguous = self.zone.to_ambiguous_timestamp(civil);
        if let AmbiguousOffset::Unambiguous { offset } = ambiguous.offset() {
            let at = offset.to_timestamp(civil).ok()?;
            if quiet(after, after) && quiet(at, at) {
                return Some(at);
            }
        }
        self.next_near_a_change(after, local)
    }

    /// Local time goes back and forth here: of everything around, the earliest that is later.
    fn next_near_a_change(&self, after: Timestamp, local: DateTime) -> Option<Timestamp> {
        let mut civil = local.checked_sub(SHIFT_MAX).ok()?;
        let mut best: Option<Timestamp> = None;
        loop {
            civil = self.civil_after(civil)?;
            let (first, second) = self.instants(civil)?;
            let later = [Some(first), second].into_iter().flatten().filter(|at| *at > after).min();
            best = [best, later].into_iter().flatten().min();
            if best.is_some_and(|best| first > best + SHIFT_MAX) {
                return best;
            }
        }
    }

    /// The instants at which a local time runs.
    fn instants(&self, civil: DateTime) -> Option<(Timestamp, Option<Timestamp>)> {
        Some(match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => (offset.to_timestamp(civil).ok()?, None),
            AmbiguousOffset::Gap { after, .. } => {
                // Read with the offset of later, it lies before the change.
                let before = after.to_timestamp(civil).ok()?;
                (self.zone.following(before).next()?.timestamp(), None)
            }
            AmbiguousOffset::Fold { before, after } => {
                let second = after.to_timestamp(civil).ok().filter(|_| self.every_hour);
                (before.to_timestamp(civil).ok()?, second)
            }
        })
    }

    fn civil_after(&self, civil: DateTime) -> Option<DateTime> {
        let from = civil.to_zoned(TimeZone::UTC).ok()?;
        Some(self.cron.find_next_occurrence(&from, false).ok()?.datetime())
    }
}

/// A time zone by its IANA name.
pub fn zone_of(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name)
        .map_err(|_| format!("{name:?} is no time zone; give an IANA name such as Europe/Berlin"))
}

#[cfg(test)]
mod tests;
