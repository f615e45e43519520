//! A hub of axum and tokio for `perf/run --rivals`: one thread, events encoded once per publish, a broadcast per channel,
//! writes joined by feeding every waiting event before one flush, pipelined answers joined, TCP_NODELAY. No checks, no limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::SinkExt;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{self, Receiver, Sender};

/// Events that a subscriber may lag behind before it loses some (which the load tool would tell).
const LAG_EVENTS_MAX: usize = 1024;
/// As many as the other servers get.
const BACKLOG: u32 = 4096;
const ANSWER: &str = "{\"status\":\"published\"}";

type Channels = Arc<Mutex<HashMap<String, Sender<Utf8Bytes>>>>;

fn main() -> std::io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(serve())
}

async fn serve() -> std::io::Result<()> {
    let channels = Channels::default();
    let service = Router::new()
        .route("/publish/{channel}", post(publish))
        .route("/ws/{channel}", get(subscribe))
        .with_state(channels);
    let listener = listen()?;
    let mut stop = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        stop.recv().await;
        // Not by the signal: a build that counts where it goes writes that when it ends by itself.
        std::process::exit(0)
    });
    println!("axum listens on http://{}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let service = TowerToHyperService::new(service.clone());
        let connection =
            http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(socket), service);
        // A connection that breaks off is no news.
        tokio::spawn(async move { drop(connection.with_upgrades().await) });
    }
}

fn listen() -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    socket.listen(BACKLOG)
}

async fn publish(State(channels): State<Channels>, Path(channel): Path<String>, body: Bytes) -> Response {
    let Ok(event) = Utf8Bytes::try_from(body) else {
        return axum::http::StatusCode::BAD_REQUEST.into_response();
    };
    if let Some(sender) = channels.lock().expect("nobody panics with it").get(&channel) {
        // Without subscribers there is nobody to send to.
        let _ = sender.send(event);
    }
    ([(CONTENT_TYPE, "application/json")], ANSWER).into_response()
}

async fn subscribe(
    State(channels): State<Channels>,
    Path(channel): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let mut channels = channels.lock().expect("nobody panics with it");
    let events = channels.entry(channel).or_insert_with(|| broadcast::channel(LAG_EVENTS_MAX).0).subscribe();
    // Nothing is read from a subscriber: the load tool says nothing, and a closed socket shows in the next write.
    upgrade.on_upgrade(|socket| async move { drop(deliver(socket, events).await) })
}

/// Feeds every event that waits, then flushes once.
async fn deliver(mut socket: WebSocket, mut events: Receiver<Utf8Bytes>) -> Result<(), axum::Error> {
    loop {
        match events.recv().await {
            Ok(event) => socket.feed(Message::Text(event)).await?,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return Ok(()),
        }
        loop {
            match events.try_recv() {
                Ok(event) => socket.feed(Message::Text(event)).await?,
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        socket.flush().await?;
    }
}
