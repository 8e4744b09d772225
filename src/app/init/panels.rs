//! The metrics and the rule of a proposal.

use std::fmt::Write;

use super::guess::Guess;
use super::written::text;
use crate::source::propose::words::SUMMED;
use crate::source::propose::{Column, slug};

/// Most groups of a quantity that is grouped by two attributes.
const GROUPS_MAX: usize = 24;

/// Names that say little without what they are of.
const GENERAL: [&str; 6] = ["name", "id", "type", "code", "value", "key"];

/// Windows that hold some events each.
pub(super) struct Scale {
    pub step: &'static str,
    pub long: &'static str,
    pub keep: &'static str,
}

/// One `[[metric]]`.
struct Panel {
    name: String,
    title: String,
    keys: Vec<(&'static str, String)>,
}

/// Writes metrics and a rule.
pub(super) fn metrics(guess: &Guess<'_>, scale: Scale, out: &mut String) -> std::fmt::Result {
    let mut panels = Panels { guess, scale, all: Vec::new() };
    panels.events();
    panels.failures();
    panels.visits();
    panels.quantities();
    panels.groups();
    for Panel { name, title, keys } in &panels.all {
        let why = guess.fails.as_ref().filter(|_| name == "failures");
        let doubt = why.map(|fails| format!("# ? What fails, {}.\n", fails.why));
        writeln!(out, "\n{}[[metric]]", doubt.unwrap_or_default())?;
        writeln!(out, "name = {}\ntitle = {}", text(name), text(title))?;
        for (key, value) in keys {
            writeln!(out, "{key} = {value}")?;
        }
    }
    rule(guess, out)
}

fn rule(guess: &Guess<'_>, out: &mut String) -> std::fmt::Result {
    let (metric, side, severity) = match guess.fails {
        Some(_) => ("failures", "above", "critical"),
        None => ("events", "both", "warning"),
    };
    writeln!(
        out,
        "\n# Says when that is not what it was before. `tidewatch dry-run unusual --vary k=4..8` tries it on\n\
         # events of the past.\n\
         [[rule]]\nname = \"unusual\"\ntitle = \"Unusual {metric}\"\nmetric = \"{metric}\"\n\
         detect = \"robust\"\nside = \"{side}\"\nseverity = \"{severity}\""
    )
}

struct Panels<'g, 's> {
    guess: &'g Guess<'s>,
    scale: Scale,
    all: Vec<Panel>,
}

impl Panels<'_, '_> {
    fn add<const N: usize>(&mut self, name: &str, title: &str, keys: [(&'static str, String); N]) {
        let taken = |name: &str| self.all.iter().any(|panel| panel.name == name);
        let mut name = if name.is_empty() { "metric".to_owned() } else { name.to_owned() };
        if taken(&name) {
            let numbered = |n: usize| format!("{name}_{n}");
            name = (2..).map(numbered).find(|name| !taken(name)).expect("numbers do not end");
        }
        self.all.push(Panel { name, title: title.to_owned(), keys: keys.to_vec() });
    }

    fn tumbling(&self) -> (&'static str, String) {
        ("window", format!("{{ tumbling = {} }}", text(self.scale.step)))
    }

    fn hopping(&self) -> (&'static str, String) {
        let (long, step) = (text(self.scale.long), text(self.scale.step));
        ("window", format!("{{ hopping = {long}, slide = {step} }}"))
    }

    fn kept(&self) -> (&'static str, String) {
        ("keep", text(self.scale.keep))
    }

    /// What it is called where it comes from, for a title.
    fn said(&self, column: &Column) -> String {
        super::written::said(&column.title)
    }

    /// An attribute's name as part of a metric's.
    fn named(&self, before: &str, column: &Column) -> String {
        let mut path = column.title.rsplit('.').map(slug).filter(|slug| !slug.is_empty());
        let (leaf, holder) = (path.next().unwrap_or_else(|| "attribute".into()), path.next());
        // "repo.name" is the name of a repo.
        let holder = holder.filter(|_| GENERAL.contains(&&*leaf));
        let holder = holder.map(|holder| format!("{holder}_")).unwrap_or_default();
        format!("{before}{holder}{leaf}")
    }

    fn events(&mut self) {
        let count = aggregate("count");
        self.add("events", "Events", [count.clone(), self.tumbling(), self.kept()]);
        if let Some(column) = self.guess.column(self.guess.roles.kind)
            && self.guess.kinds.len() > 1
        {
            let by = ("group_by", "[\"type\"]".to_owned());
            let title = format!("Events by {}", self.said(column));
            self.add("by_type", &title, [count, by, limit(50), self.tumbling(), self.kept()]);
        }
    }

    fn failures(&mut self) {
        let Some(fails) = &self.guess.fails else { return };
        let failing = ("where", fails.condition.clone());
        let share = ("numerator", fails.condition.clone());
        self.add(
            "failures",
            "Failures",
            [failing, aggregate("count"), self.tumbling(), self.kept()],
        );
        let unit = word("unit", "ratio");
        let keys = [aggregate("ratio"), share, self.hopping(), self.kept(), unit];
        self.add("failing", "Share that fails", keys);
    }

    /// Who comes, and where visits end. The page has places of their own for a shop's.
    fn visits(&mut self) {
        let Some(key) = self.guess.column(self.guess.roles.key) else { return };
        let keys = [aggregate("distinct"), self.hopping(), self.kept()];
        if self.guess.funnel.is_none() {
            let title = format!("Different {}", self.said(key));
            return self.add("different_keys", &title, keys);
        }
        self.add("unique_visitors", "Visitors", keys);
        let outcome = ("where", "{ outcome = [\"abandoned\", \"converted\"] }".to_owned());
        let part = ("numerator", "{ outcome = \"abandoned\" }".to_owned());
        let of = word("of", "sessions");
        let keys = [of, outcome, aggregate("ratio"), part, self.hopping(), self.kept()];
        self.add("abandonment_rate", "Abandonment rate", keys);
        let step = ("group_by", "[\"step\"]".to_owned());
        let of = word("of", "live_sessions");
        let keys = [of, aggregate("count"), step, limit(16)];
        self.add("sessions_by_step", "Open sessions by step", keys);
    }

    fn quantities(&mut self) {
        let guess = self.guess;
        if let Some(column) = guess.column(guess.roles.amount) {
            let title = self.said(column);
            let goal = guess.funnel.as_ref().map(|funnel| &*funnel.goal);
            let goal = goal.filter(|goal| paid(guess, goal));
            let field = word("field", &column.name);
            let since = ("window", "{ since_midnight = true, slide = \"1s\" }".to_owned());
            let sum = [aggregate("sum"), field.clone(), since];
            let mean = [aggregate("avg"), field, self.hopping()];
            if let Some(goal) = goal {
                let only = ("where", format!("{{ type = {} }}", text(goal)));
                let [a, b, c] = sum;
                self.add("revenue", &format!("{title} since midnight"), [only.clone(), a, b, c]);
                let [a, b, c] = mean;
                self.add("order_value", &format!("Mean {title}"), [only, a, b, c]);
            } else {
                self.add(&self.named("sum_", column), &format!("{title} since midnight"), sum);
                self.add(&self.named("mean_", column), &format!("Mean {title}"), mean);
            }
        }
        for column in &guess.durations {
            let keys = [
                aggregate("quantile"),
                ("quantile", "0.95".into()),
                word("field", &column.name),
                self.hopping(),
                self.kept(),
            ];
            let title = format!("95 of 100 {} below", self.said(column));
            self.add(&self.named("p95_", column), &title, keys);
        }
        for column in &guess.measures {
            let (field, title) = (word("field", &column.name), self.said(column));
            if column.is(SUMMED) {
                let keys = [aggregate("sum"), field, self.tumbling(), self.kept()];
                self.add(&self.named("sum_", column), &format!("{title}, added up"), keys);
                continue;
            }
            let (name, mean) = (self.named("mean_", column), aggregate("avg"));
            let by = self.told_apart_by();
            if by.is_empty() {
                let keys = [mean, field, self.hopping(), self.kept()];
                self.add(&name, &format!("Mean {title}"), keys);
            } else {
                let title = format!("Mean {title} by {}", self.names(&by));
                let group = ("group_by", list(&by));
                let keys = [mean, field, group, limit(50), self.hopping(), self.kept()];
                self.add(&name, &title, keys);
            }
        }
    }

    /// What quantities are told apart by: the type where there are several, and a label of few values.
    fn told_apart_by(&self) -> Vec<&'_ str> {
        let kinds = self.guess.kinds.len();
        let label = self.guess.labels.iter().find(|column| {
            let groups = column.values.len();
            groups <= GROUPS_MAX / 2 && groups * kinds.max(1) <= GROUPS_MAX
        });
        let kind = (kinds > 1).then_some("type");
        kind.into_iter().chain(label.map(|column| column.name.as_str())).collect()
    }

    fn names(&self, attributes: &[&str]) -> String {
        let columns = &self.guess.sample.columns;
        let kind = self.guess.column(self.guess.roles.kind);
        let said = |name: &&str| {
            let own = columns.iter().find(|column| column.name == **name);
            let column = if *name == "type" { kind } else { own };
            column.map_or_else(|| (*name).to_owned(), |column| self.said(column))
        };
        attributes.iter().map(said).collect::<Vec<_>>().join(" and ")
    }

    fn groups(&mut self) {
        for column in &self.guess.labels {
            let group = ("group_by", list(&[&column.name]));
            let keys = [aggregate("count"), group, limit(50), self.tumbling(), self.kept()];
            self.add(&self.named("by_", column), &format!("By {}", self.said(column)), keys);
        }
        if let Some(column) = self.guess.ranked {
            let keys = [aggregate("topk"), word("field", &column.name), self.hopping()];
            self.add(
                &self.named("top_", column),
                &format!("Most frequent {}", self.said(column)),
                keys,
            );
        }
    }
}

fn word(key: &'static str, value: &str) -> (&'static str, String) {
    (key, text(value))
}

fn aggregate(name: &str) -> (&'static str, String) {
    word("aggregate", name)
}

fn limit(groups: usize) -> (&'static str, String) {
    ("group_limit", groups.to_string())
}

fn list(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| text(name)).collect();
    format!("[{}]", names.join(", "))
}

/// Whether events of a type carry the amount.
fn paid(guess: &Guess<'_>, kind: &str) -> bool {
    let (Some(amount), Some(place)) = (guess.roles.amount, guess.roles.kind) else { return false };
    let of = |row: &&Vec<Option<String>>| row[place].as_deref() == Some(kind);
    guess.sample.rows.iter().filter(of).any(|row| row[amount].is_some())
}
