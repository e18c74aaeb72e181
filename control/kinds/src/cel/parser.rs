//! From words to a tree, macros known by name. How deep a rule nests is bounded here, for all that walks it later.

use super::ast::{Call, Each, Element, Entry, Expr, Node, Select, Verb};
use super::escape::is_reserved;
use super::lexer::{Token, Word, Wrong, words};
use super::value::Val;

/// How deep expressions may be written within each other.
const NESTING_MAX: usize = 50;
/// How deep the tree may be: `a + b + c` is three deep, `a && b && c` is two.
const DEPTH_MAX: usize = 120;

const OPERAND: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// Operators by how they bind, loosest first; all of them bind to the left.
const BINARY: &[&[(&str, &str)]] = &[
    &[
        ("<", "_<_"),
        ("<=", "_<=_"),
        (">", "_>_"),
        (">=", "_>=_"),
        ("==", "_==_"),
        ("!=", "_!=_"),
        ("in", "@in"),
    ],
    &[("+", "_+_"), ("-", "_-_")],
    &[("*", "_*_"), ("/", "_/_"), ("%", "_%_")],
];

pub(super) fn parse(text: &str) -> Result<Expr, Wrong> {
    let mut parser = Parser { text, tokens: words(text)?, next: 0, nesting: 0 };
    let expr = parser.expression()?;
    match parser.peek() {
        Word::End => Ok(expr),
        _ => parser.mismatched("<EOF>"),
    }
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    next: usize,
    nesting: usize,
}

type Parsed = Result<Expr, Wrong>;

