//! What is served below a named object. The kind's entry says which handler serves a subresource.

use kinds::{Serves, Subresource, Verb};

use crate::reply::Reply;
use crate::server::Call;
use crate::status::Status;
use crate::verbs::write::Part;
use crate::verbs::{get, patch, update};

mod binding;
mod connect;
mod eviction;
mod finalize;
mod log;
mod proxy;
mod scale;
mod token;

pub(crate) use connect::{Connecting, connect};
pub(crate) use proxy::{Proxying, proxy};

pub(crate) async fn serve(
    call: &Call<'_>,
    subresource: &'static Subresource,
    verb: Verb,
) -> Result<Reply, Status> {
    if call.path.name.is_none() {
        return Err(Status::no_such_resource());
    }
    match (&subresource.serves, verb) {
        (Serves::Status | Serves::View(_) | Serves::Finalize, Verb::Get) => get::get(call).await,
        (Serves::Status, Verb::Update) => update::put(call, Part::Status).await,
        (Serves::Status, Verb::Patch) => patch::patch_part(call, Part::Status).await,
        (Serves::View(view), Verb::Update) => update::put(call, Part::View(view)).await,
        (Serves::View(view), Verb::Patch) => patch::patch_part(call, Part::View(view)).await,
        (Serves::Scale(scale), Verb::Get) => scale::get(call, scale).await,
        (Serves::Scale(scale), Verb::Update) => scale::update(call, scale).await,
        (Serves::Scale(scale), Verb::Patch) => scale::patch(call, scale).await,
        (Serves::Finalize, Verb::Update) => finalize::update(call).await,
        (Serves::Binding, Verb::Create) => binding::create(call).await,
        (Serves::Eviction, Verb::Create) => eviction::create(call).await,
        (Serves::Log, Verb::Get) => log::get(call).await,
        (Serves::Token, Verb::Create) => token::create(call).await,
        (
            Serves::Status
            | Serves::View(_)
            | Serves::Scale(_)
            | Serves::Finalize
            | Serves::Binding
            | Serves::Eviction
            | Serves::Log
            | Serves::Token
            // Not answered, but connected or passed on: see [`connect`] and [`proxy`].
            | Serves::Connect(_)
            | Serves::Proxy(_),
            _,
        ) => Err(Status::method_not_allowed()),
    }
}
