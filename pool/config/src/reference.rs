//! The configuration reference and the commented default file, both written from the schema.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::handbook::{Fate, HANDBOOK};
use crate::kind::Kind;
use crate::profile::{ChosenBy, Limits, ProfileKind};
use crate::schema::{Key, Reload, SECRETS, TABLES, schema};

/// `docs/configuration.md`: every key with type, default, environment name and meaning.
pub fn reference_markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    for (table, help) in TABLES {
        let _ = write!(out, "\n## [{table}]\n\n{help}\n\n{COLUMNS}");
        for key in schema().iter().filter(|key| key.table() == *table) {
            row(&mut out, key);
        }
    }
    let _ = write!(out, "{SECRETS_INTRODUCTION}{COLUMNS}");
    for key in SECRETS {
        row(&mut out, key);
    }
    profiles(&mut out);
    old_keys(&mut out);
    out
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Written from the schema in pool/config; change it there. -->

`warppool run --config config.toml` reads one file, and `secrets.toml` beside it. Nothing has to be set: an empty file is a
pool on mainnet with a Bitcoin Core on the same machine. `warppool check-config config.toml` says everything that is wrong
with a file, with line, key and remedy, and changes nothing.

A value is taken from the first of these that has it: a flag (`--set key=value`, `--no-zmq`, `--no-tls`), the environment
(`WARPPOOL_STRATUM_LISTEN` is `stratum.listen`; lists are separated by commas), the file, the profile, the default. An empty
text for an optional key is the same as not setting it. Paths are relative to the folder of the configuration; `~/` is the
home folder.

A running pool reads its files again at SIGHUP. Keys marked *live* take effect then; the others at the next start. A file
with a fault changes nothing.
";

const COLUMNS: &str = "| Key | Type | Default | Reload | Environment | Meaning |\n|---|---|---|---|---|---|\n";

const SECRETS_INTRODUCTION: &str = "
## secrets.toml

Readable by its owner alone (`chmod 600 secrets.toml`), or the pool does not start. The two keys at the top are for every
node; in `[node.NAME]` they are for the node of that name.

";

fn row(out: &mut String, key: &Key) {
    let default = match (key.default_text(), key.unset) {
        (Some(text), _) => format!("`{text}`"),
        (None, Some(unset)) => unset.describe().to_owned(),
        (None, None) => String::new(),
    };
    let reload = match key.reload {
        Reload::Live => "live",
        Reload::Restart => "restart",
    };
    let (name, kind, env, help) = (key.name(), key.kind.describe(), key.env_name(), key.help);
    let _ = writeln!(out, "| `{name}` | {kind} | {default} | {reload} | `{env}` | {help} |");
}

fn profiles(out: &mut String) {
    out.push_str(
        "\n## Profiles\n\nChosen by `profile.kind`, else by `profile.expected_miner_count`, else by processors, memory and disk. \
         On an SD card statistics are committed at most once a minute. `klein`, `mittel` and `gross` are understood too.\n\n\
         | Profile | Connections | of one address | Seconds a share | Seconds a commit |\n\
         |---|---|---|---|---|\n",
    );
    for kind in ProfileKind::ALL {
        let limits = Limits::of(kind, ChosenBy::Config);
        let _ = writeln!(
            out,
            "| `{kind}` | {} | {} | {} | {} |",
            limits.max_connections,
            limits.max_connections_per_address,
            limits.vardiff_target_seconds,
            limits.ledger_commit_seconds
        );
    }
}

fn old_keys(out: &mut String) {
    out.push_str(
        "\n## Keys of older configurations\n\nThose not listed are still the same.\n\n| Old | Now |\n|---|---|\n",
    );
    let mut later: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for old in HANDBOOK {
        let now = match old.fate {
            Fate::Ours(key) | Fate::Program(key) if key == old.name => continue,
            Fate::Ours(key) | Fate::Program(key) => format!("`{key}`"),
            Fate::Dropped(because) => format!("gone, because {because}"),
            Fate::Later(part) => {
                later.entry(part).or_default().push(format!("`{}`", old.name));
                continue;
            }
        };
        let _ = writeln!(out, "| `{}` | {now} |", old.name);
    }
    out.push_str("\nThese belong to parts that this version does not have:\n\n");
    for (part, keys) in later {
        let _ = writeln!(out, "- {part}: {}", keys.join(", "));
    }
}

/// A `config.toml` with every key, its default and its help, all commented out: it means the same as an empty file.
pub fn default_toml() -> String {
    let mut out = String::from(
        "# WarpPool. Everything here is optional: a line that begins with # shows the default, or an example where there is none.\n\
         # Check this file with: warppool check-config config.toml\n",
    );
    for (table, help) in TABLES {
        out.push('\n');
        comment(&mut out, &help.replace('`', ""));
        let _ = writeln!(out, "[{table}]");
        for key in schema().iter().filter(|key| key.table() == *table) {
            comment(&mut out, &key.help.replace('`', ""));
            let value = key.default_text().unwrap_or_else(|| key.example.to_owned());
            let unset = key.unset.map(|unset| format!("an example; {}", unset.describe()));
            let choices = matches!(key.kind, Kind::Choice { .. }).then(|| key.kind.describe().replace('`', ""));
            let notes: Vec<String> = [unset, choices].into_iter().flatten().collect();
            let mark = if notes.is_empty() { "" } else { "  # " };
            let _ = writeln!(out, "#{} = {value}{mark}{}", key.name(), notes.join("; one of "));
        }
    }
    out
}

fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + word.len() > 110 {
            let _ = writeln!(out, "{line}");
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}
