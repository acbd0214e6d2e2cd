use super::*;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("fanwire.sock")
    }

    fn bind(&self) -> io::Result<(UnixListener, SocketFile)> {
        self.bind_with(|_| {})
    }

    fn bind_with(&self, change: impl FnOnce(&mut Config)) -> io::Result<(UnixListener, SocketFile)> {
        let mut config = Config { unix_socket: Some(self.socket()), ..Config::default() };
        change(&mut config);
        bind_unix(&config).map(|bound| bound.expect("a path is configured"))
    }

    fn mode(&self) -> u32 {
        fs::symlink_metadata(self.socket()).unwrap().mode() & MODE_BITS
    }
}

#[test]
fn a_socket_that_refuses_connections_is_replaced() {
    let folder = Folder::new();
    let (listener, left_over) = folder.bind().unwrap();
    drop(listener);
    let (_listener, file) = folder.bind().unwrap();
    UnixStream::connect(folder.socket()).unwrap();
    left_over.remove();
    assert!(folder.socket().exists(), "the earlier server does not remove the file of the later one");
    file.remove();
    assert!(!folder.socket().exists());
}

#[test]
fn a_socket_that_is_listened_on_is_refused() {
    let folder = Folder::new();
    let (_listener, _file) = folder.bind_with(|config| config.listen_backlog = 1).unwrap();
    let error = folder.bind().unwrap_err();
    assert!(
        error.kind() == ErrorKind::AddrInUse && error.to_string().contains("stop that process"),
        "{error}"
    );
    // A server that accepts nothing, so that connections would wait.
    let mut waiting = Vec::new();
    while waiting.len() < 16 {
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        if client.connect(&SockAddr::unix(folder.socket()).unwrap()).is_err() {
            break;
        }
        waiting.push(client);
    }
    assert!(waiting.len() < 16, "the backlog has an end");
    assert_eq!(folder.bind().unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[test]
fn what_is_no_socket_of_this_kind_stays_as_it_is() {
    let folder = Folder::new();
    let path = folder.socket();
    let told = |what: &str| {
        let text = folder.bind().unwrap_err().to_string();
        assert!(text.contains(what) && text.contains("choose another path"), "{what}: {text}");
    };
    fs::write(&path, "precious").unwrap();
    told("a file");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();

    fs::create_dir(&path).unwrap();
    told("a directory");
    assert!(path.is_dir());
    fs::remove_dir(&path).unwrap();

    let target = folder.0.path().join("target");
    std::os::unix::fs::symlink(&target, &path).unwrap();
    told("a symbolic link");
    assert!(!target.exists());
    fs::remove_file(&path).unwrap();

    let _other_kind = UnixDatagram::bind(&path).unwrap();
    told("cannot be found out");
    assert!(path.exists());
    fs::remove_file(&path).unwrap();

    let missing = folder.bind_with(|config| config.unix_socket = Some(path.join("a/b"))).unwrap_err();
    assert!(missing.to_string().contains("the folder"), "{missing}");
}

#[test]
fn a_file_that_was_put_in_place_of_the_socket_is_not_removed() {
    let folder = Folder::new();
    let (_listener, file) = folder.bind().unwrap();
    fs::remove_file(folder.socket()).unwrap();
    fs::write(folder.socket(), "precious").unwrap();
    file.remove();
    assert_eq!(fs::read_to_string(folder.socket()).unwrap(), "precious");
}

#[test]
fn the_mode_is_what_is_asked_for_whatever_the_umask() {
    let folder = Folder::new();
    for mode in [0o600, 0o660, 0o666, 0o777, 0o000] {
        let (_listener, file) = folder.bind_with(|config| config.unix_socket_mode = mode).unwrap();
        assert_eq!(folder.mode(), mode, "{mode:o}");
        file.remove();
    }
    let _bound = folder.bind().unwrap();
    assert_eq!(folder.mode(), 0o660);
}

#[test]
fn a_group_is_found_by_name_or_number() {
    assert_eq!(group_id("1234").unwrap(), 1234);
    assert_eq!(group_id("root").unwrap(), 0);
    let error = group_id("no-such-group").unwrap_err();
    assert!(error.to_string().contains("there is no group \"no-such-group\""), "{error}");
    let folder = Folder::new();
    let error =
        folder.bind_with(|config| config.unix_socket_group = Some("no-such-group".into())).unwrap_err();
    assert!(error.to_string().contains("no-such-group"), "{error}");
    assert!(!folder.socket().exists(), "nothing is left of it");
}

#[test]
fn the_file_has_the_group() {
    let folder = Folder::new();
    let own = fs::metadata(folder.0.path()).unwrap();
    // Only root may give a file to a group that it is not in.
    let group = if own.uid() == 0 { 12345 } else { own.gid() };
    let (_listener, _file) =
        folder.bind_with(|config| config.unix_socket_group = Some(group.to_string())).unwrap();
    let metadata = fs::symlink_metadata(folder.socket()).unwrap();
    assert_eq!((metadata.gid(), metadata.mode() & MODE_BITS), (group, 0o660));
}

#[test]
fn of_servers_that_start_at_once_one_gets_the_path() {
    for _ in 0..20 {
        let folder = Folder::new();
        drop(folder.bind().unwrap());
        let start = std::sync::Barrier::new(4);
        let bound = std::thread::scope(|scope| {
            let bind = || {
                start.wait();
                folder.bind()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(bind)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(bound.iter().filter(|bound| bound.is_ok()).count(), 1, "{bound:?}");
        UnixStream::connect(folder.socket()).unwrap();
    }
}
