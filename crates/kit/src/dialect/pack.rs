//! Puts words into pieces. A piece ends at the best gap that is not too early.

use nanoclaw_channel::split::Unit;

/// A part of a printed text.
#[derive(Debug)]
pub(super) enum Atom {
    /// What is not cut; at most a quarter of a piece.
    Word(String),
    /// What stands between words, and is left out where a piece ends.
    Gap(String, Rank),
    /// What holds until its [`Atom::Close`].
    Open(Mark),
    /// The end of the mark that was opened last.
    Close,
}

/// How well a text may be cut somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// Within a word that is too long, or where nothing stands.
    Seam,
    Space,
    Sentence,
    Line,
    Block,
}

const RANKS: usize = 5;

/// What holds for a stretch of text.
#[derive(Debug, Clone, Default)]
pub(super) struct Mark {
    pub(super) open: String,
    /// What opens it again in the next piece.
    pub(super) reopen: String,
    pub(super) close: String,
    /// What begins every further line.
    pub(super) line: &'static str,
    /// The number of a list's item, where the list itself has to be told it.
    pub(super) number: Option<u64>,
}

impl Mark {
    /// A mark that is put before and after.
    pub(super) fn pair(open: impl Into<String>, close: impl Into<String>) -> Self {
        let open = open.into();
        Self { reopen: open.clone(), open, close: close.into(), ..Self::default() }
    }

    /// A mark at the beginning of every line.
    pub(super) fn line(line: &'static str) -> Self {
        Self { line, ..Self::pair(line, "") }
    }
}

/// Packs everything; what cannot be cut well is cut somewhere.
pub(super) fn pack(atoms: &[Atom], max: usize, unit: Unit) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut open: Vec<&Mark> = Vec::new();
    let mut rest = atoms;
    while let Some((first, behind)) = rest.split_first() {
        match first {
            Atom::Gap(..) => rest = behind,
            Atom::Close => {
                open.pop();
                rest = behind;
            }
            Atom::Word(_) | Atom::Open(_) => {
                let upcoming = match first {
                    Atom::Open(mark) => mark.number,
                    _ => None,
                };
                let piece = || Piece::new(&open, upcoming, max, unit);
                let (end, next) = cut(piece(), rest);
                let mut piece = piece();
                rest[..end].iter().for_each(|atom| piece.push(atom));
                open.clone_from(&piece.open);
                rest = &rest[next..];
                pieces.push(piece.finish());
            }
        }
    }
    pieces
}

/// How many atoms go into a piece, and how many are done with it.
fn cut<'a>(mut piece: Piece<'a>, atoms: &'a [Atom]) -> (usize, usize) {
    let max = piece.max;
    // The last place of each rank, and the last that is not too early.
    let mut places: [Option<(usize, usize)>; RANKS] = [None; RANKS];
    let mut any = None;
    for (at, atom) in atoms.iter().enumerate() {
        let place = match atom {
            Atom::Gap(_, rank) if piece.settled => Some((*rank, (at, at + 1))),
            Atom::Word(_) if piece.settled => Some((Rank::Seam, (at, at))),
            _ => None,
        };
        if let Some((rank, place)) = place {
            any = any.filter(|_| rank == Rank::Seam).or(Some(place));
            if piece.len >= max / 3 {
                places[rank as usize] = Some(place);
            }
        }
        piece.push(atom);
        if piece.whole() > max {
            let best = places.iter().rev().find_map(|place| *place).or(any);
            // Between any two atoms it is valid, if not pretty.
            return best.unwrap_or((at.max(1), at.max(1)));
        }
    }
    (atoms.len(), atoms.len())
}

/// A piece in the making.
struct Piece<'a> {
    max: usize,
    unit: Unit,
    text: String,
    len: usize,
    open: Vec<&'a Mark>,
    /// Those of `open` that are shown; where there are too many, the inner ones are not.
    shown: Vec<Shown>,
    /// Whether there is a word.
    filled: bool,
    /// Whether the last atom may end a piece.
    settled: bool,
}

struct Shown {
    close: String,
    /// What begins a line here, and what all marks up to here take.
    prefix: String,
    cost: usize,
    closes: usize,
}

impl<'a> Piece<'a> {
    /// Begins with what is open; `upcoming` is the number of the item that comes first.
    fn new(open: &[&'a Mark], upcoming: Option<u64>, max: usize, unit: Unit) -> Self {
        let (text, shown) = (String::new(), Vec::new());
        let (filled, settled) = (false, false);
        let mut piece = Self { max, unit, text, len: 0, open: Vec::new(), shown, filled, settled };
        for (at, mark) in open.iter().enumerate() {
            match open.get(at + 1).map_or(upcoming, |inner| inner.number) {
                Some(n) => piece.enter(mark, &format!("<ol start=\"{n}\">")),
                None => piece.enter(mark, &mark.reopen),
            }
        }
        piece
    }

    fn push(&mut self, atom: &'a Atom) {
        match atom {
            Atom::Word(word) => {
                self.put(word);
                self.filled = true;
                self.settled = true;
            }
            Atom::Gap(gap, _) if self.filled || self.settled => self.put(&self.prefixed(gap)),
            Atom::Gap(..) => {}
            Atom::Open(mark) => {
                self.enter(mark, &mark.open);
                self.settled = false;
            }
            Atom::Close => {
                self.settled = true;
                if self.open.len() == self.shown.len()
                    && let Some(shown) = self.shown.pop()
                {
                    self.put(&shown.close);
                }
                self.open.pop();
            }
        }
    }

    fn enter(&mut self, mark: &'a Mark, text: &str) {
        let visible = self.open.len() == self.shown.len();
        self.open.push(mark);
        let text = self.prefixed(text);
        let close = self.prefixed(&mark.close);
        let (prefix, cost, closes) = match self.shown.last() {
            Some(outer) => (outer.prefix.as_str(), outer.cost, outer.closes),
            None => ("", 0, 0),
        };
        let prefix = format!("{prefix}{}", mark.line);
        let closes = closes + self.unit.len(&close);
        let marks = self.unit.len(&mark.open).max(self.unit.len(&text)) + self.unit.len(&close);
        let cost = cost + marks + self.unit.len(mark.line);
        if visible && cost <= self.max / 2 {
            self.put(&text);
            self.shown.push(Shown { close, prefix, cost, closes });
        }
    }

    fn put(&mut self, text: &str) {
        self.len += self.unit.len(text);
        self.text.push_str(text);
    }

    /// A text whose further lines begin as lines do here.
    fn prefixed(&self, text: &str) -> String {
        let prefix = self.shown.last().map_or("", |shown| shown.prefix.as_str());
        let mut lines = text.split('\n').peekable();
        let mut all = lines.next().unwrap_or_default().to_owned();
        while let Some(line) = lines.next() {
            let blank = line.is_empty() && lines.peek().is_some();
            all.push('\n');
            all.push_str(if blank { prefix.trim_end() } else { prefix });
            all.push_str(line);
        }
        all
    }

    /// The length with everything closed.
    fn whole(&self) -> usize {
        self.len + self.shown.last().map_or(0, |shown| shown.closes)
    }

    fn finish(mut self) -> String {
        while let Some(shown) = self.shown.pop() {
            self.text.push_str(&shown.close);
        }
        self.text
    }
}
