//! Splits long text at safe places.
