//! Kept, found again, refused when changed.
