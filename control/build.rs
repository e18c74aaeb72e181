//! Links the program to one place in memory (`agent/design/0008-one-place-in-memory.md`).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if target_is("OS", "linux") && target_is("ENV", "gnu") {
        println!("cargo:rustc-link-arg-bin=navarch=-no-pie");
    }
}

#[expect(clippy::disallowed_methods, reason = "cargo talks to build scripts through their environment")]
fn target_is(part: &str, value: &str) -> bool {
    std::env::var(format!("CARGO_CFG_TARGET_{part}")).is_ok_and(|is| is == value)
}
