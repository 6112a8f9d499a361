//! What a recipe must say, and what is refused before anything is made.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;

use warppool_image::{Board, ImageError, Recipe};
use warppool_ota::trust::{Trust, TrustedKey};
use warppool_ota::{PrivateKey, Version};

fn whole() -> Recipe {
    Recipe {
        board: Some(Board::Qemu),
        version: Some("1.2.3".into()),
        built: Some(1_790_000_000),
        kernel: Some("Image".into()),
        binary: Some("warppool".into()),
        ..Recipe::default()
    }
}

fn trust(keys: &[&PrivateKey]) -> Trust {
    let keys = keys.iter().map(|key| TrustedKey { name: "release".into(), public: key.public() });
    Trust {
        product: "warppool".into(),
        hardware: "rpi5".into(),
        minimum_version: Version::new(1, 0, 0),
        feed: "https://example.org/feed".into(),
        revoked: vec![],
        keys: keys.collect(),
    }
}

#[test]
fn a_whole_recipe_says_what_the_image_is_and_whom_it_believes() {
    let key = PrivateKey::generate();
    let complete = whole().complete(&key).unwrap();
    assert_eq!((complete.release.product.as_str(), complete.release.hardware.as_str()), ("warppool", "qemu"));
    assert_eq!(complete.trust.keys.len(), 1);
    assert!(complete.trust.key(key.public().id()).is_ok());
}

#[test]
fn what_a_recipe_does_not_say_is_asked_for_by_name() {
    for (name, recipe) in [
        ("board", Recipe { board: None, ..whole() }),
        ("version", Recipe { version: None, ..whole() }),
        ("built (or SOURCE_DATE_EPOCH)", Recipe { built: None, ..whole() }),
        ("kernel", Recipe { kernel: None, ..whole() }),
        ("binary", Recipe { binary: None, ..whole() }),
    ] {
        let refused = recipe.complete(&PrivateKey::generate());
        assert!(matches!(refused, Err(ImageError::NotSaid(missing)) if missing == name), "{name}");
    }
    let named = Recipe { version: Some("one".into()), ..whole() };
    assert!(matches!(named.complete(&PrivateKey::generate()), Err(ImageError::Version(_))));
}

#[test]
fn flags_come_before_the_file_and_paths_in_it_are_from_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.toml");
    let text = "board = \"rpi5\"\nversion = \"1.0.0\"\nkernel = \"Image\"\nroots = [\"base\", \"/abs\"]\narguments = [\"a=1\"]\n";
    fs::write(&path, text).unwrap();
    let flags = Recipe { version: Some("2.0.0".into()), roots: vec!["extra".into()], ..Recipe::default() };
    let joined = flags.or(Recipe::read(&path).unwrap());
    assert_eq!(joined.version.as_deref(), Some("2.0.0"));
    assert_eq!(joined.board, Some(Board::Rpi5));
    assert_eq!(joined.kernel.as_deref(), Some(folder.path().join("Image").as_path()));
    assert_eq!(joined.roots, [folder.path().join("base"), "/abs".into(), "extra".into()]);

    fs::write(&path, "kernal = \"Image\"").unwrap();
    assert!(matches!(Recipe::read(&path), Err(ImageError::Config { .. })));
}

#[test]
fn an_image_that_would_not_believe_its_own_signature_is_refused() {
    let (ours, next, other) = (PrivateKey::generate(), PrivateKey::generate(), PrivateKey::generate());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trust.toml");
    let with = |trust: &Trust, key: &PrivateKey| {
        fs::write(&path, trust.to_toml()).unwrap();
        Recipe { trust: Some(path.clone()), ..whole() }.complete(key)
    };
    let complete = with(&trust(&[&ours, &next]), &ours).unwrap();
    assert_eq!(complete.trust.hardware, "qemu", "one trust.toml serves every board");
    assert_eq!(complete.trust.feed, "https://example.org/feed");

    let revoked = Trust { revoked: vec![ours.public().id()], ..trust(&[&ours, &next]) };
    let foreign = Trust { product: "another".into(), ..trust(&[&ours]) };
    let later = Trust { minimum_version: Version::new(9, 0, 0), ..trust(&[&ours]) };
    for (trust, key, why) in [
        (trust(&[&ours, &next]), &other, "would not believe itself"),
        (revoked, &ours, "would not believe itself"),
        (foreign, &ours, "another"),
        (later, &ours, "minimum_version"),
    ] {
        let refused = with(&trust, key).unwrap_err().to_string();
        assert!(refused.contains(why) && refused.contains(Path::new("trust.toml").to_str().unwrap()), "{refused}");
    }
}
