//! exec, attach, port-forward and proxied connections: what a client asked the API server for, ended here.
//!
//! The server has authorized the request and passes bytes on. Which protocol they are is agreed between the
//! client and this node: SPDY/3.1, WebSocket with a channel per stream, or SPDY inside WebSocket. Behind all
//! of them is one [`Session`] of the runtime, or connections to the ports of a pod.

mod channel_format;
mod channels;
mod dial;
mod options;
mod port_channels;
mod port_forward;
mod protocol;
mod reach;
mod refusal;
mod remote_command;
pub(crate) mod spdy;
mod status;
#[cfg(test)]
mod tests;
mod websocket;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use base::Tasks;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tracing::debug;

use crate::causes::in_full;
use crate::desired::{Desired, PodKey};
use crate::runtime::{Ending, PodRuntime, Runtime, Session, Streams, Which};
use dial::PodNetwork;
use options::Options;
pub(crate) use protocol::tell_spoken;
use protocol::{PortTransport, SessionTransport};
pub(crate) use reach::Port;
pub(crate) use refusal::Refusal;
pub(crate) use status::{of_size, parse_ending};

/// After the last word, how long a client may take to hang up.
const LINGER: Duration = Duration::from_secs(10);

/// Opens sessions in this node's containers.
#[derive(Clone)]
pub struct Sessions {
    runtime: Arc<dyn Runtime>,
    desired: watch::Receiver<Arc<Desired>>,
    node_ip: Ipv4Addr,
    tasks: Tasks,
}

impl Sessions {
    /// Sessions live as long as `tasks`.
    pub fn new(
        runtime: Arc<dyn Runtime>,
        desired: watch::Receiver<Arc<Desired>>,
        node_ip: Ipv4Addr,
        tasks: Tasks,
    ) -> Self {
        Self { runtime, desired, node_ip, tasks }
    }

    /// What runs the containers.
    pub(crate) fn runtime(&self) -> Arc<dyn Runtime> {
        self.runtime.clone()
    }

    /// A new process in a container.
    ///
    /// # Errors
    /// While the client can still be told in HTTP; later, the session itself tells.
    pub(crate) async fn exec<B: Default>(
        &self,
        key: &PodKey,
        container: &str,
        request: Request<Incoming>,
    ) -> Result<Response<B>, Refusal> {
        let options = Options::parse(request.uri().query().unwrap_or_default())?;
        options.check_session()?;
        if options.command.is_empty() {
            return Err(Refusal::NoCommand);
        }
        let (_, id) = self.running(key, container).await?;
        let runtime = self.runtime.clone();
        let wanted = options.streams;
        let opening = async move {
            let opened = runtime.open_exec(&id, &options.command, wanted).await;
            opened.map_err(|error| format!("error executing command in container: {}", in_full(&error)))
        };
        self.session("exec", request, wanted, opening)
    }

    /// The streams of a container's own process.
    ///
    /// # Errors
    /// While the client can still be told in HTTP; later, the session itself tells.
    pub(crate) async fn attach<B: Default>(
        &self,
        key: &PodKey,
        container: &str,
        request: Request<Incoming>,
    ) -> Result<Response<B>, Refusal> {
        let options = Options::parse(request.uri().query().unwrap_or_default())?;
        options.check_session()?;
        let (pod, id) = self.running(key, container).await?;
        let runtime = self.runtime.clone();
        let wanted = options.streams;
        // Whether it has a terminal was decided when it was started.
        let tty = crate::pods::named(&pod, container).is_some_and(|spec| spec.tty == Some(true));
        let real = Streams { tty, stderr: wanted.stderr && !tty, ..wanted };
        let opening = async move {
            let opened = runtime.open_attach(&id, real).await;
            opened.map_err(|error| format!("error attaching to container: {}", in_full(&error)))
        };
        self.session("attach", request, wanted, opening)
    }

    /// Connections to ports of a pod.
    ///
    /// # Errors
    /// While the client can still be told in HTTP; later, each connection tells.
    pub(crate) async fn port_forward<B: Default>(
        &self,
        key: &PodKey,
        request: Request<Incoming>,
    ) -> Result<Response<B>, Refusal> {
        let options = Options::parse(request.uri().query().unwrap_or_default())?;
        let (_, running) = self.observe(key).await?;
        let sandbox = running.sandbox().filter(|sandbox| sandbox.ready).ok_or(Refusal::NotRunning)?;
        let namespace = self.runtime.network_namespace(&sandbox.id).await.map_err(Refusal::Runtime)?;
        let pod = Arc::new(PodNetwork::new(key.name.clone(), namespace));
        let agreed = protocol::for_ports(request.headers())?;
        let answer = agreed.switching();
        self.spawn("port-forward", request, move |io| async move {
            match agreed.transport {
                PortTransport::Spdy => port_forward::serve(io, pod).await,
                PortTransport::Tunnel => {
                    let (near, work) = websocket::tunnel(io);
                    let (_, tunnelled) = tokio::join!(port_forward::serve(near, pod), work);
                    if let Err(error) = tunnelled {
                        debug!(error = %in_full(&error), "a tunnel in WebSocket broke");
                    }
                }
                PortTransport::WebSocket(channels) => {
                    port_channels::serve(io, channels, options.ports, pod).await;
                }
            }
        });
        Ok(answer)
    }

    fn session<B: Default>(
        &self,
        name: &'static str,
        request: Request<Incoming>,
        wanted: Streams,
        opening: impl Future<Output = Result<Session, String>> + Send + 'static,
    ) -> Result<Response<B>, Refusal> {
        let agreed = protocol::for_session(request.headers())?;
        let answer = agreed.switching();
        self.spawn(name, request, move |io| async move {
            match agreed.transport {
                SessionTransport::Spdy => remote_command::serve(io, wanted, opening).await,
                SessionTransport::WebSocket(channels) => channels::serve(io, channels, wanted, opening).await,
            }
        });
        Ok(answer)
    }

    /// Serves what becomes of the request's connection, once the answer has been sent.
    fn spawn<F>(
        &self,
        name: &'static str,
        request: Request<Incoming>,
        serve: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send,
    {
        let stop = self.tasks.stop().clone();
        self.tasks.spawn_infallible(name, async move {
            let served = async {
                match hyper::upgrade::on(request).await {
                    Ok(io) => serve(TokioIo::new(io)).await,
                    Err(error) => debug!(error = %in_full(&error), "a session was given up"),
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = served => {}
            }
        });
    }

    /// The pod, and the runtime's id of the container, which runs.
    async fn running(&self, key: &PodKey, container: &str) -> Result<(Arc<Pod>, String), Refusal> {
        let (pod, observed) = self.observe(key).await?;
        let found = observed.newest(container).filter(|container| container.is_running());
        let found = found.ok_or_else(|| Refusal::NoContainer(container.to_owned()))?;
        Ok((pod, found.id.clone()))
    }

    async fn observe(&self, key: &PodKey) -> Result<(Arc<Pod>, PodRuntime), Refusal> {
        let pod = self.desired.borrow().pods.get(key).cloned().ok_or(Refusal::NoPod)?;
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut observed = self.runtime.observe(Which::Pod(&uid)).await.map_err(Refusal::Runtime)?;
        Ok((pod, observed.remove(&uid).unwrap_or_default()))
    }
}

/// How a session ends of which the runtime said no end.
fn hung_up() -> Ending {
    Ending::Failed("the container runtime hung up".to_owned())
}
