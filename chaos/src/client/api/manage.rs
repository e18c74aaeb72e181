//! What is asked of an API server beside a run, and is no part of its history: who it is, and a namespace to work in.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, header};
use http_body_util::Full;
use serde_json::Value;
use thiserror::Error;

use super::{ApiTarget, JSON, Unanswered, request_to, send};

/// How long one question may take.
const ASK_MAX: Duration = Duration::from_secs(5);

/// Why there is no answer that one could use.
#[derive(Debug, Error)]
pub enum Refusal {
    #[error("{authority} cannot be reached: {why}")]
    Unreached { authority: String, why: String },
    #[error("{authority} has not answered within {ASK_MAX:?}")]
    Silent { authority: String },
    #[error("{authority} does not answer: {why}")]
    Broken { authority: String, why: String },
    /// With the server's own words.
    #[error("{message} ({status})")]
    Refused { status: u16, message: String },
}

impl Refusal {
    /// Whether the server says that there is no such thing.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether the server does not know who asks.
    pub const fn is_unauthenticated(&self) -> bool {
        matches!(self, Self::Refused { status: 401, .. })
    }

    /// Whether who asks may not.
    pub const fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused { status: 403, .. })
    }
}

impl ApiTarget {
    /// # Errors
    /// As [`Refusal`] says.
    pub async fn get(&self, path: &str) -> Result<Value, Refusal> {
        self.manage(Method::GET, path, None).await
    }

    /// # Errors
    /// As [`Refusal`] says.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        self.manage(Method::POST, path, Some(body)).await
    }

    /// # Errors
    /// As [`Refusal`] says.
    pub async fn delete(&self, path: &str) -> Result<Value, Refusal> {
        self.manage(Method::DELETE, path, None).await
    }

    async fn manage(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Refusal> {
        let authority = self.authority.clone();
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let asked = request_to(self, method, path).header(header::CONTENT_TYPE, JSON).body(Full::new(body));
        let asked = match asked {
            Ok(asked) => asked,
            Err(error) => return Err(Refusal::Broken { authority, why: error.to_string() }),
        };
        let (status, body) = match tokio::time::timeout(ASK_MAX, send(self, asked)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(Unanswered::Unsent(why))) => return Err(Refusal::Unreached { authority, why }),
            Ok(Err(Unanswered::Broken(why))) => return Err(Refusal::Broken { authority, why }),
            Err(_) => return Err(Refusal::Silent { authority }),
        };
        let answer = serde_json::from_slice::<Value>(&body);
        match (status, answer) {
            (200..300, Ok(answer)) => Ok(answer),
            (200..300, Err(_)) => Err(Refusal::Broken { authority, why: "it answers no JSON".to_owned() }),
            (_, answer) => {
                let message = answer.ok().and_then(|answer| Some(answer["message"].as_str()?.to_owned()));
                let message = message.unwrap_or_else(|| "the server refuses".to_owned());
                Err(Refusal::Refused { status, message })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::client::Identity;

    /// Asks a server that answers with this.
    async fn asked(answer: &str) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let nobody =
            Identity { ca_pem: String::new(), certificate_pem: String::new(), key_pem: String::new() };
        let target = ApiTarget::new("n1", &url, &nobody).unwrap().with_token("secret");
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            assert!(String::from_utf8_lossy(&request[..read]).contains("authorization: Bearer secret"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (answered, ()) = tokio::join!(target.get("/version"), serve);
        match answered {
            Ok(answer) => answer.to_string(),
            Err(refusal) => refusal.to_string().replace(&target.authority, "there"),
        }
    }

    #[tokio::test]
    async fn what_a_server_says_is_understood() {
        let with = |status: &str, body: &str| {
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        };
        assert_eq!(asked(&with("200 OK", r#"{"a":1}"#)).await, r#"{"a":1}"#);
        assert_eq!(asked(&with("403 Forbidden", r#"{"message":"you may not"}"#)).await, "you may not (403)");
        assert_eq!(asked(&with("502 Bad Gateway", "<html>")).await, "the server refuses (502)");
        assert_eq!(asked(&with("200 OK", "<html>")).await, "there does not answer: it answers no JSON");
        assert!(asked("").await.starts_with("there does not answer"));
    }
}
