//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use warppool_image::{ImageError, Outcome, Recipe, build, initramfs};
use warppool_ota::PrivateKey;

/// Makes the WarpPool appliance's images: byte for byte the same from the same inputs, without root
#[derive(Debug, Parser)]
#[command(name = "warppool-image", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes everything of a release: initramfs parts, bundle, disk image (plain, compressed, with block map), checksums
    All {
        /// What it is made of; flags come before what it says
        #[arg(long, value_name = "IMAGE.TOML")]
        recipe: Option<PathBuf>,
        #[command(flatten)]
        flags: Box<Recipe>,
        /// The private key that signs slot and bundle; `warppool ota keygen` makes one
        #[arg(long, env = "WARPPOOL_SIGNING_KEY", value_name = "FILE", hide_env_values = true)]
        key: PathBuf,
        /// The folder that everything is written into
        #[arg(long, value_name = "FOLDER")]
        output: PathBuf,
        /// Leaves out the compressed disk image, which takes the longest
        #[arg(long)]
        plain: bool,
    },
    /// Makes the base part of the initramfs alone
    Initramfs {
        /// A folder laid over the root, the later over the earlier
        #[arg(long = "root", value_name = "FOLDER", required = true)]
        roots: Vec<PathBuf>,
        /// A table of owners, modes and devices besides the one that every image has
        #[arg(long = "table", value_name = "FILE")]
        tables: Vec<PathBuf>,
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Makes a key pair for development where there is none yet, and prints its public half
    Key { file: PathBuf },
}

pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("warppool-image: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), ImageError> {
    match command {
        Command::All { recipe, flags, key, output, plain } => {
            let recipe = match recipe {
                Some(path) => flags.or(Recipe::read(&path)?),
                None => *flags,
            };
            let key = PrivateKey::read(&key)?;
            if recipe.trust.is_none() {
                eprintln!("warppool-image: without --trust, the image believes the key {} alone", key.public().id());
            }
            show(&build::all(&recipe.complete(&key)?, &key, &output, !plain)?);
        }
        Command::Initramfs { roots, tables, output } => {
            let name = output.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let packed = initramfs::pack(&name, &build::base(&roots, &tables)?, initramfs::LEVEL)?;
            std::fs::write(&output, packed).map_err(|error| ImageError::Io { path: output, error })?;
        }
        Command::Key { file } => println!("{}", development_key(&file)?.public()),
    }
    Ok(())
}

fn development_key(file: &Path) -> Result<PrivateKey, ImageError> {
    if !file.exists() {
        PrivateKey::generate().write_new(file)?;
    }
    Ok(PrivateKey::read(file)?)
}

/// A table of what was made.
fn show(made: &[Outcome]) {
    for Outcome { path, size, sha256 } in made {
        println!("{sha256}  {size:>11}  {}", path.display());
    }
}
