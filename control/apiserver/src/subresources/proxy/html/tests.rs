//! Pages as they come, whole and in pieces of every size.

use std::io::Read;

use flate2::read::MultiGzDecoder as Unpacking;
use http_body_util::BodyExt;

use super::*;
use crate::body::full;

fn links() -> Links {
    let (prefix, host, backend) = ("/p".to_owned(), "client:1".to_owned(), "10.0.0.1:80".to_owned());
    Links { prefix, host, backend }
}

/// The page rewritten, which must not depend on how it is cut.
fn rewritten(page: &str) -> String {
    let cut = |size: usize| {
        let mut to = Page { links: links(), state: State::Text, held: Vec::new(), out: Vec::new() };
        page.as_bytes().chunks(size).for_each(|piece| to.feed(piece));
        to.end();
        String::from_utf8(to.out).unwrap()
    };
    let whole = cut(page.len().max(1));
    for size in 1..page.len() {
        assert_eq!(cut(size), whole, "pieces of {size}");
    }
    whole
}

#[test]
fn links_of_tags_are_rewritten() {
    for (page, expected) in [
        (r#"<a href="/rewriteme">test</a>"#, r#"<a href="/p/rewriteme">test</a>"#),
        ("<A CLASS=x\n HREF = '/a?b=c&amp;d' >", "<A CLASS=x\n HREF = '/p/a?b=c&amp;d' >"),
        ("<img alt='a > b' src=/i.png>", "<img alt='a > b' src=/p/i.png>"),
        ("<script src=/s.js></script>", "<script src=/p/s.js></script>"),
        ("<form action='http://10.0.0.1:80/post'/>", "<form action='/p/post'/>"),
        ("<link href=\"//elsewhere/x\"><a href=rel>", "<link href=\"//elsewhere/x\"><a href=rel>"),
        ("<video src='/v' poster='/w'>", "<video src='/p/v' poster='/p/w'>"),
    ] {
        assert_eq!(rewritten(page), expected);
    }
}

#[test]
fn everything_else_stays() {
    for page in [
        "",
        "plain < text > and 1<2 & <",
        "<!doctype html><p data-href='/x' href='/x'>",
        "<!-- <a href='/x'> -- > -->",
        "<script>if (a</b/.test('</p>')) '<a href=\"/x\">'</script>",
        "<style>a:before { content: '<a href=/x>' }</STYLE>",
        "<title><a href='/x'></title>",
        "<a href='/unended",
        "</a href='/x'>",
        "<a href><a href=><a =/x>",
    ] {
        assert_eq!(rewritten(page), page);
    }
    assert_eq!(rewritten("<!-- x --><a href=/x>"), "<!-- x --><a href=/p/x>");
    assert_eq!(rewritten("<script></script><a href=/x>"), "<script></script><a href=/p/x>");
}

#[test]
fn a_tag_without_end_is_not_held() {
    let mut page = Page { links: links(), state: State::Text, held: Vec::new(), out: Vec::new() };
    for _ in 0..100 {
        page.feed(&[b"<a ".as_slice(), &[b'x'; 4096]].concat());
        assert!(page.held.len() <= TAG_BYTES_MAX + 8192, "{}", page.held.len());
    }
}

#[test]
fn a_prefix_cannot_leave_its_attribute() {
    let links = Links { prefix: "/p'onclick=x".to_owned(), ..links() };
    let mut page = Page { links, state: State::Text, held: Vec::new(), out: Vec::new() };
    page.feed(b"<a href='/x'>");
    assert_eq!(String::from_utf8(page.out).unwrap(), "<a href='/p&#39;onclick=x/x'>");
}

#[tokio::test]
async fn a_packed_page_is_packed_again() {
    let page = "<a href=/x>y</a>".repeat(10_000);
    let mut packed = gzip();
    packed.write_all(page.as_bytes()).unwrap();
    let body = full(packed.finish().unwrap());
    let sent = rewriting(body, links(), Packing::Gzip).collect().await.unwrap().to_bytes();
    let mut unpacked = String::new();
    Unpacking::new(sent.as_ref()).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, page.replace("=/x", "=/p/x"));
    assert_eq!((Packing::of("br"), Packing::of("")), (None, Some(Packing::Plain)));
}
