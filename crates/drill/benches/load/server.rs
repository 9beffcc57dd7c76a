//! The servers, each in a process of its own, on a core of its own.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A server that ends with its owner.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    child: Child,
    _folder: Option<tempfile::TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command on one core, where `taskset` is there to say so.
pub(crate) fn on_core(core: usize, program: &Path) -> Command {
    let taskset = Path::new("/usr/bin/taskset");
    if !taskset.exists() {
        return Command::new(program);
    }
    let mut command = Command::new(taskset);
    command.arg("--cpu-list").arg(core.to_string()).arg(program);
    command
}

/// nginx with one process, if it is installed.
pub(crate) fn nginx(core: usize) -> Option<Server> {
    let program = ["/usr/sbin/nginx", "/usr/bin/nginx"].map(Path::new).into_iter().find(|it| it.exists())?;
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = folder.path().display();
    let text = format!(
        "daemon off; master_process off; pid {at}/pid; error_log stderr crit;\n\
         events {{ worker_connections 8192; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {at}/b; proxy_temp_path {at}/p;\n\
         fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
         server {{ listen 127.0.0.1:{port}; location / {{ return 200 hello; }} }} }}\n"
    );
    let config = folder.path().join("nginx.conf");
    fs::write(&config, text).unwrap();
    let child = on_core(core, program)
        .arg("-p")
        .arg(folder.path())
        .arg("-e")
        .arg("stderr")
        .arg("-c")
        .arg(&config)
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nginx does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    Some(Server { name: "nginx", url: format!("http://127.0.0.1:{port}/"), child, _folder: Some(folder) })
}

/// A toy that takes so long to answer.
pub(crate) fn toy(core: usize, delay: Duration) -> Server {
    let mut child = on_core(core, &env::current_exe().unwrap())
        .args(["serve", &delay.as_millis().to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Server { name: "toy", url: format!("http://{}/", line.trim()), child, _folder: None }
}

/// The toy's process: a thread for each connection, because a thread sleeps as long as it is told to, and the timers of an
/// async runtime in whole milliseconds: clients that wait for answers would fall into step with them.
pub(crate) fn serve(delay: Duration) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    for stream in listener.incoming().map_while(Result::ok) {
        thread::spawn(move || answer(&stream, delay));
    }
}

/// Until the client leaves.
fn answer(mut stream: &TcpStream, delay: Duration) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(_)) = lines.next() {
        while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
        thread::sleep(delay);
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").is_err() {
            return;
        }
    }
}
