//! The listening Unix socket: its file is made with the mode and the group that are asked for, in the place of nothing
//! but a socket that no process listens on, and removed at the end while it is still this server's.

use crate::config::Config;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a start waits for others that look at the same folder, in steps of [`LOCK_STEP`].
const LOCK_STEPS: u32 = 100;

/// Time between two tries of a lock.
const LOCK_STEP: Duration = Duration::from_millis(20);

/// The bits of a mode that say who may do what.
const MODE_BITS: u32 = 0o777;

/// The file of a listening Unix socket.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// The file itself, opened by path only. While it is open no other file gets its inode.
    handle: File,
}

impl SocketFile {
    /// Takes the file that stands at a path, whatever it is.
    fn open(path: &Path) -> io::Result<Self> {
        let flags = libc::O_PATH | libc::O_NOFOLLOW;
        let handle = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        Ok(Self { path: path.to_owned(), handle })
    }

    /// Removes the file, unless another one stands at its path by now.
    pub fn remove(&self) {
        let is_ours = |there: &Metadata| {
            self.handle.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (there.dev(), there.ino()))
        };
        if fs::symlink_metadata(&self.path).is_ok_and(|there| is_ours(&there))
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the Unix socket");
        }
    }
}

/// Binds the Unix socket of a configuration that has one.
///
/// A socket file that refuses connections is left over from a server that ended without removing it, and is replaced.
/// Anything else at the path is an error and stays as it is.
///
/// # Errors
/// Of the system calls; if the path is taken or the group is unknown. The text has the path and what to do.
pub fn bind_unix(config: &Config) -> io::Result<Option<(UnixListener, SocketFile)>> {
    config.unix_socket.as_ref().map(|path| bind_at(path, config)).transpose()
}

/// Binds a Unix socket at `path`, with the rights that the configuration has for Unix sockets.
///
/// # Errors
/// As [`bind_unix`].
pub(in crate::io) fn bind_at(path: &Path, config: &Config) -> io::Result<(UnixListener, SocketFile)> {
    let explain = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {}: {error}", path.display()))
    };
    let bind = || -> io::Result<_> {
        let group = config.unix_socket_group.as_deref().map(group_id).transpose()?;
        let _lock = lock_folder(path)?;
        make_way(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // The kernel gives the file the mode of its socket, less the umask (unix(7)): never more than is asked for.
        let as_file = File::from(OwnedFd::from(socket.try_clone()?));
        as_file.set_permissions(Permissions::from_mode(config.unix_socket_mode))?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile::open(path)?;
        let finish = || {
            set_rights(&file, config.unix_socket_mode, group)?;
            // Before this the kernel refuses connections: no client comes by rights that are not set yet.
            socket.listen(i32::try_from(config.listen_backlog).unwrap_or(i32::MAX))?;
            socket.set_nonblocking(true)
        };
        if let Err(error) = finish() {
            file.remove();
            return Err(error);
        }
        Ok((socket.into(), file))
    };
    bind().map_err(explain)
}

/// The number of a group that is given by its name or number.
///
/// # Errors
/// If no group has the name, or the system cannot look it up.
pub fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    match nix::unistd::Group::from_name(group)? {
        Some(group) => Ok(group.gid.as_raw()),
        None => Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!(
                "unix_socket_group: there is no group {group:?}; give the name or number of a group of this machine"
            ),
        )),
    }
}

/// Locks the folder of `path`, so that two servers do not replace the same file at the same time. A folder that may be
/// written but not read has no lock.
fn lock_folder(path: &Path) -> io::Result<Option<File>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = match File::open(folder) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => {
            return Err(io::Error::new(error.kind(), format!("the folder {}: {error}", folder.display())));
        }
    };
    for _ in 0..LOCK_STEPS {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_STEP),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    let text =
        format!("another process holds the lock of the folder {}; choose another folder", folder.display());
    Err(io::Error::new(ErrorKind::WouldBlock, text))
}

/// Removes a socket file that no process listens on.
fn make_way(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        let what = match metadata.file_type() {
            kind if kind.is_dir() => "a directory",
            kind if kind.is_symlink() => "a symbolic link",
            kind if kind.is_file() => "a file",
            _ => "no socket",
        };
        let text = format!("it is {what}, which is not replaced; choose another path, or remove it");
        return Err(io::Error::new(ErrorKind::AlreadyExists, text));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A connection that must wait, because the other server is stopped or overrun, is answer enough.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(io::Error::new(
            error.kind(),
            format!(
                "it cannot be found out whether another process listens on it ({error}); choose another path, or \
                 remove it"
            ),
        )),
        _ => Err(io::Error::new(
            ErrorKind::AddrInUse,
            "another process listens on it; stop that process, or choose another path",
        )),
    }
}

/// Gives a socket file that was just made its mode and group.
fn set_rights(file: &SocketFile, mode: u32, group: Option<u32>) -> io::Result<()> {
    let metadata = file.handle.metadata()?;
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "another process has replaced it"));
    }
    // Through the descriptor, so that nothing that was put at its path since gets the rights.
    let by_descriptor = format!("/proc/self/fd/{}", file.handle.as_raw_fd());
    if let Some(group) = group.filter(|group| *group != metadata.gid()) {
        std::os::unix::fs::chown(&by_descriptor, None, Some(group)).map_err(|error| {
            let text = format!(
                "unix_socket_group: the group {group} cannot be set ({error}); run the server as a member of the group"
            );
            io::Error::new(error.kind(), text)
        })?;
    }
    if metadata.mode() & MODE_BITS != mode {
        fs::set_permissions(&by_descriptor, Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
