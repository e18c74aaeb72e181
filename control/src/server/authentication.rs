//! Whose tokens a control node believes: the cluster's own, and those of a file.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use apiserver::{Authentication, StaticTokens, TokenIssuer, TokenKeys};

use crate::cli::AuthenticationArgs;

/// `pki` is the folder of the certificates: the key is there unless a flag says otherwise.
pub(super) fn authentication(
    args: &AuthenticationArgs,
    pki: &Path,
    api_listen: SocketAddr,
) -> Result<Authentication> {
    let file = args.service_account_key_file.clone();
    let file = file.unwrap_or_else(|| pki.join(crate::pki::SERVICE_ACCOUNT_KEY));
    let keys = read(&file).context(
        "no key for the tokens of service accounts: copy it from another server of the cluster, or make it with --init",
    )?;
    let keys = TokenKeys::from_pem(&keys).with_context(|| format!("{} is unusable", file.display()))?;
    let issuer = args.service_account_issuer.clone();
    let audiences = match args.api_audiences.as_slice() {
        [] => vec![issuer.clone()],
        named => named.to_vec(),
    };
    let jwks_uri = args.service_account_jwks_uri.clone();
    let jwks_uri = jwks_uri.unwrap_or_else(|| format!("https://{api_listen}/openid/v1/jwks"));
    let static_tokens = match &args.token_auth_file {
        Some(file) => StaticTokens::parse(&read(file)?)
            .with_context(|| format!("--token-auth-file {} is unusable", file.display()))?,
        None => StaticTokens::default(),
    };
    let issuer = TokenIssuer { issuer, audiences, jwks_uri, keys };
    Ok(Authentication { service_accounts: Some(issuer), static_tokens })
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}
