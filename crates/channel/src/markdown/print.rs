//! Prints the tree as lines of text, with marks or without: what a terminal, a log or a plain mail shows.

use super::{Node, Tag, parse};
use unicode_width::UnicodeWidthStr as _;

/// Widest table that is printed as one; a wider one is printed row by row.
const TABLE_WIDTH_MAX: usize = 100;

/// How things are marked: each pair is put before and after.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// Bold.
    pub strong: (&'static str, &'static str),
    /// Italics.
    pub emphasis: (&'static str, &'static str),
    /// Struck through.
    pub strike: (&'static str, &'static str),
    /// Code in a line, and every line of a code block.
    pub code: (&'static str, &'static str),
    /// Headings.
    pub heading: (&'static str, &'static str),
    /// What is not the message itself: targets of links, marks of quotations, names of languages.
    pub faint: (&'static str, &'static str),
    /// Whether the language of a code block is shown.
    pub languages: bool,
}

/// No marks at all.
pub const PLAIN: Dialect = Dialect {
    strong: ("", ""),
    emphasis: ("", ""),
    strike: ("", ""),
    code: ("", ""),
    heading: ("", ""),
    faint: ("", ""),
    languages: false,
};

/// A terminal.
pub const ANSI: Dialect = Dialect {
    strong: ("\x1b[1m", "\x1b[22m"),
    emphasis: ("\x1b[3m", "\x1b[23m"),
    strike: ("\x1b[9m", "\x1b[29m"),
    code: ("\x1b[36m", "\x1b[39m"),
    heading: ("\x1b[1;4m", "\x1b[22;24m"),
    faint: ("\x1b[90m", "\x1b[39m"),
    languages: true,
};

/// Prints Markdown; no newline at the end.
pub fn render(markdown: &str, dialect: &Dialect) -> String {
    show(&parse(markdown), dialect)
}

/// Prints a part of the tree; no newline at the end.
pub fn show(nodes: &[Node], dialect: &Dialect) -> String {
    dialect.blocks(nodes, Gap::Blank).join("\n")
}

/// What stands between two blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    Blank,
    Nothing,
}

impl Dialect {
    fn blocks(&self, nodes: &[Node], gap: Gap) -> Vec<String> {
        let mut lines = Vec::new();
        let mut rest = nodes;
        while !rest.is_empty() {
            let in_line = rest.iter().take_while(|n| n.is_inline()).count();
            let (run, tail) = rest.split_at(in_line.max(1));
            rest = tail;
            let block = match run {
                [Node::Rule] => vec![mark(self.faint, "────────")],
                [Node::Element(tag, parts)] if in_line == 0 => self.block(tag, parts),
                _ => self.lines(run),
            };
            if !lines.is_empty() && gap == Gap::Blank {
                lines.push(String::new());
            }
            lines.extend(block);
        }
        lines
    }

    fn block(&self, tag: &Tag, parts: &[Node]) -> Vec<String> {
        match tag {
            Tag::Heading(_) => {
                self.lines(parts).iter().map(|line| mark(self.heading, line)).collect()
            }
            Tag::CodeBlock(info) => self.code_block(info, parts),
            Tag::Quote => {
                let bar = mark(self.faint, "> ");
                self.blocks(parts, Gap::Blank).iter().map(|l| format!("{bar}{l}")).collect()
            }
            Tag::List(first) => self.list(*first, parts),
            Tag::Table => self.table(parts),
            // Paragraphs, and parts of lists and tables that ended up outside of one.
            Tag::Paragraph | Tag::Item | Tag::Row | Tag::Cell => self.blocks(parts, Gap::Nothing),
            Tag::Strong | Tag::Emphasis | Tag::Strike | Tag::Link(_) => self.lines(parts),
        }
    }

    fn code_block(&self, info: &str, parts: &[Node]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut code = String::new();
        gather(parts, &mut code);
        // What is no name of a language may be text that the agent wanted to be read.
        let language = info.chars().all(|c| c.is_alphabetic() || "+#-.".contains(c));
        if !info.is_empty() && (self.languages || !language || code.is_empty()) {
            lines.push(format!("    {}", mark(self.faint, info)));
        }
        lines.extend(
            code.trim_end_matches('\n').lines().map(|l| format!("    {}", mark(self.code, l))),
        );
        lines
    }

