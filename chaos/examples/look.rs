//! tmp
fn main() {
    for path in std::env::args().skip(1) {
        let history = match chaos::history::History::read(std::path::Path::new(&path)) {
            Ok(h) => h,
            Err(e) => {
                println!("{path}: {e}");
                continue;
            }
        };
        println!("== {path} {} lines {:?}", history.lines().len(), history.begin());
        for f in chaos::check::all(&history) {
            println!("{:?} {} checked {} inc {:?}", f.verdict(), f.property, f.checked, f.inconclusive);
            for v in f.violations.iter().take(4) {
                println!("      {} {:?}", v.what.chars().take(500).collect::<String>(), v.lines);
            }
            if f.violations.len() > 4 {
                println!("      ({} in all)", f.violations.len());
            }
        }
    }
}
