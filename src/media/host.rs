//! What this machine's GStreamer has, and pipeline files on disk.

use std::io;
use std::path::Path;

use gstreamer as gst;

use super::catalog::Catalog;
use super::choose::Host;
use super::version::Version;
use super::x264;

/// GStreamer's version, and which of the catalogue's elements exist.
pub fn detect(catalog: &Catalog) -> Host {
    let (major, minor, micro, _) = gst::version();
    let elements = catalog
        .entries()
        .flat_map(|entry| &entry.needs)
        .filter(|name| gst::ElementFactory::find(name).is_some())
        .cloned()
        .collect();
    let missing = x264::missing().map(|(element, reason)| (element.to_owned(), reason));
    Host { gstreamer: Version(major, minor, micro), elements, missing: missing.into_iter().collect() }
}

/// Processors that this process may run on; a CPU limit of its control group counts.
pub fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// Reads `<dir>/<codec>/*.toml` for [`Catalog::with`]: path and text, by name.
///
/// # Errors
/// A directory or file that cannot be read; the message names it.
pub fn read_pipelines(dir: &Path) -> io::Result<Vec<(String, String)>> {
    let named =
        |path: &Path, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut files = Vec::new();
    for folder in std::fs::read_dir(dir).map_err(|error| named(dir, error))? {
        let folder = folder?.path();
        if !folder.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&folder).map_err(|error| named(&folder, error))? {
            let file = file?.path();
            if file.extension().is_some_and(|ending| ending == "toml") {
                let text = std::fs::read_to_string(&file).map_err(|error| named(&file, error))?;
                files.push((file.display().to_string(), text));
            }
        }
    }
    files.sort();
    Ok(files)
}
