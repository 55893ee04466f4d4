//! Names and kinds of files that come from a platform.

#[cfg(test)]
mod tests;

/// Longest name, in bytes; some file systems take 255, and hosts put something before it.
const NAME_MAX: usize = 200;

/// Media types and the ending of their files.
const ENDINGS: [(&str, &str); 20] = [
    ("image/jpeg", "jpg"),
    ("image/png", "png"),
    ("image/webp", "webp"),
    ("image/gif", "gif"),
    ("image/heic", "heic"),
    ("audio/ogg", "ogg"),
    ("audio/mpeg", "mp3"),
    ("audio/wav", "wav"),
    ("audio/mp4", "m4a"),
    ("audio/aac", "aac"),
    ("video/mp4", "mp4"),
    ("video/webm", "webm"),
    ("video/quicktime", "mov"),
    ("application/pdf", "pdf"),
    ("application/json", "json"),
    ("application/zip", "zip"),
    ("text/plain", "txt"),
    ("text/html", "html"),
    ("text/csv", "csv"),
    ("text/markdown", "md"),
];

/// A name that is one plain component of a path, made of the platform's; where there is none, of the kind and
/// the media type.
pub fn safe_name(name: &str, kind: &str, mime: Option<&str>) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    // Characters that reorder text would show `exe.txt` for what is `txt.exe`.
    let clean: String = nanoclaw_channel::markdown::printable_line(last)
        .chars()
        .map(|c| if is_awkward(c) { '_' } else { c })
        .collect();
    let clean = clean.trim_matches(|c: char| c == '.' || c.is_whitespace());
    if !clean.is_empty() {
        return shortened(clean);
    }
    let ending = mime.and_then(ending).unwrap_or(match kind {
        "image" => "jpg",
        "audio" => "ogg",
        "video" => "mp4",
        _ => "bin",
    });
    let stem: String = kind.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
    format!("{}.{ending}", if stem.is_empty() { "file" } else { &stem })
}

/// What people or shells trip over.
fn is_awkward(c: char) -> bool {
    matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*' | char::REPLACEMENT_CHARACTER)
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{2060}' | '\u{feff}')
        || ('\u{2400}'..='\u{2421}').contains(&c)
}

/// Cuts the stem, so that the ending stays.
fn shortened(name: &str) -> String {
    if name.len() <= NAME_MAX {
        return name.to_owned();
    }
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if ending.len() <= 16 => (stem, format!(".{ending}")),
        _ => (name, String::new()),
    };
    let stem = &stem[..stem.floor_char_boundary(NAME_MAX - ending.len())];
    format!("{}{ending}", stem.trim_end())
}

fn ending(mime: &str) -> Option<&'static str> {
    let mime = essence(mime);
    ENDINGS.iter().find(|(known, _)| *known == mime).map(|(_, ending)| *ending)
}

/// A media type without its parameters.
fn essence(mime: &str) -> String {
    mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The media type that a name's ending stands for.
pub fn mime_of(name: &str) -> Option<&'static str> {
    let (_, end) = name.rsplit_once('.')?;
    let end = end.to_ascii_lowercase();
    let end = if end == "jpeg" { "jpg" } else { &end };
    ENDINGS.iter().find(|(_, known)| *known == end).map(|(mime, _)| *mime)
}

/// `image`, `audio`, `video` or `file`.
pub fn kind_of(mime: Option<&str>, name: &str) -> &'static str {
    let mime = mime.map(essence).filter(|m| m != "application/octet-stream");
    let mime = mime.as_deref().or_else(|| mime_of(name)).unwrap_or_default();
    match mime.split('/').next() {
        Some("image") => "image",
        Some("audio") => "audio",
        Some("video") => "video",
        _ => "file",
    }
}

/// A size as people read it.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KB", bytes / 1024),
        _ if bytes.is_multiple_of(1_048_576) => format!("{} MB", bytes / 1_048_576),
        _ => format!("{}.{} MB", bytes / 1_048_576, bytes % 1_048_576 * 10 / 1_048_576),
    }
}
