//! What a box may ask of the world: pure decisions, no clock, no file, no socket.
