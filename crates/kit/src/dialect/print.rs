//! Walks the tree and says what is written: words, gaps and marks.

use super::Dialect;
use super::pack::{Atom, Mark, Rank};
use nanoclaw_channel::markdown::{Node, PLAIN, Tag, parse, show};
use nanoclaw_channel::split::Unit;
use unicode_width::UnicodeWidthChar as _;

/// Longest target that is put behind its words; a longer one is written out.
const TARGET_MAX: usize = 2000;

/// Most that belongs together, in bytes.
const CLUSTER_MAX: usize = 128;

pub(super) fn print(markdown: &str, dialect: Dialect, max: usize, unit: Unit) -> Vec<Atom> {
    let (atoms, marks, word_max) = (Vec::new(), Vec::new(), max / 4);
    let mut printer = Printer { dialect, word_max, unit, atoms, marks, quotes: 0, last: None };
    printer.blocks(&parse(markdown), true);
    printer.atoms
}

/// What text is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    Text,
    Code,
}

struct Printer {
    dialect: Dialect,
    word_max: usize,
    unit: Unit,
    atoms: Vec<Atom>,
    /// The tags of the marks in a line that are open.
    marks: Vec<(Tag, Mark)>,
    /// How many quotations are open.
    quotes: usize,
    /// The last character; none at the beginning of a line.
    last: Option<char>,
}

impl Printer {
    fn is_html(&self) -> bool {
        matches!(self.dialect, Dialect::Html | Dialect::TelegramHtml)
    }

    /// Whether a mark only counts between words and within a line.
    fn is_shy(&self) -> bool {
        matches!(self.dialect, Dialect::Slack | Dialect::WhatsApp)
    }

    fn blocks(&mut self, nodes: &[Node], loose: bool) {
        let mut rest = nodes;
        let mut first = true;
        while !rest.is_empty() {
            let in_line = rest.iter().take_while(|n| n.is_inline()).count();
            let (run, tail) = rest.split_at(in_line.max(1));
            rest = tail;
            if !first {
                self.between(loose);
            }
            first = false;
            match run {
                [Node::Rule] if self.dialect == Dialect::Html => self.mark("<hr>", ""),
                [Node::Rule] => self.text("──────────", As::Text),
                [Node::Element(tag, parts)] if in_line == 0 => self.block(tag, parts),
                _ => self.inline(run, None),
            }
        }
    }

    fn between(&mut self, loose: bool) {
        match (self.dialect, loose) {
            (Dialect::Html, _) => self.gap("\n", Rank::Block),
            (_, true) => self.gap("\n\n", Rank::Block),
            (_, false) => self.gap("\n", Rank::Line),
        }
        self.last = None;
    }

    fn block(&mut self, tag: &Tag, parts: &[Node]) {
        match tag {
            Tag::Paragraph if self.dialect == Dialect::Html => {
                self.within(Mark::pair("<p>", "</p>"), |p| p.inline(parts, None));
            }
            Tag::Heading(level) => self.heading(*level, parts),
            Tag::CodeBlock(info) => self.code_block(info, parts),
            Tag::Quote => self.quote(parts),
            Tag::List(first) => self.list(*first, parts),
            Tag::Table if self.dialect == Dialect::Html => self.table(parts),
            Tag::Table => {
                let shown = show(&[Node::Element(Tag::Table, parts.to_vec())], &PLAIN);
                let ruled = |line: &str| line.chars().all(|c| "-+".contains(c));
                match shown.lines().nth(1).is_some_and(ruled) {
                    true => self.code("", &shown),
                    false => self.text(&shown, As::Text),
                }
            }
            Tag::Paragraph | Tag::Item | Tag::Row | Tag::Cell => self.blocks(parts, false),
            Tag::Strong | Tag::Emphasis | Tag::Strike | Tag::Link(_) => self.inline(parts, None),
        }
    }

    fn heading(&mut self, level: u8, parts: &[Node]) {
        let line = match (self.dialect, level) {
            (Dialect::Html, _) => {
                let mark = Mark::pair(format!("<h{level}>"), format!("</h{level}>"));
                return self.within(mark, |p| p.inline(parts, None));
            }
            (Dialect::Discord, 1) => "# ",
            (Dialect::Discord, 2) => "## ",
            (Dialect::Discord, 3) => "### ",
            _ => return self.marked(&Tag::Strong, parts, None),
        };
        self.within(Mark::line(line), |p| p.inline(parts, None));
    }

