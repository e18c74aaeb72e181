//! Users on three nodes: what one member acknowledged counts on every other.

use super::cluster::Trio;
use crate::mvcc::auth::change::AuthChange;
use crate::mvcc::auth::{Access, Permission};
use crate::store::caller::{Caller, Proof};
use crate::{AuthError, Op, Put, Range, Span, Store, StoreError, Txn};

fn as_alice(store: &Store) -> Store {
    store.on_behalf_of(Caller::client("alice".to_owned(), Proof::Certificate))
}

async fn grant(store: &Store, access: Access) {
    let permission = Permission { span: Span::prefix("app/"), access };
    store.change_auth(AuthChange::RoleGrant { name: "r".to_owned(), permission }).await.unwrap();
}

async fn found(store: &Store) {
    let own = str::to_owned;
    for change in [
        AuthChange::UserAdd { name: own("root"), password: None },
        AuthChange::UserGrant { name: own("root"), role: own("root") },
        AuthChange::UserAdd { name: own("alice"), password: None },
        AuthChange::RoleAdd { name: own("r") },
        AuthChange::UserGrant { name: own("alice"), role: own("r") },
    ] {
        store.change_auth(change).await.unwrap();
    }
    store.auth_enable().await.unwrap();
}

async fn write(store: &Store) -> Result<(), StoreError> {
    store.txn(Txn::of(Op::Put(Put::of("app/1", "v")))).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_permissions_counts_on_every_member_once_it_is_acknowledged() {
    let trio = Trio::start().await;
    let stores: Vec<Store> = trio.members.values().map(|member| member.store.clone()).collect();
    found(&stores[0]).await;
    for store in &stores {
        // One that has not heard that auth is on takes a client for nobody, who is refused in other words.
        store.read_barrier().await.unwrap();
    }
    let denied = Err(StoreError::Auth(AuthError::PermissionDenied));
    for (at, other) in [(0, 1), (1, 2), (2, 0)] {
        let alice = as_alice(&stores[other]);
        assert_eq!(write(&alice).await, denied);
        grant(&stores[at], Access::ReadWrite).await;
        assert_eq!(write(&alice).await, Ok(()));
        assert!(alice.range(Range::key("app/1")).await.is_ok());
        assert!(alice.range(Range::prefix("ap")).await.is_err());
        grant(&stores[at], Access::Write).await;
        assert_eq!(
            alice.range(Range::key("app/1")).await,
            Err(StoreError::Auth(AuthError::PermissionDenied))
        );
        let span = Span::prefix("app/");
        stores[at].change_auth(AuthChange::RoleRevoke { name: "r".to_owned(), span }).await.unwrap();
    }
    // The process itself needs no permission, a client without a name gets none.
    assert_eq!(write(&stores[0]).await, Ok(()));
    let nobody = stores[1].on_behalf_of(Caller::Anonymous);
    assert_eq!(write(&nobody).await, Err(StoreError::Auth(AuthError::UserEmpty)));
    assert_eq!(nobody.range(Range::key("app/1")).await, Err(StoreError::Auth(AuthError::UserEmpty)));
    trio.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_member_is_good_on_all() {
    let trio = Trio::start().await;
    let stores: Vec<Store> = trio.members.values().map(|member| member.store.clone()).collect();
    found(&stores[0]).await;
    stores[0].user_add("bob".to_owned(), Some("pw".to_owned())).await.unwrap();
    let text = stores[1].authenticate("bob", "pw".to_owned()).await.unwrap();
    assert!(stores[1].authenticate("bob", "no".to_owned()).await.is_err());
    assert!(stores[1].authenticate("nobody", "pw".to_owned()).await.is_err());
    for store in &stores {
        store.read_barrier().await.unwrap();
        assert_eq!(store.token(&text).expect("a good token").user, "bob");
    }
    stores[2].user_password("bob".to_owned(), "other".to_owned()).await.unwrap();
    for store in &stores {
        store.read_barrier().await.unwrap();
        assert_eq!(store.token(&text), None);
    }
    trio.agree().await;
}
