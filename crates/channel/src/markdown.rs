//! One Markdown tree, printed per dialect.
//!
//! [`parse`] turns an agent's Markdown into [`Node`]s; a dialect is a walk over them. What a terminal shows
//! is printed in [`mod@print`]; an adapter with a dialect of its own walks the same tree. No control character
//! of the source survives [`parse`], so that no printer can let an escape sequence through, and no text is
//! dropped, however malformed the Markdown is.

mod print;
#[cfg(test)]
mod tests;

pub use print::{ANSI, Dialect, PLAIN, render, show};

use pulldown_cmark::{CodeBlockKind, Event, LinkType, Options, Parser, Tag as Md};
use std::collections::HashSet;
use std::ops::Range;

/// Deepest nesting that is kept; what is nested deeper belongs to its ancestor at this depth.
pub const DEPTH_MAX: usize = 32;

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Words.
    Text(String),
    /// Code in a line.
    Code(String),
    /// The end of a line.
    Break,
    /// A horizontal rule.
    Rule,
    /// Something that has parts.
    Element(Tag, Vec<Self>),
}

/// What an element is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tag {
    /// A paragraph.
    Paragraph,
    /// A heading of this level.
    Heading(u8),
    /// Code, with what stood behind the fence.
    CodeBlock(String),
    /// A quotation.
    Quote,
    /// A list; a numbered one has the first number.
    List(Option<u64>),
    /// An item of a list.
    Item,
    /// A table; its first row is the heading.
    Table,
    /// A row of a table.
    Row,
    /// A cell of a row.
    Cell,
    /// Bold.
    Strong,
    /// Italics.
    Emphasis,
    /// Struck through.
    Strike,
    /// A link, or a picture that is shown as one, with its target.
    Link(String),
}

impl Node {
    /// Whether it stands in a line rather than being lines of its own.
    pub fn is_inline(&self) -> bool {
        match self {
            Self::Text(_) | Self::Code(_) | Self::Break => true,
            Self::Rule => false,
            Self::Element(tag, _) => {
                matches!(tag, Tag::Strong | Tag::Emphasis | Tag::Strike | Tag::Link(_))
            }
        }
    }
}

/// Text without anything that a terminal or a reader's eye could mistake: control characters become visible
/// signs, and marks that reorder text are left out.
pub fn printable(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '\n' | '\t' => Some(c),
            '\r' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
            '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)),
            '\x7f' => Some('\u{2421}'),
            c if c.is_control() => Some(char::REPLACEMENT_CHARACTER),
            c => Some(c),
        })
        .collect()
}

/// The same, in one line: for names and labels.
pub fn printable_line(text: &str) -> String {
    printable(text).replace(['\n', '\t'], " ")
}

/// Reads Markdown. Everything is Markdown, so this does not fail.
pub fn parse(markdown: &str) -> Vec<Node> {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let parser = Parser::new_ext(markdown, options);
    let mut definitions: Vec<(String, Range<usize>)> = parser
        .reference_definitions()
        .iter()
        .map(|(label, def)| (label.to_lowercase(), def.span.clone()))
        .collect();
    let events: Vec<(Event<'_>, Range<usize>)> = parser.into_offset_iter().collect();
    let used: HashSet<String> = events.iter().filter_map(|(event, _)| reference(event)).collect();
    definitions.retain(|(label, _)| used.contains(label));
    definitions.sort_by_key(|(_, span)| span.start);

    let mut tree = Tree { source: markdown, shown: definitions, ..Tree::default() };
    for (event, range) in events {
        tree.take(event, range);
    }
    tree.gap(markdown.len());
    tree.done
}

fn reference(event: &Event<'_>) -> Option<String> {
    match event {
        Event::Start(Md::Link { link_type, id, .. } | Md::Image { link_type, id, .. }) => {
            matches!(link_type, LinkType::Reference | LinkType::Collapsed | LinkType::Shortcut)
                .then(|| id.to_lowercase())
        }
        _ => None,
    }
}

#[derive(Default)]
struct Tree<'a> {
    source: &'a str,
    done: Vec<Node>,
    open: Vec<(Tag, Vec<Node>)>,
    /// How many elements are open below [`DEPTH_MAX`].
    deeper: usize,
    /// Definitions of links, which are shown where they are used.
    shown: Vec<(String, Range<usize>)>,
    /// How far the source was read at the top level, below it, and in a table's row.
    read: usize,
    inner: usize,
    cell: usize,
}

