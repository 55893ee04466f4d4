//! The channel `whatsapp`.