    fn code_block(&mut self, info: &str, parts: &[Node]) {
        let mut code = String::new();
        gather(parts, &mut code);
        let code = code.trim_end_matches('\n');
        // What is no name of a language may be text that the agent wanted to be read.
        let is_language = info.chars().all(|c| c.is_ascii_alphabetic() || "+#-.".contains(c));
        match (info, is_language && !code.is_empty()) {
            ("", _) => self.code("", code),
            (info, true) => self.code(info, code),
            (info, false) => self.code("", format!("{info}\n{code}").trim_end_matches('\n')),
        }
    }

    fn code(&mut self, language: &str, code: &str) {
        let mark = match self.dialect {
            Dialect::Html | Dialect::TelegramHtml if language.is_empty() => {
                Mark::pair("<pre><code>", "</code></pre>")
            }
            Dialect::Html | Dialect::TelegramHtml => {
                let open = format!("<pre><code class=\"language-{language}\">");
                Mark::pair(open, "</code></pre>")
            }
            Dialect::Discord => Mark::pair(format!("```{language}\n"), "\n```"),
            _ => Mark::pair("```\n", "\n```"),
        };
        if self.is_html() {
            return self.within(mark, |p| p.text(code, As::Code));
        }
        // The fence would end at its like.
        let code = match code.contains("```") {
            true => code.replace("``", "`\u{200b}`"),
            false => code.to_owned(),
        };
        self.within(mark, |p| p.text(&code, As::Code));
    }

    fn quote(&mut self, parts: &[Node]) {
        let mark = match self.dialect {
            Dialect::Html => Mark::pair("<blockquote>", "</blockquote>"),
            // There a quotation in a quotation is an error.
            Dialect::TelegramHtml if self.quotes == 0 => {
                Mark::pair("<blockquote>", "</blockquote>")
            }
            // Slack reads it so at the beginning of a line too.
            Dialect::TelegramHtml | Dialect::Slack => Mark::line("&gt; "),
            _ => Mark::line("> "),
        };
        self.quotes += 1;
        self.within(mark, |p| p.blocks(parts, true));
        self.quotes -= 1;
    }

