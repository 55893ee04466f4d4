//! Plain requests for work that repeats: `every day at 9 say good morning`.

/// What shall be done, and when.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// As cron has it.
    pub(crate) cron: String,
    /// What to say.
    pub(crate) what: String,
    /// In a session of its own.
    pub(crate) own: bool,
}

/// What to do with the n-th task of the list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// The tool.
    pub(crate) tool: &'static str,
    /// One is the first.
    pub(crate) number: usize,
}

const DAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const OWN: &str = " in its own session";

/// Reads `every … say …`.
pub(crate) fn wish(text: &str) -> Option<Wish> {
    let lower = text.to_lowercase();
    let when = lower.strip_prefix("every ")?;
    let (when, _) = when.split_once(" say ")?;
    let what = text.get("every ".len() + when.len() + " say ".len()..)?.trim().to_owned();
    let (when, own) = match when.strip_suffix(OWN) {
        Some(rest) => (rest, true),
        None => (when, false),
    };
    let (day, at) = when.split_once(" at ").unwrap_or((when, ""));
    let cron = match (day, time(at)) {
        ("minute", _) => "* * * * *".to_owned(),
        ("hour", _) => "0 * * * *".to_owned(),
        ("day", Some((hour, minute))) => format!("{minute} {hour} * * *"),
        ("weekday", Some((hour, minute))) => format!("{minute} {hour} * * 1-5"),
        (day, Some((hour, minute))) => {
            let day = DAYS.iter().position(|d| *d == day)?;
            format!("{minute} {hour} * * {day}")
        }
        (day, None) => {
            let n: u32 = day.strip_suffix(" minutes")?.parse().ok()?;
            format!("*/{n} * * * *")
        }
    };
    Some(Wish { cron, what, own })
}

/// `9`, `9:30`, `9 am`, `9:30pm`.
fn time(text: &str) -> Option<(u32, u32)> {
    let text = text.trim();
    let clock = text.trim_end_matches(|c: char| c.is_alphabetic() || c == ' ');
    let (hour, minute) = clock.split_once(':').unwrap_or((clock, "0"));
    let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
    let hour = match (text.get(clock.len()..)?.trim(), hour) {
        ("am", 12) => 0,
        ("pm", 1..=11) => hour + 12,
        _ => hour,
    };
    (hour < 24 && minute < 60).then_some((hour, minute))
}

/// Reads `pause task 2`.
pub(crate) fn order(lower: &str) -> Option<Order> {
    let (verb, number) = lower.split_once(" task ")?;
    let tool = match verb {
        "pause" => "pause_task",
        "resume" => "resume_task",
        "cancel" => "cancel_task",
        "run" => "run_task",
        _ => return None,
    };
    Some(Order { tool, number: number.trim().parse().ok()? })
}

/// The tasks of a list: id, and the rest of the line.
pub(crate) fn listed(list: &str) -> Vec<(&str, &str)> {
    list.lines().filter_map(|line| line.strip_prefix("- ")?.split_once(' ')).collect()
}

#[cfg(test)]
mod tests;