    fn list(&self, first: Option<u64>, items: &[Node]) -> Vec<String> {
        let is_paragraph = |n: &Node| matches!(n, Node::Element(Tag::Paragraph, _));
        let loose = items
            .iter()
            .any(|item| matches!(item, Node::Element(_, parts) if parts.iter().any(is_paragraph)));
        let mut lines: Vec<String> = Vec::new();
        for (item, number) in items.iter().zip(first.unwrap_or_default()..) {
            let marker = if first.is_some() { format!("{number}. ") } else { "- ".to_owned() };
            let parts = match item {
                Node::Element(Tag::Item, parts) => parts.as_slice(),
                other => std::slice::from_ref(other),
            };
            if loose && !lines.is_empty() {
                lines.push(String::new());
            }
            let inside = self.blocks(parts, if loose { Gap::Blank } else { Gap::Nothing });
            let indent = " ".repeat(marker.len());
            for (n, line) in inside.iter().enumerate() {
                let before = if n == 0 { &marker } else { &indent };
                lines.push(format!("{before}{line}").trim_end().to_owned());
            }
            if inside.is_empty() {
                lines.push(marker.trim_end().to_owned());
            }
        }
        lines
    }

    fn table(&self, rows: &[Node]) -> Vec<String> {
        let rows: Vec<Vec<(String, usize)>> = rows
            .iter()
            .filter_map(|row| match row {
                Node::Element(Tag::Row, cells) => {
                    Some(cells.iter().map(|c| self.cell(c)).collect())
                }
                _ => None,
            })
            .collect();
        let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
        let mut widths = vec![0; columns];
        for row in &rows {
            for (width, (_, own)) in widths.iter_mut().zip(row) {
                *width = (*width).max(*own);
            }
        }
        if widths.iter().map(|w| w + 3).sum::<usize>() > TABLE_WIDTH_MAX {
            return self.table_by_row(&rows);
        }
        let mut lines = Vec::new();
        for (n, row) in rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|((text, own), width)| {
                    let text = if n == 0 { mark(self.strong, text) } else { text.clone() };
                    format!("{text}{}", " ".repeat(width - own))
                })
                .collect();
            lines.push(cells.join(" | ").trim_end().to_owned());
            if n == 0 {
                let dashes: Vec<String> = widths.iter().map(|w| "-".repeat(*w)).collect();
                lines.push(dashes.join("-+-"));
            }
        }
        lines
    }

    fn table_by_row(&self, rows: &[Vec<(String, usize)>]) -> Vec<String> {
        let Some((head, body)) = rows.split_first() else { return Vec::new() };
        if body.is_empty() {
            return head.iter().map(|(text, _)| mark(self.strong, text)).collect();
        }
        let mut lines = Vec::new();
        for row in body {
            if !lines.is_empty() {
                lines.push(String::new());
            }
            for (n, (text, _)) in row.iter().enumerate() {
                lines.push(match head.get(n) {
                    Some((name, _)) => format!("{}: {text}", mark(self.strong, name)),
                    None => text.clone(),
                });
            }
        }
        lines
    }

    fn cell(&self, cell: &Node) -> (String, usize) {
        let parts = match cell {
            Node::Element(_, parts) => parts.as_slice(),
            other => std::slice::from_ref(other),
        };
        let one_line = |d: &Self| d.lines(parts).join(" ").replace('\t', " ");
        (one_line(self), one_line(&PLAIN).width())
    }

    fn lines(&self, nodes: &[Node]) -> Vec<String> {
        let mut text = String::new();
        self.inline(nodes, &mut text);
        text.trim_end().lines().map(str::to_owned).collect()
    }

    fn inline(&self, nodes: &[Node], out: &mut String) {
        for node in nodes {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Code(code) => out.push_str(&mark(self.code, code)),
                Node::Break | Node::Rule => out.push('\n'),
                Node::Element(Tag::Strong, parts) => self.marked(self.strong, parts, out),
                Node::Element(Tag::Emphasis, parts) => self.marked(self.emphasis, parts, out),
                Node::Element(Tag::Strike, parts) => self.marked(self.strike, parts, out),
                Node::Element(Tag::Link(target), parts) => self.link(target, parts, out),
                // A block within a line: only where nesting was cut off.
                Node::Element(_, parts) => self.inline(parts, out),
            }
        }
    }

    fn marked(&self, pair: (&str, &str), parts: &[Node], out: &mut String) {
        out.push_str(pair.0);
        self.inline(parts, out);
        out.push_str(pair.1);
    }

    fn link(&self, target: &str, parts: &[Node], out: &mut String) {
        let mut label = String::new();
        gather(parts, &mut label);
        self.inline(parts, out);
        let bare = target.strip_prefix("mailto:").unwrap_or(target);
        if label.is_empty() {
            out.push_str(target);
        } else if !bare.is_empty() && label != bare && label != target {
            out.push_str(&mark(self.faint, &format!(" ({target})")));
        }
    }
}

/// Puts a mark around one line.
fn mark(pair: (&str, &str), text: &str) -> String {
    format!("{}{text}{}", pair.0, pair.1)
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