impl Parser<'_> {
    fn token(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> &Word {
        &self.token().word
    }

    fn at(&self) -> usize {
        self.token().at
    }

    fn is(&self, sign: &str) -> bool {
        match self.peek() {
            Word::Sign(it) => *it == sign,
            Word::Name(name) => name == sign && sign == "in",
            _ => false,
        }
    }

    fn accept(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), Wrong> {
        match self.accept(sign) {
            true => Ok(()),
            false => self.mismatched(&format!("'{sign}'")),
        }
    }

    fn mismatched<T>(&self, wanted: &str) -> Result<T, Wrong> {
        let token = self.token();
        let found = match token.word {
            Word::End => "<EOF>",
            _ => &self.text[token.at..token.end],
        };
        let message = format!("Syntax error: mismatched input '{found}' expecting {wanted}");
        Err(Wrong { at: token.at, message })
    }

    fn made(&self, at: usize, node: Node) -> Parsed {
        let expr = Expr::of(at, node);
        match expr.depth > DEPTH_MAX {
            true => Err(Wrong { at, message: format!("expression nests deeper than {DEPTH_MAX}") }),
            false => Ok(expr),
        }
    }

    fn call(&self, at: usize, name: &str, target: Option<Expr>, args: Vec<Expr>) -> Parsed {
        let call = Call { name: name.to_owned(), target, args, overloads: Vec::new(), pattern: None };
        self.made(at, Node::Call(Box::new(call)))
    }

    fn expression(&mut self) -> Parsed {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            let message = format!("expression recursion limit exceeded: {NESTING_MAX}");
            return Err(Wrong { at: self.at(), message });
        }
        let condition = self.alternatives()?;
        let at = self.at();
        let expr = if self.accept("?") {
            let then = self.alternatives()?;
            self.expect(":")?;
            let otherwise = self.expression()?;
            self.made(at, Node::If(Box::new([condition, then, otherwise])))?
        } else {
            condition
        };
        self.nesting -= 1;
        Ok(expr)
    }

    fn alternatives(&mut self) -> Parsed {
        let first = self.conjunction()?;
        let at = self.at();
        let mut parts = vec![first];
        while self.accept("||") {
            parts.push(self.conjunction()?);
        }
        self.joined(at, parts, Node::Or)
    }

    fn conjunction(&mut self) -> Parsed {
        let first = self.binary(0)?;
        let at = self.at();
        let mut parts = vec![first];
        while self.accept("&&") {
            parts.push(self.binary(0)?);
        }
        self.joined(at, parts, Node::And)
    }

    fn joined(&self, at: usize, mut parts: Vec<Expr>, node: fn(Vec<Expr>) -> Node) -> Parsed {
        match parts.pop() {
            Some(only) if parts.is_empty() => Ok(only),
            last => {
                parts.extend(last);
                self.made(at, node(parts))
            }
        }
    }

    fn binary(&mut self, level: usize) -> Parsed {
        let Some(operators) = BINARY.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some((sign, name)) = operators.iter().find(|(sign, _)| self.is(sign)) {
            let at = self.at();
            self.accept(sign);
            let right = self.binary(level + 1)?;
            left = self.call(at, name, None, vec![left, right])?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let at = self.at();
        for (sign, name) in [("!", "!_"), ("-", "-_")] {
            let mut count = 0;
            while self.is(sign) && !(sign == "-" && count == 0 && self.is_negative_number()) {
                self.next += 1;
                count += 1;
            }
            if count > 0 {
                let operand = self.member()?;
                // Twice is not at all.
                return match count % 2 {
                    0 => Ok(operand),
                    _ => self.call(at, name, None, vec![operand]),
                };
            }
        }
        self.member()
    }

    /// `-` right before a number is the number's.
    fn is_negative_number(&self) -> bool {
        let next = self.tokens.get(self.next + 1);
        next.is_some_and(|token| matches!(token.word, Word::Int(_) | Word::Double(_)))
    }

    fn member(&mut self) -> Parsed {
        let mut expr = self.primary()?;
        loop {
            let at = self.at();
            if self.accept(".") {
                let is_optional = self.accept("?");
                let field = self.field()?;
                // A call stands where its parenthesis does.
                let open = self.at();
                expr = if !is_optional && self.accept("(") {
                    let args = self.arguments(")")?;
                    self.method(open, expr, field, args)?
                } else {
                    let select = Select { from: expr, field, is_optional, is_test: false };
                    self.made(at, Node::Select(Box::new(select)))?
                };
            } else if self.accept("[") {
                let is_optional = self.accept("?");
                let key = self.expression()?;
                self.expect("]")?;
                expr = self.call(at, if is_optional { "_[?_]" } else { "_[_]" }, None, vec![expr, key])?;
            } else {
                return Ok(expr);
            }
        }
    }

    fn field(&mut self) -> Result<String, Wrong> {
        match self.peek().clone() {
            Word::Name(name) if !matches!(name.as_str(), "true" | "false" | "null" | "in") => {
                self.next += 1;
                Ok(name)
            }
            _ => self.mismatched("IDENTIFIER"),
        }
    }

    fn arguments(&mut self, close: &str) -> Result<Vec<Expr>, Wrong> {
        let mut args = Vec::new();
        while !self.accept(close) {
            args.push(self.expression()?);
            if !self.accept(",") {
                self.expect(close)?;
                break;
            }
        }
        Ok(args)
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        let word = self.peek().clone();
        self.next += 1;
        let literal = |value: Val<'static>| Ok(Expr::of(at, Node::Literal(value)));
        match word {
            Word::Int(number) => match i64::try_from(number) {
                Ok(number) => literal(Val::Int(number)),
                Err(_) => Err(Wrong { at, message: "Syntax error: invalid int literal".to_owned() }),
            },
            Word::Uint(number) => literal(Val::Uint(number)),
            Word::Double(number) => literal(Val::Double(number)),
            Word::Text(text) => literal(Val::text(text)),
            Word::Bytes(bytes) => literal(Val::Bytes(bytes.into())),
            Word::Name(name) => self.named(at, name),
            Word::Sign("-") => self.negative(at),
            Word::Sign("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Word::Sign("[") => self.list(at),
            Word::Sign("{") => self.map(at),
            // A leading dot means the outermost name, of which there is no other here.
            Word::Sign(".") => {
                let name = self.field()?;
                self.named(at, name)
            }
            Word::Sign(_) | Word::End => {
                self.next -= 1;
                self.mismatched(OPERAND)
            }
        }
    }

    fn negative(&mut self, at: usize) -> Parsed {
        let word = self.peek().clone();
        let value = match word {
            Word::Int(number) => match 0_i64.checked_sub_unsigned(number) {
                Some(number) => Val::Int(number),
                None => return Err(Wrong { at, message: "Syntax error: invalid int literal".to_owned() }),
            },
            Word::Double(number) => Val::Double(-number),
            _ => {
                self.next -= 1;
                return self.mismatched(OPERAND);
            }
        };
        self.next += 1;
        Ok(Expr::of(at, Node::Literal(value)))
    }

    fn named(&mut self, at: usize, name: String) -> Parsed {
        match name.as_str() {
            "true" => return Ok(Expr::of(at, Node::Literal(Val::Bool(true)))),
            "false" => return Ok(Expr::of(at, Node::Literal(Val::Bool(false)))),
            "null" => return Ok(Expr::of(at, Node::Literal(Val::Null))),
            "in" => {
                self.next -= 1;
                return self.mismatched(OPERAND);
            }
            name if is_reserved(name) => {
                return Err(Wrong { at, message: format!("reserved identifier: {name}") });
            }
            _ => {}
        }
        let open = self.at();
        if !self.accept("(") {
            return Ok(Expr::of(at, Node::Name(name)));
        }
        let mut args = self.arguments(")")?;
        if name == "has" && args.len() == 1 {
            return match args.pop() {
                Some(Expr { node: Node::Select(mut select), .. }) => {
                    select.is_test = true;
                    self.made(open, Node::Select(select))
                }
                arg => {
                    let at = arg.map_or(at, |arg| arg.at);
                    Err(Wrong { at, message: "invalid argument to has() macro".to_owned() })
                }
            };
        }
        self.call(open, &name, None, args)
    }

    /// A call of a method, or a macro.
    fn method(&self, at: usize, over: Expr, name: String, mut args: Vec<Expr>) -> Parsed {
        let Some((verb, names, has_filter)) = macro_of(&name, args.len()) else {
            return self.call(at, &name, Some(over), args);
        };
        let rest = args.split_off(names);
        let mut simple = Vec::new();
        for arg in args {
            match arg.node {
                Node::Name(name) => simple.push(name),
                _ => return Err(Wrong { at: arg.at, message: "argument must be a simple name".to_owned() }),
            }
        }
        let mut rest = rest.into_iter();
        let filter = if has_filter { rest.next() } else { None };
        match rest.next() {
            Some(body) => {
                self.made(at, Node::Each(Box::new(Each { verb, over, names: simple, filter, body })))
            }
            None => Err(Wrong { at, message: format!("invalid arguments to {name}() macro") }),
        }
    }

    fn list(&mut self, at: usize) -> Parsed {
        let mut elements = Vec::new();
        while !self.accept("]") {
            let is_optional = self.accept("?");
            elements.push(Element { value: self.expression()?, is_optional });
            if !self.accept(",") {
                self.expect("]")?;
                break;
            }
        }
        self.made(at, Node::List(elements))
    }

    fn map(&mut self, at: usize) -> Parsed {
        let mut entries = Vec::new();
        while !self.accept("}") {
            let is_optional = self.accept("?");
            let key = self.expression()?;
            self.expect(":")?;
            entries.push(Entry { key, value: self.expression()?, is_optional });
            if !self.accept(",") {
                self.expect("}")?;
                break;
            }
        }
        self.made(at, Node::Map(entries))
    }
}

/// Which macro a call with so many arguments is, how many of them are names, and whether a filter follows these.
fn macro_of(name: &str, args: usize) -> Option<(Verb, usize, bool)> {
    match (name, args) {
        ("all", 2 | 3) => Some((Verb::All, args - 1, false)),
        ("exists", 2 | 3) => Some((Verb::Exists, args - 1, false)),
        ("exists_one" | "existsOne", 2 | 3) => Some((Verb::ExistsOne, args - 1, false)),
        ("filter", 2) => Some((Verb::Filter, 1, false)),
        ("map", 2 | 3) => Some((Verb::Map, 1, args == 3)),
        ("transformList", 3 | 4) => Some((Verb::Map, 2, args == 4)),
        ("transformMap", 3 | 4) => Some((Verb::TransformMap, 2, args == 4)),
        ("transformMapEntry", 3 | 4) => Some((Verb::TransformMapEntry, 2, args == 4)),
        ("sortBy", 2) => Some((Verb::SortBy, 1, false)),
        ("optMap", 2) => Some((Verb::OptMap, 1, false)),
        ("optFlatMap", 2) => Some((Verb::OptFlatMap, 1, false)),
        (_, _) => None,
    }
}
