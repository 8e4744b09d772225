//! A disk that can lose its power: an ext4 in an image file. What was written and not synced
//! is gone then, as with a machine whose plug is pulled.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::wait::until;

/// Bytes of the disk; the file is sparse.
const SIZE: &str = "256M";

/// Stops the file system at once, without writing its journal: `EXT4_IOC_SHUTDOWN` with
/// `EXT4_GOING_FLAGS_NOLOGFLUSH` (the kernel's `ext4.h`).
const SHUTDOWN: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// A mounted disk. Ends with its guard.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Makes and mounts one; says why not, where there are no rights or no loop devices.
    pub fn new() -> Result<Disk, String> {
        let disk = Disk { folder: TempDir::new().map_err(|error| error.to_string())? };
        std::fs::create_dir(disk.path()).map_err(|error| error.to_string())?;
        let image = disk.image().display().to_string();
        run("truncate", &["-s", SIZE, &image])?;
        run("mkfs.ext4", &["-q", &image])?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn mount(&self) -> Result<(), String> {
        // The journal is not written by itself while a test lasts.
        let options = "loop,commit=300";
        run("mount", &["-o", options, &text(&self.image()), &text(&self.path())])
    }

    /// All that was written is safe from here on.
    pub fn sync(&self) {
        run("sync", &["-f", &text(&self.path())]).unwrap();
    }

    /// From here on every access fails, and what was not synced is gone.
    pub fn lose_power(&self) {
        run("python3", &["-c", SHUTDOWN, &text(&self.path())]).unwrap();
    }

    /// Power is back. Nothing may use the disk at this moment.
    pub fn get_power(&self) {
        until(30, "nobody uses the disk", || run("umount", &[&text(&self.path())]).ok());
        self.mount().unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Not mounted is fine: what counts is that it is not there afterwards.
        let _ = run("umount", &["-l", &text(&self.path())]);
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let done = Command::new(program).args(args).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        Ok(())
    } else {
        Err(format!("{program}: {}", String::from_utf8_lossy(&done.stderr).trim()))
    }
}
