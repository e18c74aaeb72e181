//! Text of HTML and SVG as it grows: numbers with few digits, text that cannot break out.

use std::fmt::{self, Write as _};

/// A document's text.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// `markup.put(format_args!(…))`; texts that come from outside go in as `Text`.
    pub(super) fn put(&mut self, piece: fmt::Arguments<'_>) {
        let _infallible = self.0.write_fmt(piece);
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// Shown as it is, whatever is in it; also as the value of an attribute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '&' => out.write_str("&amp;")?,
                '"' => out.write_str("&quot;")?,
                '\'' => out.write_str("&#39;")?,
                // Not allowed in XML, not even as a reference.
                control if control.is_control() && !matches!(control, '\n' | '\t') => {
                    out.write_str("\u{fffd}")?
                }
                other => out.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A place in a picture, to a tenth of a unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct At(pub(super) f64);

impl fmt::Display for At {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10.0).round() as i64;
        if tenths % 10 == 0 {
            write!(out, "{}", tenths / 10)
        } else {
            write!(out, "{}", tenths as f64 / 10.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn text_cannot_break_out() {
        let mut markup = Markup::default();
        markup.put(format_args!("<b title=\"{}\">{}</b>", Text("a\"b"), Text("</b><script> & 'x' \u{1}")));
        expect![[r#"<b title="a&quot;b">&lt;/b&gt;&lt;script&gt; &amp; &#39;x&#39; �</b>"#]]
            .assert_eq(&markup.into_string());
    }

    #[test]
    fn places_have_one_digit() {
        expect!["10 0.1 -2.5 33.3"].assert_eq(&format!(
            "{} {} {} {}",
            At(10.0),
            At(0.06),
            At(-2.5),
            At(100.0 / 3.0)
        ));
    }
}
