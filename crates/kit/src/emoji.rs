//! What agents and platforms call an emoji.

pub use emojis::Emoji;

#[cfg(test)]
mod tests;

/// What agents say and no list has.
const OTHERS: [(&str, &str); 4] =
    [("check", "✅"), ("checkmark", "✅"), ("party", "🎉"), ("love", "❤️")];

/// The emoji of a name, with or without colons, as any of the usual lists writes it (`+1`, `thumbsup`,
/// `thumbs_up`); a character stands for itself.
pub fn find(name: &str) -> Option<&'static Emoji> {
    let name = name.trim();
    if let Some(emoji) = emojis::get(name) {
        return Some(emoji);
    }
    let code = name.trim_matches(':').to_lowercase();
    let other = OTHERS.iter().find(|(other, _)| *other == code);
    emojis::get_by_shortcode(&code)
        .or_else(|| emojis::get(other?.1))
        .or_else(|| emojis::get_by_shortcode(&code.replace('_', "")))
        .or_else(|| {
            emojis::iter().find(|emoji| emoji.name().to_lowercase() == code.replace('_', " "))
        })
}
