//! What the adapters of platforms share: HTTP, webhooks, durable state, pace, dialects, files.
