//! The book's page about the configuration is written from the schema: `UPDATE_DOCS=1 cargo nextest run -p warppool-config`.

use std::path::Path;

#[test]
fn the_configuration_reference_in_the_book_is_what_the_schema_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let reference = warppool_config::reference_markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&page, &reference).unwrap();
    }
    let written = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(
        written == reference,
        "docs/configuration.md is not what the schema says; write it anew with \
         UPDATE_DOCS=1 cargo nextest run -p warppool-config"
    );
}
