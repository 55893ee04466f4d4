//! Slack's text as people read it, and back.

use crate::Hub;
use crate::ids::is_id;
use nanoclaw_kit::emoji;

/// People whose names are looked up for one message.
const NAMES_MAX: usize = 20;

/// What a piece of Slack's text is. Slack escapes `<`, `>` and `&` that people write, so brackets are its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Words(&'a str),
    /// What is between brackets: the target, and what it is called.
    Entity(&'a str, Option<&'a str>),
}

pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some((words, after)) = rest.split_once('<') {
        let Some((inside, after)) = after.split_once('>') else { break };
        if !words.is_empty() {
            all.push(Piece::Words(words));
        }
        let (target, label) = inside.split_once('|').map_or((inside, None), |(t, l)| (t, Some(l)));
        all.push(Piece::Entity(target, label.filter(|l| !l.is_empty())));
        rest = after;
    }
    if !rest.is_empty() {
        all.push(Piece::Words(rest));
    }
    all
}

/// Whether a person is named, the way Slack names people.
pub(crate) fn names(text: &str, user: &str) -> bool {
    pieces(text)
        .iter()
        .any(|p| matches!(p, Piece::Entity(t, _) if t.strip_prefix('@') == Some(user)))
}

/// The text with names instead of ids.
pub(crate) async fn read(hub: &Hub, text: &str) -> String {
    let mut read = String::with_capacity(text.len());
    let mut asked = 0;
    for piece in pieces(text) {
        match piece {
            Piece::Words(words) => read.push_str(&unescape(words)),
            Piece::Entity(target, None) if target.strip_prefix('@').is_some_and(is_id) => {
                let user = &target[1..];
                asked += 1;
                let name = match asked <= NAMES_MAX {
                    true => hub.names.of(&hub.api, user).await,
                    false => None,
                };
                read.push('@');
                read.push_str(name.as_deref().unwrap_or(user));
            }
            Piece::Entity(target, label) => read.push_str(&entity(target, label)),
        }
    }
    read
}

pub(crate) fn entity(target: &str, label: Option<&str>) -> String {
    let label = label.map(unescape);
    let mark = |mark: &str, id: &str| {
        let name = label.clone().unwrap_or_else(|| id.to_owned());
        if name.starts_with(mark) { name } else { format!("{mark}{name}") }
    };
    if let Some(id) = target.strip_prefix('@') {
        return mark("@", id);
    }
    if let Some(id) = target.strip_prefix('#') {
        return mark("#", id);
    }
    if let Some(special) = target.strip_prefix('!') {
        let (kind, id) = special.split_once('^').unwrap_or((special, special));
        return match kind {
            "date" => label.unwrap_or_default(),
            _ => mark("@", id),
        };
    }
    let target = unescape(target);
    match label {
        Some(label) if label != target && format!("mailto:{label}") != target => {
            format!("[{label}]({target})")
        }
        Some(label) => label,
        None => target,
    }
}

pub(crate) fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// Words that are nothing but words.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The character of one of Slack's names; the name itself where the workspace made it up.
pub(crate) fn emoji(name: &str) -> String {
    let plain = name.split("::").next().unwrap_or(name);
    emoji::find(plain).map_or_else(|| plain.to_owned(), |e| e.as_str().to_owned())
}

/// Slack's name of a character or a shortcode.
pub(crate) fn emoji_name(emoji: &str) -> String {
    let plain = emoji.trim().trim_matches(':');
    let known = emoji::find(plain).and_then(emoji::Emoji::shortcode);
    known.unwrap_or(plain).to_owned()
}

#[cfg(test)]
mod tests;
