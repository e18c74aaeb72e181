//! Flags about who somebody is who shows a token instead of a certificate.

use std::path::PathBuf;

use clap::Args;

#[derive(Clone, Debug, Args)]
pub(crate) struct AuthenticationArgs {
    /// Who issues the tokens of service accounts: on every server of a cluster the same
    #[arg(long, value_name = "URL", default_value = "https://kubernetes.default.svc.cluster.local")]
    pub(crate) service_account_issuer: String,
    /// Keys that sign these tokens, P-256, PEM; the first signs, all are believed. On every server of a cluster the
    /// same; default: service-accounts.key in the folder of the certificates
    #[arg(long, value_name = "FILE")]
    pub(crate) service_account_key_file: Option<PathBuf>,
    /// Where others find the public keys; default: /openid/v1/jwks at --api-listen
    #[arg(long, value_name = "URL")]
    pub(crate) service_account_jwks_uri: Option<String>,
    /// Who this API is in tokens, comma-separated; default: the issuer
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) api_audiences: Vec<String>,
    /// Tokens of users: a line for each, token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    pub(crate) token_auth_file: Option<PathBuf>,
}
