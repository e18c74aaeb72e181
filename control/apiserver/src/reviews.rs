//! POST of a question: who may what, who am I, and whose is this token. The answer is the question with a status; nothing is stored.

use std::collections::BTreeMap;

use kinds::{Review, tree};
use serde_json::{Map, Value, json};

use crate::chain::authn::{Identity, Refusal};
use crate::chain::authz::book::Grant;
use crate::chain::authz::{Asked, Attributes, Resource};
use crate::decode::{Expected, decode};
use crate::query::WriteOptions;
use crate::reply::{Content, Reply};
use crate::server::Call;
use crate::status::Status;
use crate::verbs::create::settle_namespace;

pub(crate) async fn answer(call: &Call<'_>, review: Review) -> Result<Reply, Status> {
    let options = WriteOptions::parse(call.query, "CreateOptions")?;
    let mut question = decode(call, Expected::object(call.kind), options.field_validation)?;
    settle_namespace(call, &mut question)?;
    let errors = (call.kind.strategy.validate_create)(&question);
    errors.into_result().map_err(|errors| Status::invalid(call.kind, "", &errors))?;
    let spec = tree::get(&question, "spec");
    let status = match review {
        Review::OwnAccess => access(call, call.who, spec).await?,
        Review::Access => access(call, &subject(spec), spec).await?,
        Review::OwnRules => rules(call, tree::text(spec, "namespace")).await?,
        Review::OwnIdentity => json!({"userInfo": user_info(call.who)}),
        Review::Token => token(call, spec).await?,
    };
    tree::set(&mut question, "status", status);
    Ok(Reply::created(Content::Json(question)))
}

/// Whose a token is.
async fn token(call: &Call<'_>, spec: &Value) -> Result<Value, Status> {
    let token = tree::text(spec, "token");
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    match call.server.authenticator.authenticate(token, &texts(tree::get(spec, "audiences"))).await {
        Ok(found) => {
            let mut status = json!({"authenticated": true, "user": user_info(&found.who)});
            if !found.audiences.is_empty() {
                status["audiences"] = json!(found.audiences);
            }
            Ok(status)
        }
        Err(Refusal::Invalid(why)) => Ok(json!({"user": {}, "error": why})),
        Err(Refusal::Away(status)) => Err(status),
    }
}

async fn access(call: &Call<'_>, who: &Identity, spec: &Value) -> Result<Value, Status> {
    let decision = call.server.authorizer.decide(who, &attributes(spec)).await?;
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    Ok(status)
}

fn attributes(spec: &Value) -> Attributes<'_> {
    let of = tree::get(spec, "resourceAttributes");
    if of.is_null() {
        let of = tree::get(spec, "nonResourceAttributes");
        return Attributes { verb: tree::text(of, "verb"), asked: Asked::Path(tree::text(of, "path")) };
    }
    let resource = Resource {
        group: tree::text(of, "group"),
        resource: tree::text(of, "resource"),
        subresource: tree::text(of, "subresource"),
        namespace: tree::text(of, "namespace"),
        name: tree::text(of, "name"),
        node: "",
    };
    Attributes { verb: tree::text(of, "verb"), asked: Asked::Resource(resource) }
}

fn subject(spec: &Value) -> Identity {
    let extra = tree::map(spec, "extra").into_iter().flatten();
    Identity {
        user: tree::text(spec, "user").to_owned(),
        uid: tree::text(spec, "uid").to_owned(),
        groups: texts(tree::get(spec, "groups")),
        extra: extra.map(|(key, values)| (key.clone(), texts(values))).collect::<BTreeMap<_, _>>(),
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
}

/// All rules that count for the sender in `namespace`.
async fn rules(call: &Call<'_>, namespace: &str) -> Result<Value, Status> {
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let roles = call.server.authorizer.roles().await?;
    let grants: Vec<&Grant> = roles.grants(call.who, namespace).collect();
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    for rule in grants.iter().flat_map(|grant| grant.rules()) {
        match rule.paths.is_empty() {
            true => resources.push(rule.to_json()),
            false => paths.push(rule.to_json()),
        }
    }
    // What a node may depends on its pods, which no rule tells.
    let is_node = call.who.node().is_some();
    let mut status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": is_node});
    let own = is_node.then(|| "node authorizer does not support user rule resolution".to_owned());
    let complaints: Vec<String> =
        own.into_iter().chain(grants.iter().filter_map(|grant| grant.complaint())).collect();
    if !complaints.is_empty() {
        status["evaluationError"] = complaints.join(", ").into();
    }
    Ok(status)
}

pub(crate) fn user_info(who: &Identity) -> Value {
    let mut info = Map::new();
    info.insert("username".to_owned(), json!(who.user));
    if !who.uid.is_empty() {
        info.insert("uid".to_owned(), json!(who.uid));
    }
    info.insert("groups".to_owned(), json!(who.groups));
    if !who.extra.is_empty() {
        info.insert("extra".to_owned(), json!(who.extra));
    }
    Value::Object(info)
}
