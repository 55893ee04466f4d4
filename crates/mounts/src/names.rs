//! Names behind which there are secrets, and names behind which there is code that people run.

use std::path::Path;

/// What lies behind a name that holds one of these is nobody's business, when somebody asks for it.
const BLOCKED: [&str; 24] = [
    ".ssh",
    ".gnupg",
    ".gpg",
    ".aws",
    ".azure",
    ".gcloud",
    ".kube",
    ".docker",
    "credentials",
    ".env",
    ".netrc",
    ".npmrc",
    ".pypirc",
    "id_rsa",
    "id_ed25519",
    "private_key",
    ".secret",
    ".password-store",
    ".mozilla",
    ".config/gh",
    ".config/gcloud",
    ".config/google-chrome",
    ".local/share/keyrings",
    "library/keychains",
];
/// Hidden wherever they lie in a folder that is mounted.
const SECRET: [&str; 17] = [
    ".ssh",
    ".gnupg",
    ".gpg",
    ".aws",
    ".azure",
    ".gcloud",
    ".kube",
    ".docker",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".password-store",
    ".mozilla",
    ".env",
    ".envrc",
    ".secret",
];
const SECRET_BEGINS: [&str; 5] = [".env.", "id_rsa", "id_ed25519", "id_ecdsa", "private_key"];
const SECRET_ENDS: [&str; 2] = [".pem", ".key"];
/// Endings of files with data; a program that is called `credentials.rs` is none.
const DATA_ENDS: [&str; 12] =
    ["", "json", "yml", "yaml", "toml", "ini", "txt", "xml", "csv", "db", "conf", "properties"];
/// In these, secrets of other people's tests have the endings of secrets.
const PACKAGES: [&str; 2] = ["node_modules", ".venv"];
/// Patterns for a file, with nothing in it.
const PATTERNS: [&str; 3] = [".env.example", ".env.sample", ".env.template"];
/// Of the user's own programs, in a folder that the box may write.
const RUN: [&str; 3] = [".husky", ".vscode", ".mcp.json"];
/// What the shell and the desktop of a person read, below a home.
const OF_HOME: [&str; 12] = [
    ".local/bin",
    ".config",
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".ssh",
    ".gitconfig",
    "bin",
];

/// The pattern that a part of this path holds.
pub(crate) fn blocked(real: &Path, more: &[String]) -> Option<String> {
    let whole = real.to_string_lossy().to_lowercase();
    let patterns = BLOCKED.iter().map(|p| (*p).to_owned());
    let mut patterns = patterns.chain(more.iter().map(|p| p.trim().to_lowercase()));
    patterns.find(|pattern| {
        // A pattern with a slash is about more than one part.
        !pattern.is_empty()
            && match pattern.contains('/') {
                true => whole.contains(pattern.as_str()),
                false => whole.split('/').any(|part| part.contains(pattern.as_str())),
            }
    })
}

/// Whether what has this name, at this path, is hidden inside of a folder that is mounted.
pub(crate) fn secret(path: &Path, more: &[String]) -> bool {
    let whole = path.to_string_lossy().to_lowercase();
    let name = whole.rsplit('/').next().unwrap_or_default();
    let data = name.rsplit_once('.').map_or("", |(_, end)| end);
    let loose = !whole.split('/').any(|part| PACKAGES.contains(&part))
        && (SECRET_ENDS.iter().any(|end| name.ends_with(end))
            || (name.contains("credentials") && DATA_ENDS.contains(&data)));
    let named = SECRET.contains(&name)
        || SECRET_BEGINS.iter().any(|begin| name.starts_with(begin))
        || BLOCKED.iter().any(|p| p.contains('/') && whole.ends_with(&format!("/{p}")));
    let owners = more.iter().map(|p| p.trim().to_lowercase()).any(|p| {
        !p.is_empty()
            && match p.contains('/') {
                true => whole.ends_with(&p),
                false => name.contains(&p),
            }
    });
    owners || ((named || loose) && !PATTERNS.contains(&name))
}

/// Whether people's own programs run what they find under this name.
pub(crate) fn runs(name: &str, parent: &str) -> bool {
    RUN.contains(&name)
        || (parent == ".claude" && name.starts_with("settings") && name.ends_with(".json"))
}

/// The part of a home that a box may not write, because somebody's shell or desktop runs it.
pub(crate) fn of_home(real: &Path, home: &Path) -> Option<&'static str> {
    OF_HOME.into_iter().find(|part| {
        let part = home.join(part);
        real.starts_with(&part) || part.starts_with(real)
    })
}
