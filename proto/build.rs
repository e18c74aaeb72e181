//! Generates the Rust code for every .proto file with protox: no protoc is needed.

use std::error::Error;

const FILES: &[&str] = &[
    "proto/agent.proto",
    "proto/auth.proto",
    "proto/cri.proto",
    "proto/etcd.proto",
    "proto/health.proto",
    "proto/mvcc.proto",
    "proto/peer.proto",
    "proto/replica.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::SizedCodec")
        .compile_fds(descriptors)?;
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    Ok(())
}
