//! Splits long text at safe places, so that nothing is ever truncated.
//!
//! A piece ends at a paragraph, else at a line, a sentence, a word, and only as a last resort anywhere
//! between two characters. A code block that is cut is closed in its piece and opened again in the next.

#[cfg(test)]
mod tests;

/// Smallest limit; a smaller one counts as this, which holds any single character.
pub const LIMIT_MIN: usize = 4;

/// What a platform counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Unit {
    /// Bytes of UTF-8.
    Bytes,
    /// Units of UTF-16.
    Utf16,
    /// Characters, as Unicode numbers them.
    Chars,
}

impl Unit {
    /// How long a text is.
    pub fn len(self, text: &str) -> usize {
        match self {
            Self::Bytes => text.len(),
            Self::Utf16 | Self::Chars => text.chars().map(|c| self.of(c)).sum(),
        }
    }

    fn of(self, c: char) -> usize {
        match self {
            Self::Bytes => c.len_utf8(),
            Self::Utf16 => c.len_utf16(),
            Self::Chars => 1,
        }
    }
}

/// Cuts `text` into pieces of at most `limit` units. Only white space at the cuts is left out; empty text
/// has no pieces.
pub fn split(text: &str, limit: usize, unit: Unit) -> Vec<String> {
    let limit = limit.max(LIMIT_MIN);
    let mut pieces = Vec::new();
    let mut reopen = String::new();
    let mut rest = text;
    while !rest.trim().is_empty() {
        let (piece, tail, open) = next(&reopen, rest, limit, unit);
        reopen = match open {
            Some(fence) if !tail.trim().is_empty() => format!("{}\n", fence.line),
            _ => String::new(),
        };
        // White space that fills a piece of its own is a cut.
        if !piece.trim().is_empty() {
            pieces.push(piece);
        }
        rest = tail;
    }
    pieces
}

/// The next piece, what is left, and the code block that the cut went through.
fn next<'a>(
    reopen: &str,
    rest: &'a str,
    limit: usize,
    unit: Unit,
) -> (String, &'a str, Option<Fence>) {
    // No unit is more than four bytes, and a long rest is not copied for each of its pieces.
    if rest.len() / 4 <= limit {
        let all = format!("{reopen}{rest}", rest = rest.trim_end());
        if unit.len(&all) <= limit {
            return (all, "", None);
        }
    }
    // Marks that would fill half of a piece are not worth repeating.
    let before = unit.len(reopen);
    let reopen = if before > limit / 2 { "" } else { reopen };
    let mut room = limit - unit.len(reopen);
    loop {
        let (head, tail) = cut(rest, room, unit);
        let mut piece = format!("{reopen}{head}");
        let Some(fence) = open_fence(&piece) else { return (piece, tail, None) };
        let close = fence.close();
        if unit.len(&piece) + unit.len(&close) <= limit {
            piece.push_str(&close);
            return (piece, tail, Some(fence));
        }
        let less = (limit - unit.len(reopen)).saturating_sub(unit.len(&close)).min(room - 1);
        if less < limit / 4 || less == 0 {
            return (piece, tail, None);
        }
        room = less;
    }
}

/// Cuts off what fits, at the best place there is.
fn cut(text: &str, room: usize, unit: Unit) -> (&str, &str) {
    let mut used = 0;
    let fits = |(_, c): &(usize, char)| {
        used += unit.of(*c);
        used <= room
    };
    // At least one character, so that there is an end.
    let end = text.char_indices().take_while(fits).last().map_or(0, |(at, c)| at + c.len_utf8());
    let end = end.max(text.chars().next().map_or(0, char::len_utf8));
    if end == text.len() {
        return (text, "");
    }
    // The character behind is looked at too: a piece may end just before the line's end.
    let behind = text[end..].chars().next().map_or(0, char::len_utf8);
    let window = &text[..end + behind];
    let late_enough = |at: &usize| *at >= end / 3 && !text[..*at].trim().is_empty();
    let place = window
        .rfind("\n\n")
        .filter(late_enough)
        .or_else(|| window.rfind('\n').filter(late_enough))
        .or_else(|| sentence(window, end).filter(late_enough))
        .or_else(|| window.rfind(' ').filter(late_enough));
    match place {
        Some(at) => {
            let tail = &text[at..];
            // The white space at the cut goes, but not the indentation of the line that follows.
            let tail = match tail.strip_prefix(' ') {
                Some(tail) => tail,
                None => tail.trim_start_matches(['\n', '\r']),
            };
            (text[..at].trim_end_matches(['\n', '\r']), tail)
        }
        None => text.split_at(end),
    }
}

/// Where the last sentence ends that fits.
fn sentence(window: &str, fits: usize) -> Option<usize> {
    // Where a space follows, it goes at the cut and need not fit.
    let spaced = [". ", "! ", "? "].iter().filter_map(|mark| Some(window.rfind(mark)? + 1)).max();
    let wide =
        ["。", "！", "？"].iter().filter_map(|mark| Some(window[..fits].rfind(mark)? + mark.len()));
    wide.max().max(spaced)
}

/// A code block that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fence {
    /// The line that opened it.
    line: String,
    mark: char,
    count: usize,
}

impl Fence {
    fn close(&self) -> String {
        format!("\n{}", self.mark.to_string().repeat(self.count))
    }

    /// Reads a line that opens a block.
    fn opens(line: &str) -> Option<Self> {
        let (mark, count, info) = fence_line(line)?;
        (!(mark == '`' && info.contains('`'))).then(|| Self {
            line: line.trim_end().to_owned(),
            mark,
            count,
        })
    }

    fn closed_by(&self, line: &str) -> bool {
        fence_line(line).is_some_and(|(mark, count, info)| {
            mark == self.mark && count >= self.count && info.trim().is_empty()
        })
    }
}

fn fence_line(line: &str) -> Option<(char, usize, &str)> {
    let text = line.trim_start_matches(' ');
    let mark = text.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let info = text.trim_start_matches(mark);
    let count = text.len() - info.len();
    (count >= 3 && line.len() - text.len() <= 3).then_some((mark, count, info))
}

/// The code block that is open at the end of a piece.
fn open_fence(piece: &str) -> Option<Fence> {
    let mut open: Option<Fence> = None;
    for line in piece.lines() {
        open = match open {
            Some(fence) if fence.closed_by(line) => None,
            Some(fence) => Some(fence),
            None => Fence::opens(line),
        };
    }
    open
}
