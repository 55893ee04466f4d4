//! Secrets at rest: sealed, bound to places, granted to agents, never read back.
