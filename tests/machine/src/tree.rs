//! QEMU's device tree with the node a Raspberry Pi's loader would add.

use std::path::Path;
use std::process::{Command, Stdio};

use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use warppool_firmware::Chosen;

use crate::error::{Error, at};
use crate::qemu::PROGRAM;

/// The tree QEMU would pass to a machine of this size.
pub(crate) fn dump(folder: &Path, cpus: u32, memory: u32) -> Result<Vec<u8>, Error> {
    let path = folder.join("virt.dtb");
    let output = Command::new(PROGRAM)
        .arg("-M")
        .arg(format!("virt,dumpdtb={}", path.display()))
        .args(["-cpu", "cortex-a72", "-smp", &cpus.to_string(), "-m", &memory.to_string(), "-display", "none"])
        .stdin(Stdio::null())
        .output()
        .map_err(|why| Error::NoQemu { program: PROGRAM, why })?;
    if !output.status.success() {
        return Err(Error::QemuEnded(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    std::fs::read(&path).map_err(at("reading", &path))
}

/// Adds `/chosen/bootloader`.
pub(crate) fn with_bootloader(tree: &[u8], chosen: &Chosen) -> Result<Vec<u8>, Error> {
    let wrong = |why: &dyn std::fmt::Display| Error::Tree(why.to_string());
    let fdt = Fdt::new(tree).map_err(|why| wrong(&why))?;
    let mut tree = DeviceTree::from_fdt(&fdt);
    let mut node = DeviceTreeNode::new("bootloader").map_err(|why| wrong(&why))?;
    for (name, value) in properties(chosen) {
        node.add_property(DeviceTreeProperty::new(name, value).map_err(|why| wrong(&why))?);
    }
    tree.find_node_mut("/chosen").ok_or_else(|| wrong(&"it has no /chosen"))?.add_child(node);
    Ok(tree.to_dtb())
}

fn properties(chosen: &Chosen) -> Vec<(&'static str, u32)> {
    let always = [
        ("boot-mode", Some(chosen.boot_mode)),
        ("partition", Some(chosen.partition)),
        ("tryboot", Some(chosen.tryboot)),
        ("build-timestamp", Some(chosen.build_timestamp)),
        ("count", chosen.count),
        ("arg1", chosen.arg1),
    ];
    always.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dtoolkit::{Node, Property};

    #[test]
    fn the_node_holds_what_the_loader_tells_and_no_more() {
        let mut empty = DeviceTree::new();
        empty.root.add_child(DeviceTreeNode::new("chosen").unwrap());
        let chosen = Chosen {
            partition: 3,
            tryboot: 1,
            boot_mode: 6,
            count: None,
            arg1: Some(7),
            build_timestamp: 1_765_152_000,
        };
        let bytes = with_bootloader(&empty.to_dtb(), &chosen).unwrap();
        let tree = DeviceTree::from_fdt(&Fdt::new(&bytes).unwrap());
        let node = tree.find_node("/chosen/bootloader").unwrap();
        let value = |name: &str| node.property(name).map(|property| property.value().to_vec());
        assert_eq!(value("partition"), Some(vec![0, 0, 0, 3]));
        assert_eq!(value("boot-mode"), Some(vec![0, 0, 0, 6]));
        assert_eq!(value("arg1"), Some(vec![0, 0, 0, 7]));
        assert_eq!(value("build-timestamp"), Some(vec![0x69, 0x36, 0x15, 0x00]));
        assert_eq!(value("count"), None);
    }

    #[test]
    fn a_tree_without_chosen_is_refused() {
        let chosen = Chosen { partition: 0, tryboot: 0, boot_mode: 1, count: None, arg1: None, build_timestamp: 0 };
        assert!(with_bootloader(&DeviceTree::new().to_dtb(), &chosen).is_err());
        assert!(with_bootloader(b"no tree", &chosen).is_err());
    }
}
