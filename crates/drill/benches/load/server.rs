//! The servers, each in a process of its own, on a core of its own.

use http_body_util::Full;
use hyper::{Response, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    env, fs,
    io::{BufRead as _, BufReader},
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

/// The toy's process.
pub(crate) fn serve(delay: Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let service = service_fn(move |_request| async move {
                    if !delay.is_zero() {
                        tokio::time::sleep(delay).await;
                    }
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
                });
                // A client that leaves is no error here.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}
