//! The cases that every channel is held to, whatever the platform.