impl Tree<'_> {
    fn take(&mut self, event: Event<'_>, range: Range<usize>) {
        let (starts, ends) = (matches!(event, Event::Start(_)), matches!(event, Event::End(_)));
        if self.open.is_empty() {
            self.gap(range.start);
            (self.read, self.inner) = (self.read.max(range.end), range.start);
        }
        self.inner_gap(if ends { range.end } else { range.start });
        self.inner = self.inner.max(if starts { range.start } else { range.end });
        match event {
            Event::Start(tag) => match tag_of(tag) {
                Some(tag) if self.open.len() < DEPTH_MAX && self.deeper == 0 => {
                    self.open.push((tag, Vec::new()));
                }
                tag => {
                    self.deeper += 1;
                    // What only the element says becomes text.
                    if let Some(Tag::Link(said) | Tag::CodeBlock(said)) = tag
                        && !said.is_empty()
                    {
                        self.push(Node::Text(said + " "));
                    }
                }
            },
            Event::End(_) if self.deeper > 0 => self.deeper -= 1,
            Event::End(_) => self.close(&range),
            Event::Text(text)
            | Event::Html(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text)
            | Event::FootnoteReference(text) => self.push(Node::Text(printable(&text))),
            Event::Code(code) => self.push(Node::Code(printable(&code))),
            Event::SoftBreak | Event::HardBreak => self.push(Node::Break),
            Event::Rule => self.push(Node::Rule),
            Event::TaskListMarker(true) => self.push(Node::Text("[x] ".into())),
            Event::TaskListMarker(false) => self.push(Node::Text("[ ] ".into())),
        }
    }

    fn push(&mut self, node: Node) {
        match self.open.last_mut() {
            Some((_, parts)) => parts.push(node),
            None => self.done.push(node),
        }
    }

    fn close(&mut self, range: &Range<usize>) {
        let Some((tag, mut parts)) = self.open.pop() else { return };
        match tag {
            Tag::Cell => self.cell = range.end,
            // The parser drops the cells of a row that has more of them than the heading.
            Tag::Row => {
                let rest = self.source.get(self.cell..range.end).unwrap_or_default();
                let rest = rest.trim_matches(|c: char| c == '|' || c.is_whitespace());
                if !rest.is_empty() {
                    parts.push(Node::Element(Tag::Cell, vec![Node::Text(printable(rest))]));
                }
            }
            _ => {}
        }
        self.push(Node::Element(tag, parts));
    }

    /// Keeps what the parser took for a definition that nothing refers to.
    fn gap(&mut self, end: usize) {
        let kept = self.kept(self.read, end);
        self.read = self.read.max(end);
        let kept = printable(kept.trim());
        if !kept.is_empty() {
            self.done.push(Node::Element(Tag::Paragraph, vec![Node::Text(kept)]));
        }
    }

    /// The same within an element, where only a definition is more than marks.
    fn inner_gap(&mut self, end: usize) {
        let Some((tag, _)) = self.open.last() else { return };
        if matches!(tag, Tag::Link(_) | Tag::CodeBlock(_) | Tag::Table | Tag::Row) {
            return;
        }
        let block = matches!(tag, Tag::Quote | Tag::Item);
        let kept = self.kept(self.inner, end);
        if let Some(from) = kept.find('[').filter(|_| kept.contains("]:")) {
            let kept = Node::Text(printable(kept[from..].trim()));
            self.push(if block { Node::Element(Tag::Paragraph, vec![kept]) } else { kept });
        }
    }

    /// A part of the source without the definitions that are shown elsewhere.
    fn kept(&self, mut from: usize, end: usize) -> String {
        let mut kept = String::new();
        let next = self.shown.partition_point(|(_, span)| span.end <= from);
        for (_, span) in self.shown.iter().skip(next).take_while(|(_, span)| span.start < end) {
            kept.push_str(self.source.get(from..span.start).unwrap_or_default());
            from = from.max(span.end);
        }
        kept.push_str(self.source.get(from..end).unwrap_or_default());
        kept
    }
}

/// Ours for the parser's; `None` for what only groups.
fn tag_of(tag: Md<'_>) -> Option<Tag> {
    Some(match tag {
        Md::Paragraph | Md::HtmlBlock => Tag::Paragraph,
        Md::Heading { level, .. } => Tag::Heading(level as u8),
        Md::BlockQuote(_) => Tag::Quote,
        Md::CodeBlock(CodeBlockKind::Fenced(info)) => Tag::CodeBlock(printable_line(&info)),
        Md::CodeBlock(CodeBlockKind::Indented) => Tag::CodeBlock(String::new()),
        Md::List(first) => Tag::List(first),
        Md::Item => Tag::Item,
        Md::Table(_) => Tag::Table,
        Md::TableHead | Md::TableRow => Tag::Row,
        Md::TableCell => Tag::Cell,
        Md::Emphasis => Tag::Emphasis,
        Md::Strong => Tag::Strong,
        Md::Strikethrough => Tag::Strike,
        Md::Link { dest_url, title, .. } | Md::Image { dest_url, title, .. } => {
            let gap = if title.is_empty() { "" } else { " " };
            Tag::Link(printable_line(&format!("{dest_url}{gap}{title}")))
        }
        Md::FootnoteDefinition(_)
        | Md::DefinitionList
        | Md::DefinitionListTitle
        | Md::DefinitionListDefinition
        | Md::Superscript
        | Md::Subscript
        | Md::MetadataBlock(_) => return None,
    })
}
