//! Files that people have.
