//! What secrets are allowed and what they give.