    fn list(&mut self, first: Option<u64>, items: &[Node]) {
        let is_paragraph = |n: &Node| matches!(n, Node::Element(Tag::Paragraph, _));
        let loose = items
            .iter()
            .any(|item| matches!(item, Node::Element(_, parts) if parts.iter().any(is_paragraph)));
        let html = self.dialect == Dialect::Html;
        if html {
            let open = first.map_or("<ul>".to_owned(), |n| match n {
                1 => "<ol>".to_owned(),
                n => format!("<ol start=\"{n}\">"),
            });
            let close = if first.is_some() { "</ol>" } else { "</ul>" };
            self.atoms.push(Atom::Open(Mark::pair(open, close)));
        }
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.between(loose);
            }
            let number = first.map(|n| n.saturating_add(at as u64));
            let mark = match (html, number) {
                (true, number) => Mark { number, ..Mark::pair("<li>", "</li>") },
                (false, Some(n)) => {
                    let (open, line) = (format!("{n}. "), "   ");
                    Mark { open, line, reopen: line.to_owned(), ..Mark::default() }
                }
                (false, None) => {
                    let open = if self.dialect == Dialect::TelegramHtml { "• " } else { "- " };
                    Mark { open: open.to_owned(), reopen: "  ".to_owned(), ..Mark::line("  ") }
                }
            };
            let parts = match item {
                Node::Element(Tag::Item, parts) => parts.as_slice(),
                other => std::slice::from_ref(other),
            };
            self.within(mark, |p| p.blocks(parts, loose));
        }
        if html {
            self.atoms.push(Atom::Close);
        }
    }

    fn table(&mut self, rows: &[Node]) {
        let pair = |tag: &str| Mark::pair(format!("<{tag}>"), format!("</{tag}>"));
        let parts = |node: &Node| match node {
            Node::Element(_, parts) => parts.clone(),
            other => vec![other.clone()],
        };
        self.within(pair("table"), |p| {
            for (at, row) in rows.iter().enumerate() {
                p.gap("\n", Rank::Line);
                p.within(pair("tr"), |p| {
                    for cell in parts(row) {
                        p.gap(" ", Rank::Space);
                        let cell_tag = if at == 0 { "th" } else { "td" };
                        p.within(pair(cell_tag), |p| p.inline(&parts(&cell), None));
                    }
                });
            }
        });
    }

    /// Prints what stands in a line; `next` is the character behind it.
    fn inline(&mut self, nodes: &[Node], next: Option<char>) {
        for (at, node) in nodes.iter().enumerate() {
            let next = nodes[at + 1..].iter().find_map(first_char).or(next);
            match node {
                Node::Text(text) => self.text(text, As::Text),
                Node::Code(code) => self.inline_code(code, next),
                Node::Break | Node::Rule => self.text("\n", As::Text),
                Node::Element(Tag::Link(target), parts) => self.link(target, parts, next),
                Node::Element(tag @ (Tag::Strong | Tag::Emphasis | Tag::Strike), parts) => {
                    self.marked(tag, parts, next);
                }
                // A block within a line: only where nesting was cut off.
                Node::Element(_, parts) => self.inline(parts, next),
            }
        }
    }

    fn marked(&mut self, tag: &Tag, parts: &[Node], next: Option<char>) {
        let mark = match (self.dialect, tag) {
            (Dialect::TelegramHtml, Tag::Strong) => ("<b>", "</b>"),
            (Dialect::TelegramHtml, Tag::Emphasis) => ("<i>", "</i>"),
            (Dialect::TelegramHtml, _) => ("<s>", "</s>"),
            (Dialect::Html, Tag::Strong) => ("<strong>", "</strong>"),
            (Dialect::Html, Tag::Emphasis) => ("<em>", "</em>"),
            (Dialect::Html, _) => ("<del>", "</del>"),
            (Dialect::Discord, Tag::Strong) => ("**", "**"),
            (Dialect::Discord, Tag::Emphasis) => ("*", "*"),
            (Dialect::Discord, _) => ("~~", "~~"),
            (_, Tag::Strong) => ("*", "*"),
            (_, Tag::Emphasis) => ("_", "_"),
            (_, _) => ("~", "~"),
        };
        let glued = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let hidden = self.is_shy() && (glued(self.last) || glued(next));
        let doubled = self.marks.iter().any(|(open, _)| open == tag);
        if hidden || doubled || !parts.iter().any(is_seen) {
            return self.inline(parts, next);
        }
        let mark = Mark::pair(mark.0, mark.1);
        self.in_line(tag.clone(), mark, |p| p.inline(parts, None));
    }

    fn inline_code(&mut self, code: &str, next: Option<char>) {
        let ticks = code.contains('`');
        let glued = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let mark = match self.dialect {
            // There code stands in no other mark.
            Dialect::TelegramHtml if !self.marks.is_empty() => None,
            Dialect::Html | Dialect::TelegramHtml => Some(Mark::pair("<code>", "</code>")),
            Dialect::Discord if code.contains("``") => None,
            Dialect::Discord if ticks => Some(Mark::pair("`` ", " ``")),
            Dialect::Discord => Some(Mark::pair("`", "`")),
            _ if ticks || glued(self.last) || glued(next) => None,
            _ => Some(Mark::pair("`", "`")),
        };
        match mark {
            Some(mark) if !code.trim().is_empty() => self.within(mark, |p| p.text(code, As::Code)),
            _ => self.text(code, As::Text),
        }
    }

    fn link(&mut self, target: &str, parts: &[Node], next: Option<char>) {
        let (url, title) = target.split_once(' ').unwrap_or((target, ""));
        let mut label = String::new();
        gather(parts, &mut label);
        let bare = url.strip_prefix("mailto:").unwrap_or(url);
        let same = label == url || label == bare;
        let mark = self
            .link_mark(url, &label, same)
            .filter(|mark| self.unit.len(&mark.open) + self.unit.len(&mark.close) <= self.word_max);
        match mark {
            Some(mark) if label.trim().is_empty() => {
                self.in_line(Tag::Link(String::new()), mark, |p| p.text(bare, As::Text));
            }
            Some(mark) => self.in_line(Tag::Link(String::new()), mark, |p| p.inline(parts, None)),
            None if label.is_empty() => return self.text(target, As::Text),
            None => {
                let shown = same || bare.is_empty();
                self.inline(parts, if shown { next } else { Some(' ') });
                if !shown {
                    self.text(&format!(" ({url})"), As::Text);
                }
            }
        }
        if !title.is_empty() {
            self.text(&format!(" ({title})"), As::Text);
        }
    }

    /// How a link is marked, if it can be: only to places that are safe to go to.
    fn link_mark(&self, url: &str, label: &str, same: bool) -> Option<Mark> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
        let known = matches!(scheme.as_str(), "http" | "https" | "mailto")
            || scheme == "tg" && self.dialect == Dialect::TelegramHtml;
        let awkward = |c: char| c.is_whitespace() || "\"'<>\\^`{}".contains(c);
        let nested = self.marks.iter().any(|(tag, _)| matches!(tag, Tag::Link(_)));
        if !known || nested || url.len() > TARGET_MAX || url.contains(awkward) {
            return None;
        }
        match self.dialect {
            Dialect::Html | Dialect::TelegramHtml => {
                let url = url.replace('&', "&amp;");
                Some(Mark::pair(format!("<a href=\"{url}\">"), "</a>"))
            }
            Dialect::Slack => {
                let plain = !label.contains(['|', '\n']) && !url.contains('|');
                let url = url.replace('&', "&amp;");
                plain.then(|| Mark::pair(format!("<{url}|"), ">"))
            }
            // A label that is a place itself would not be shown as one.
            Dialect::Discord if same || label.contains("://") || scheme == "mailto" => None,
            Dialect::Discord => {
                let url = url.replace('(', "%28").replace(')', "%29");
                Some(Mark::pair("[", format!("]({url})")))
            }
            Dialect::WhatsApp | Dialect::GitHub | Dialect::Plain => None,
        }
    }

    /// Prints within a mark of a line, which is closed and opened again at its ends if it must be.
    fn in_line(&mut self, tag: Tag, mark: Mark, print: impl FnOnce(&mut Self)) {
        self.marks.push((tag, mark.clone()));
        self.within(mark, print);
        self.marks.pop();
    }

    fn within(&mut self, mark: Mark, print: impl FnOnce(&mut Self)) {
        if !mark.line.is_empty() || mark.close.contains('\n') {
            self.last = None;
        }
        self.atoms.push(Atom::Open(mark));
        print(self);
        self.atoms.push(Atom::Close);
    }

    /// A mark around nothing.
    fn mark(&mut self, open: &str, close: &str) {
        self.within(Mark::pair(open, close), |_| {});
    }

    fn gap(&mut self, gap: &str, rank: Rank) {
        self.atoms.push(Atom::Gap(gap.to_owned(), rank));
    }

    fn text(&mut self, text: &str, shown: As) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let same = |d: char| kind(d) == kind(c);
            let end = rest.find(|d| !same(d)).unwrap_or(rest.len());
            let (run, tail) = rest.split_at(end);
            rest = tail;
            match kind(c) {
                Kind::Line => run.chars().for_each(|_| self.line(shown)),
                Kind::Space if shown == As::Code && self.last.is_none() => self.word(run, shown),
                Kind::Space => self.space(run),
                Kind::Word => self.word(run, shown),
            }
        }
    }

    fn line(&mut self, shown: As) {
        let gap = if self.dialect == Dialect::Html && shown == As::Text { "<br>" } else { "\n" };
        if !self.is_shy() || self.marks.is_empty() || shown == As::Code {
            self.gap(gap, Rank::Line);
        } else {
            self.marks.iter().for_each(|_| self.atoms.push(Atom::Close));
            self.gap(gap, Rank::Line);
            let again = self.marks.iter().map(|(_, mark)| Atom::Open(mark.clone()));
            self.atoms.extend(again);
        }
        self.last = None;
    }

    fn space(&mut self, run: &str) {
        let ends = matches!(self.last, Some('.' | '!' | '?' | '。' | '！' | '？'));
        let rank = if ends { Rank::Sentence } else { Rank::Space };
        for chunk in chunks(run, self.word_max, |c| self.unit.len(c)) {
            self.gap(chunk, rank);
        }
        self.last = Some(' ');
    }

    fn word(&mut self, word: &str, shown: As) {
        let begins = self.last.is_none() && shown == As::Text;
        self.last = word.chars().next_back();
        let mut word = word;
        if begins && self.dialect == Dialect::Discord {
            // At the beginning of a line it would make the line something else.
            let digits = word.trim_start_matches(|c: char| c.is_ascii_digit());
            if digits.len() < word.len() && digits.starts_with(['.', ')']) {
                let (number, tail) = word.split_at(word.len() - digits.len());
                self.chunked(number, As::Text);
                word = tail;
            }
            if word.starts_with(['#', '>', '-', '+', '.', ')']) {
                self.atoms.push(Atom::Word("\\".to_owned()));
            }
        }
        self.chunked(word, shown);
    }

    fn chunked(&mut self, word: &str, shown: As) {
        // A place is no place any more when it is escaped.
        let plain = shown == As::Code || word.contains("://") && !word.contains('`');
        if self.unit.len(word).saturating_mul(6) <= self.word_max {
            let word = self.escape(word, plain);
            return self.atoms.push(Atom::Word(word));
        }
        let len = |c: &str| self.unit.len(&self.escape(c, plain));
        let chunks = chunks(word, self.word_max, len);
        let words: Vec<Atom> =
            chunks.into_iter().map(|c| Atom::Word(self.escape(c, plain))).collect();
        self.atoms.extend(words);
    }

    fn escape(&self, text: &str, plain: bool) -> String {
        let mut all = String::with_capacity(text.len());
        for c in text.chars() {
            match (self.dialect, c) {
                (Dialect::Html | Dialect::TelegramHtml | Dialect::Slack, '&') => all += "&amp;",
                (Dialect::Html | Dialect::TelegramHtml | Dialect::Slack, '<') => all += "&lt;",
                (Dialect::Html | Dialect::TelegramHtml | Dialect::Slack, '>') => all += "&gt;",
                (Dialect::Html | Dialect::TelegramHtml, '"') => all += "&quot;",
                (Dialect::Discord, '\\' | '*' | '_' | '~' | '`' | '|' | '[' | ']') if !plain => {
                    all.push('\\');
                    all.push(c);
                }
                // There is no other way to write one: it would begin or end code.
                (Dialect::Slack | Dialect::WhatsApp, '`') => all += "`\u{200b}",
                _ => all.push(c),
            }
        }
        all
    }
}

