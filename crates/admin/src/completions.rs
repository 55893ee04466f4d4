//! Completion scripts for shells, from the table.

use crate::table::{Kind, RESOURCES, VERBS, Verb};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A shell that can be helped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// The Z shell.
    Zsh,
    /// fish.
    Fish,
}

impl Shell {
    /// Reads its name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "bash" => Some(Self::Bash),
            "zsh" => Some(Self::Zsh),
            "fish" => Some(Self::Fish),
            _ => None,
        }
    }
}

/// The script.
pub fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(),
        // zsh runs what was written for Bash.
        Shell::Zsh => {
            format!("#compdef ncl\nautoload -U +X bashcompinit && bashcompinit\n{}", bash())
        }
        Shell::Fish => fish(),
    }
}

/// What can come after these words: the next word of a command.
fn next_words() -> BTreeMap<String, Vec<String>> {
    let mut next: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let resources = RESOURCES.iter().map(|(name, _)| (*name).to_owned());
    next.insert(String::new(), resources.chain(["completions".to_owned()]).collect());
    next.insert("completions".into(), ["bash", "zsh", "fish"].map(str::to_owned).to_vec());
    for verb in VERBS {
        let words = verb.words();
        let words: Vec<_> = words.split(' ').collect();
        for at in 1..words.len() {
            let (before, word) = (words[..at].join(" "), words[at].to_owned());
            let after = next.entry(before).or_default();
            if !after.contains(&word) {
                after.push(word);
            }
        }
    }
    next
}

fn flags(verb: &Verb) -> Vec<String> {
    verb.flags.iter().map(crate::table::Flag::spelt).chain(["--json".to_owned()]).collect()
}

/// The words that an argument takes, by the argument's name.
fn values() -> BTreeMap<String, Vec<&'static str>> {
    let mut values: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for flag in VERBS.iter().flat_map(|v| v.flags) {
        if let Kind::Word(words) = flag.kind {
            let all = values.entry(flag.spelt()).or_default();
            words
                .iter()
                .filter(|w| !all.contains(*w))
                .copied()
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|w| all.push(w));
        }
    }
    values
}

fn bash() -> String {
    let mut text = String::from(
        "_ncl() {\n  local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\" words=\"\" all=\"\" w\n  \
         for w in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n    case \"$w\" in -*) break ;; *) words=\"${words:+$words }$w\" ;; esac\n  done\n  \
         case \"$prev\" in\n",
    );
    for (flag, words) in values() {
        // What is written into a text cannot fail.
        writeln!(text, "    {flag}) all=\"{}\" ;;", words.join(" ")).ok();
    }
    text.push_str("    *) case \"$words\" in\n");
    for (words, next) in next_words() {
        writeln!(text, "      \"{words}\") all=\"{}\" ;;", next.join(" ")).ok();
    }
    text.push_str("    esac ;;\n  esac\n  if [[ $cur == -* ]]; then\n    case \"$words\" in\n");
    let mut verbs: Vec<&Verb> = VERBS.iter().collect();
    // The longest name first: it is the one that is meant.
    verbs.sort_by_key(|v| std::cmp::Reverse(v.words().len()));
    for verb in verbs {
        let words = verb.words();
        writeln!(text, "      \"{words}\"|\"{words} \"*) all=\"{}\" ;;", flags(verb).join(" "))
            .ok();
    }
    text.push_str(
        "    esac\n  fi\n  COMPREPLY=($(compgen -W \"$all\" -- \"$cur\"))\n}\ncomplete -F _ncl ncl\n",
    );
    text
}

fn fish() -> String {
    let mut text = String::from(
        "function __ncl_at\n    set -l words\n    for w in (commandline -opc)[2..-1]\n        \
         string match -q -- '-*' $w; and break\n        set -a words $w\n    end\n    \
         test \"$words\" = \"$argv[1]\"; and return\n    \
         set -q argv[2]; and string match -q -- \"$argv[1] *\" \"$words\"\nend\n\
         complete -c ncl -f\n",
    );
    for (words, next) in next_words() {
        writeln!(text, "complete -c ncl -n '__ncl_at \"{words}\"' -a '{}'", next.join(" ")).ok();
    }
    for verb in VERBS {
        for flag in verb.flags {
            let name = flag.spelt();
            let value = match flag.kind {
                Kind::Switch => String::new(),
                Kind::Word(words) => format!(" -xa '{}'", words.join(" ")),
                Kind::Text | Kind::Number | Kind::List | Kind::Map => " -x".into(),
            };
            let (words, about) = (verb.words(), flag.about.replace('\'', ""));
            let name = name.trim_start_matches('-');
            writeln!(
                text,
                "complete -c ncl -n '__ncl_at \"{words}\" more' -l {name}{value} -d '{about}'"
            )
            .ok();
        }
    }
    text
}
