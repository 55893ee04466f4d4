//! One Markdown tree, printed per dialect.
