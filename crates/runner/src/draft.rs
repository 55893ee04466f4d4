//! What is being said and is not whole yet, for the host to show. Nothing hangs on it.

use crate::log::log;
use crate::session::Session;
use crate::{pulse, reply};
use std::sync::Arc;

/// More of one block is not shown.
const TEXT_BYTES_MAX: usize = 32 << 10;

/// The block of text that is being said.
pub(crate) struct Draft {
    session: Arc<Session>,
    key: String,
    text: String,
    shown: bool,
}

impl Draft {
    pub(crate) fn new(session: Arc<Session>) -> Self {
        // An earlier runner may have left one.
        let mut draft = Self { session, key: String::new(), text: String::new(), shown: true };
        draft.end();
        draft
    }

    /// Hears more of a block.
    pub(crate) fn hear(&mut self, key: String, text: &str) {
        if key != self.key {
            self.end();
            self.key = key;
        }
        if self.text.len() < TEXT_BYTES_MAX {
            self.text.push_str(text);
        }
    }

    /// Shows as much of it as is certain.
    pub(crate) fn show(&mut self) {
        let Some((n, said)) = reply::so_far(&self.text) else { return };
        match self.session.preview(&format!("{}/{n}", self.key), said) {
            Ok(None) => {}
            Ok(Some(preview)) => {
                self.shown = true;
                if let Err(e) = pulse::replace(&self.session.workspace.preview(), &preview) {
                    log!("what is being said was not shown: {e}");
                }
            }
            Err(e) => log!("what is being said was not shown: {e}"),
        }
    }

    /// It was said, or never will be.
    pub(crate) fn end(&mut self) {
        self.key.clear();
        self.text.clear();
        if std::mem::take(&mut self.shown) {
            // There may be none.
            std::fs::remove_file(self.session.workspace.preview()).ok();
        }
    }
}
