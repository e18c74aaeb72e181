//! The `navarch` binary: reads the command line, wires the rooms together, runs one role.

mod chaos;
mod cli;
mod config;
mod gateway;
mod local;
mod member;
mod node;
mod pki;
mod recover;
mod server;
mod signals;
mod snapshot;
mod telemetry;
mod tls;
mod transport;

use std::ffi::OsString;
use std::io::Read as _;
use std::process::ExitCode;
use std::sync::Arc;

use agent::cni::CniEnvironment;
use anyhow::{Context, Result};
use base::{SystemClock, SystemEntropy};
use clap::Parser;

use cli::{Cli, Command};

/// The C library's gives memory back late, and is slow where threads free what others have allocated.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    // Before there is a second thread: these two make and enter namespaces.
    match arguments.next() {
        Some(first) if first == agent::shim::COMMAND => {
            return agent::shim::run(&arguments.collect::<Vec<_>>());
        }
        Some(first) if first == agent::container::COMMAND => {
            return agent::container::become_process(&arguments.collect::<Vec<_>>());
        }
        Some(_) | None => {}
    }
    let plugin = plugin_environment();
    if !plugin.command.is_empty() {
        return run_plugin(&plugin);
    }
    match run(std::env::args_os().collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("navarch: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<OsString>) -> Result<ExitCode> {
    let cli = Cli::parse_from(config::with_config_file(arguments)?);
    // Before there is a second thread: an agent may have to enter its network namespace, chaos makes its own.
    match &cli.command {
        Command::Agent(args) => node::enter_namespace(args)?,
        Command::Chaos(args) => {
            if let Err(error) = chaos::enter_namespaces(args) {
                return Ok(chaos::harness_error(&error));
            }
        }
        Command::Up(_)
        | Command::Down(_)
        | Command::Member(_)
        | Command::Status(_)
        | Command::Server(_)
        | Command::Snapshot(_)
        | Command::Recover(_) => {}
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        match cli.command {
            Command::Up(args) => local::up::run(&args, Arc::new(SystemClock)).await,
            Command::Down(args) => local::down::run(&args).await,
            Command::Member(args) => member::run(&args).await,
            Command::Status(args) => local::status::run(&args).await,
            Command::Server(args) => server::run(*args).await,
            Command::Agent(args) => node::run(*args).await,
            Command::Snapshot(args) => snapshot::run(&args),
            Command::Recover(args) => {
                let (answers, out) = (&mut std::io::stdin().lock(), &mut std::io::stdout());
                recover::run(&args, &SystemClock, &SystemEntropy, answers, out)
            }
            Command::Chaos(args) => return Ok(chaos::run(&args).await),
        }
        .map(|()| ExitCode::SUCCESS)
    })
}

/// containerd starts this program as its network plugin; the environment says so.
fn plugin_environment() -> CniEnvironment {
    let program = std::env::args().next().unwrap_or_default();
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    CniEnvironment::from_variables(&program, variables)
}

fn run_plugin(environment: &CniEnvironment) -> ExitCode {
    let mut configuration = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut configuration) {
        eprintln!("navarch: cannot read the network configuration: {error}");
        return ExitCode::FAILURE;
    }
    let output = agent::cni::run(environment, &configuration);
    println!("{}", output.stdout);
    ExitCode::from(output.exit_code)
}
