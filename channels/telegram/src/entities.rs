//! Formatted text of a person as Markdown.

use crate::wire::Entity;

#[cfg(test)]
mod tests;

/// The text with marks where its entities begin and end. Words stay as they were typed: what looks like a mark
/// is not escaped, because agents and patterns read the text, and nobody prints it.
pub(crate) fn markdown(text: &str, entities: &[Entity]) -> String {
    // Where, ends before beginnings, the inner one of two first; then the mark.
    let mut marks: Vec<(usize, bool, isize, String)> = Vec::new();
    let mut quotes: Vec<(usize, usize)> = Vec::new();
    for entity in entities {
        let (from, to) = (entity.offset, entity.offset.saturating_add(entity.length));
        let Some((open, close)) = pair(entity) else { continue };
        if open == "> " {
            quotes.push((from, to));
        }
        let length = isize::try_from(entity.length).unwrap_or(isize::MAX);
        marks.push((from, true, -length, open));
        marks.push((to, false, length, close));
    }
    marks.sort();
    let mut marks = marks.into_iter().peekable();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for c in text.chars() {
        while let Some((_, _, _, mark)) = marks.next_if(|(place, ..)| *place <= at) {
            out.push_str(&mark);
        }
        out.push(c);
        at += c.len_utf16();
        if c == '\n' && quotes.iter().any(|(from, to)| (*from..*to).contains(&at)) {
            out.push_str("> ");
        }
    }
    out.extend(marks.filter(|(_, opens, ..)| !opens).map(|(_, _, _, mark)| mark));
    out
}

fn pair(entity: &Entity) -> Option<(String, String)> {
    let same = |mark: &str| Some((mark.to_owned(), mark.to_owned()));
    match entity.kind.as_str() {
        "bold" => same("**"),
        "italic" => same("_"),
        "strikethrough" => same("~~"),
        "spoiler" => same("||"),
        "code" => same("`"),
        "pre" => {
            let language = entity.language.as_deref().unwrap_or_default();
            Some((format!("```{language}\n"), "\n```".into()))
        }
        "blockquote" | "expandable_blockquote" => Some(("> ".into(), String::new())),
        "text_link" => Some(("[".into(), format!("]({})", entity.url.as_deref()?))),
        _ => None,
    }
}
