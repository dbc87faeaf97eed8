//! What the defaults and bounds depend on: this machine's memory and the daemon's own identity.

use std::fs;
use std::path::{Path, PathBuf};

/// Facts about the process and the machine, read once and handed to the validation, so that the
/// validation is a pure function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// Memory this process may use: the machine's or, when smaller, that of its control group.
    pub memory_bytes: u64,
    pub uid: u32,
    pub gid: u32,
}

impl Host {
    pub fn of_this_process() -> Self {
        let physical = Self::physical_memory_bytes();
        let memory_bytes = control_group_bytes().map_or(physical, |limit| limit.min(physical));
        Self {
            memory_bytes,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }

    pub fn physical_memory_bytes() -> u64 {
        let info = rustix::system::sysinfo();
        info.totalram as u64 * u64::from(info.mem_unit)
    }
}

/// The tightest `memory.max` between this process's control group and the root (version 2 only;
/// elsewhere there is no limit that could be found this way).
fn control_group_bytes() -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
    tightest_limit(Path::new("/sys/fs/cgroup"), group)
}

fn tightest_limit(root: &Path, group: &str) -> Option<u64> {
    let inside: PathBuf = root.join(group.trim_start_matches('/'));
    inside
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
        .filter_map(|folder| {
            fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok()
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let service = root.path().join("system.slice/engramd.service");
        fs::create_dir_all(&service).unwrap();
        let limit = || tightest_limit(root.path(), "/system.slice/engramd.service");
        assert_eq!(limit(), None);
        fs::write(service.join("memory.max"), "max\n").unwrap();
        assert_eq!(limit(), None);
        fs::write(root.path().join("system.slice/memory.max"), "2048\n").unwrap();
        assert_eq!(limit(), Some(2048));
        fs::write(service.join("memory.max"), "4096\n").unwrap();
        assert_eq!(limit(), Some(2048));
    }

    #[test]
    fn this_process_has_memory() {
        let host = Host::of_this_process();
        assert!(host.memory_bytes > 16 << 20, "{host:?}");
        assert!(host.memory_bytes <= Host::physical_memory_bytes());
    }
}
