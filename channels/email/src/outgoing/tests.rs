//! Tests of letters.
