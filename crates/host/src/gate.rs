//! Slash commands: those that make no sense from a chat are swallowed, those that change an agent's
//! session are for its admins, all others are for the agent to read.

/// Commands of a harness on a desk. From a chat they would log it out or hang it.
const SWALLOWED: [&str; 6] =
    ["/help", "/login", "/logout", "/doctor", "/config", "/remote-control"];
const ADMIN: [&str; 7] = ["/clear", "/reset", "/new", "/compact", "/context", "/cost", "/files"];

/// What happens to a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It goes to the agent.
    Pass,
    /// It goes nowhere.
    Swallow {
        /// The command.
        command: String,
    },
    /// It goes nowhere, and the sender is told [`denial`].
    Deny {
        /// The command.
        command: String,
    },
    /// It is an admin command from an admin.
    Admin {
        /// The command.
        command: String,
    },
}

/// Judges a text by its first word. `/cmd@name`, as some platforms write it, is `/cmd`.
pub(crate) fn gate(text: &str, may_admin: bool) -> Gate {
    let Some(word) = text.split_whitespace().next().filter(|w| w.starts_with('/')) else {
        return Gate::Pass;
    };
    let command = word.split('@').next().unwrap_or(word).to_lowercase();
    // v2's runner takes whatever begins with /clear for it.
    let admin = ADMIN.contains(&command.as_str()) || command.starts_with("/clear");
    if SWALLOWED.contains(&command.as_str()) {
        Gate::Swallow { command }
    } else if !admin {
        Gate::Pass
    } else if may_admin {
        Gate::Admin { command }
    } else {
        Gate::Deny { command }
    }
}

/// What a sender is told whose command was denied.
pub(crate) fn denial(command: &str) -> String {
    format!("Permission denied: {command} requires admin access.")
}

#[cfg(test)]
mod tests;
