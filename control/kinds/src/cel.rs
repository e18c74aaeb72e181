//! CEL, the language of validation rules: parser, checker and evaluator, with the libraries that Kubernetes adds.
//!
//! The engine is our own because none of those at hand stops: here every step is paid from a [`Meter`], what a function
//! makes is paid before it is made, and nesting is bounded where a rule is parsed, so no rule takes a server's time,
//! memory or stack (see `design/0004-rules-in-cel.md`). Values of an object are looked at in place, through its schema.

mod ast;
mod check;
mod each;
mod equality;
mod escape;
mod evaluate;
mod functions;
mod lexer;
mod library;
mod meter;
mod operators;
mod parser;
mod types;
mod value;
mod view;

pub(crate) use meter::{Failure, Meter};
pub(crate) use types::Type;
pub(crate) use value::Val;
pub(crate) use view::{Place, type_of, view};

/// A rule that was parsed and checked.
#[derive(Debug)]
pub(crate) struct Program {
    root: ast::Expr,
    used: Vec<usize>,
}

impl Program {
    /// Parses and checks `text`, in which `variables` have a meaning. Gives the program and the type of what it gives.
    ///
    /// # Errors
    /// All that is wrong with the text, each with its place, as cel-go prints it.
    pub(crate) fn compile<'s>(
        text: &str,
        variables: &[(&str, Type<'s>)],
    ) -> Result<(Self, Type<'s>), String> {
        let mut root = parser::parse(text).map_err(|error| lexer::report(text, &[error]))?;
        let (ty, used) = check::check(&mut root, variables).map_err(|errors| lexer::report(text, &errors))?;
        Ok((Self { root, used }, ty))
    }

    /// Whether the variable of this position is read anywhere.
    pub(crate) fn reads(&self, variable: usize) -> bool {
        self.used.contains(&variable)
    }

    /// What the program gives for these values of its variables.
    ///
    /// # Errors
    /// The values do not fit, or the meter ran out.
    pub(crate) fn run<'a>(&self, variables: Vec<Val<'a>>, meter: &mut Meter) -> Result<Val<'a>, Failure> {
        evaluate::Machine { slots: variables, meter }.evaluate(&self.root)
    }
}

#[cfg(test)]
mod tests;
