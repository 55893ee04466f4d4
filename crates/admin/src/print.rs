//! Answers for people: tables for lists, lines for one thing.

use crate::table::Verb;
use serde_json::Value;

/// Longest cell of a table.
const CELL_MAX: usize = 60;

/// The answer as text. What came from boxes and platforms is shown without its control characters.
pub fn render(verb: Option<&Verb>, data: &Value) -> String {
    match data {
        Value::Array(rows) => table(verb.map_or(&[][..], |v| v.columns), rows),
        Value::Object(map) => {
            let wide = map.keys().map(String::len).max().unwrap_or(0);
            map.iter().map(|(k, v)| format!("{k:wide$}  {}\n", block(v, wide + 2))).collect()
        }
        Value::String(text) => clean_lines(text) + "\n",
        other => format!("{other}\n"),
    }
}

fn block(value: &Value, indent: usize) -> String {
    let Value::Array(rows) = value else { return cell(value) };
    if rows.is_empty() {
        return "none".into();
    }
    let pad = format!("\n{}", " ".repeat(indent));
    let lines: Vec<_> = rows
        .iter()
        .map(|row| match row {
            Value::Object(map) => {
                map.values().map(cell).filter(|c| !c.is_empty()).collect::<Vec<_>>().join("  ")
            }
            other => cell(other),
        })
        .collect();
    lines.join(&pad)
}

fn table(columns: &[&str], rows: &[Value]) -> String {
    if rows.is_empty() {
        return "none\n".into();
    }
    let names: Vec<String> = if columns.is_empty() {
        rows.first()
            .and_then(Value::as_object)
            .map(|m| m.keys().cloned().collect())
            .unwrap_or_default()
    } else {
        columns.iter().map(|c| (*c).to_owned()).collect()
    };
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| names.iter().map(|n| short(&row.get(n).map(cell).unwrap_or_default())).collect())
        .collect();
    let widths: Vec<usize> = names
        .iter()
        .enumerate()
        .map(|(n, name)| {
            cells
                .iter()
                .filter_map(|r| r.get(n))
                .map(|c| c.chars().count())
                .max()
                .unwrap_or(0)
                .max(name.len())
        })
        .collect();
    let line = |cells: &[String]| {
        let padded: Vec<_> = cells.iter().zip(&widths).map(|(c, w)| format!("{c:<w$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let rule: Vec<_> = widths.iter().map(|w| "-".repeat(*w)).collect();
    let mut text = line(&names) + &line(&rule);
    text.extend(cells.iter().map(|row| line(row)));
    text
}

fn short(text: &str) -> String {
    if text.chars().count() <= CELL_MAX {
        return text.to_owned();
    }
    text.chars().take(CELL_MAX - 1).chain(['…']).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => clean(text),
        other => clean(&other.to_string()),
    }
}

/// Text of several lines.
pub(crate) fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