#[derive(PartialEq, Eq)]
enum Kind {
    Word,
    Space,
    Line,
}

fn kind(c: char) -> Kind {
    match c {
        '\n' => Kind::Line,
        ' ' | '\t' => Kind::Space,
        _ => Kind::Word,
    }
}

/// Whether anything of a node is seen.
fn is_seen(node: &Node) -> bool {
    match node {
        Node::Text(text) | Node::Code(text) => !text.trim().is_empty(),
        Node::Break | Node::Rule => false,
        Node::Element(Tag::Link(target), parts) => !target.is_empty() || parts.iter().any(is_seen),
        Node::Element(_, parts) => parts.iter().any(is_seen),
    }
}

fn first_char(node: &Node) -> Option<char> {
    match node {
        Node::Text(text) | Node::Code(text) => text.chars().next(),
        Node::Break | Node::Rule => Some('\n'),
        Node::Element(_, parts) => parts.iter().find_map(first_char),
    }
}

/// The text of nodes alone.
fn gather(nodes: &[Node], out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) | Node::Code(text) => out.push_str(text),
            Node::Break | Node::Rule => out.push('\n'),
            Node::Element(_, parts) => gather(parts, out),
        }
    }
}

/// Cuts a text into parts of at most `max`, between what people see as characters where that is possible.
fn chunks(text: &str, max: usize, len: impl Fn(&str) -> usize) -> Vec<&str> {
    let mut chunks = Vec::new();
    let (mut begin, mut used) = (0, 0);
    for part in clusters(text, max.min(CLUSTER_MAX)) {
        let own = len(part);
        let at = part.as_ptr() as usize - text.as_ptr() as usize;
        if used > 0 && used + own > max {
            chunks.push(&text[begin..at]);
            (begin, used) = (at, 0);
        }
        used += own;
    }
    if begin < text.len() {
        chunks.push(&text[begin..]);
    }
    chunks
}

/// Characters with what belongs to them: accents, variants, what is joined.
fn clusters(text: &str, max: usize) -> Vec<&str> {
    let mut all = Vec::new();
    let (mut begin, mut joined, mut flags) = (0, true, 0);
    for (at, c) in text.char_indices() {
        let flag = matches!(c, '\u{1f1e6}'..='\u{1f1ff}');
        let belongs = joined
            || c.width() == Some(0)
            || matches!(c, '\u{1f3fb}'..='\u{1f3ff}')
            || flag && flags % 2 == 1;
        if at > begin && (!belongs || at + c.len_utf8() - begin > max) {
            all.push(&text[begin..at]);
            begin = at;
        }
        flags = if flag { flags + 1 } else { 0 };
        joined = c == '\u{200d}';
    }
    if begin < text.len() {
        all.push(&text[begin..]);
    }
    all
}
