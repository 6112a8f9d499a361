//! The system's own settings: `/data/system/system.toml`, and what an image says of its board.

use std::path::{Path, PathBuf};

use warppool_handover::SystemSettings;
use warppool_panel::PanelConfig;

use crate::console::say;
use crate::durable;

/// The board's panel, where the image brings one; settings of the owner win.
const PANEL: &str = "/etc/warppool/panel.toml";
const MAX_FILE: usize = 256 * 1024;

pub fn path(data: &Path) -> PathBuf {
    data.join("system/system.toml")
}

/// Reads them; what cannot be read is told and left at its default.
pub fn load(data: &Path) -> SystemSettings {
    let path = path(data);
    let bytes = match durable::read(&path, MAX_FILE) {
        Ok(bytes) => bytes,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return SystemSettings::default(),
        Err(why) => {
            say!("settings: {}: {why}; the defaults are taken", path.display());
            return SystemSettings::default();
        }
    };
    SystemSettings::parse(&String::from_utf8_lossy(&bytes)).unwrap_or_else(|why| {
        say!("settings: {why}");
        SystemSettings::default()
    })
}

/// Makes them durable.
pub fn store(data: &Path, settings: &SystemSettings) -> std::io::Result<()> {
    durable::write(&path(data), settings.to_toml().as_bytes(), 0o600)
}

/// Which LED and which button: the owner's settings over the board's over none that need wiring.
pub fn panel(settings: &SystemSettings) -> PanelConfig {
    let board = durable::read(Path::new(PANEL), MAX_FILE).unwrap_or_default();
    panel_of(&String::from_utf8_lossy(&board), &settings.panel)
}

fn panel_of(board: &str, own: &toml::Table) -> PanelConfig {
    let mut table: toml::Table = toml::from_str(board).unwrap_or_else(|why| {
        say!("settings: {PANEL}: {why}");
        toml::Table::new()
    });
    for (key, value) in own {
        table.insert(key.clone(), value.clone());
    }
    table.try_into().unwrap_or_else(|why: toml::de::Error| {
        say!("settings: [panel]: {}; the board's own LED and button are taken", why.message());
        PanelConfig::default()
    })
}

#[cfg(test)]
mod tests {
    use warppool_panel::{ButtonSource, LedSource};

    use super::*;

    #[test]
    fn settings_survive_and_a_damaged_file_is_the_default() {
        let data = tempfile::tempdir().unwrap();
        std::fs::create_dir(data.path().join("system")).unwrap();
        assert_eq!(load(data.path()), SystemSettings::default());
        let mut settings = SystemSettings::default();
        settings.device.hostname = "pool-2".parse().unwrap();
        store(data.path(), &settings).unwrap();
        assert_eq!(load(data.path()), settings);
        std::fs::write(path(data.path()), "[device\n").unwrap();
        assert_eq!(load(data.path()), SystemSettings::default());
    }

    #[test]
    fn the_owner_s_pins_win_over_the_board_s() {
        let own: toml::Table = toml::from_str("led = 'none'").unwrap();
        let panel = panel_of("led = 'pin'\nbutton = 'none'\n", &own);
        assert_eq!((panel.led, panel.button), (LedSource::None, ButtonSource::None));
        assert_eq!(panel_of("", &toml::from_str("led = 5").unwrap()), PanelConfig::default());
    }
}
