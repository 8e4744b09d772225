//! One visitor's way through the shop: what comes next after what, and how often people
//! give up. Called by `Shop` for every step.

use rand::Rng;
use rand::rngs::StdRng;

use crate::domain::time::SpanMs;

/// Products of the shop.
const PRODUCTS: u32 = 500;

/// Why payments fail.
const REASONS: [&str; 4] =
    ["card_declined", "insufficient_funds", "3ds_timeout", "provider_unavailable"];

/// The reason of payment trouble, index in [`REASONS`].
const TROUBLE_REASON: usize = 3;

/// Most items of a cart; who has more goes to pay or leaves.
const ITEMS_MAX: u32 = 8;

/// One visitor.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Number of the user.
    pub user: u64,
    /// Where they are.
    pub region: &'static str,
    /// How long their events are on the way; the same for all of a visit, so that their
    /// own events stay in order.
    pub delay: SpanMs,
    next: Stage,
    cart_cents: u32,
    items: u32,
}

/// What a visitor is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Home,
    View,
    Add,
    Initiate,
    Pay,
    Leave,
}

/// What a visitor does. Amounts are in cents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Looks at a product, 0 is the home page.
    View { product: u32 },
    /// Puts one into the cart.
    Add { product: u32, cents: u32 },
    /// Starts to pay the cart.
    Initiate { cents: u32 },
    /// Has paid.
    Complete { cents: u32 },
    /// Could not pay.
    Fail { cents: u32, reason: &'static str },
}

impl Action {
    /// The event's type.
    pub fn kind(self) -> &'static str {
        match self {
            Action::View { .. } => "page_view",
            Action::Add { .. } => "cart_add",
            Action::Initiate { .. } => "payment_initiated",
            Action::Complete { .. } => "payment_completed",
            Action::Fail { .. } => "payment_failed",
        }
    }
}

impl Visitor {
    /// Somebody at the door.
    pub fn new(user: u64, region: &'static str, delay: SpanMs) -> Self {
        Visitor { user, region, delay, next: Stage::Home, cart_cents: 0, items: 0 }
    }

    /// Whether the step just done was the last one.
    pub fn leaves(&self) -> bool {
        self.next == Stage::Leave
    }

    /// Does the next step and decides on the one after it. `trouble`: payments fail more
    /// than usual, and people are less patient.
    pub fn act(&mut self, random: &mut StdRng, trouble: bool) -> Action {
        match self.next {
            Stage::Home => {
                self.next = choose(random, &[(Stage::View, 85), (Stage::Leave, 15)]);
                Action::View { product: 0 }
            }
            Stage::View => {
                let paths = [(Stage::View, 48), (Stage::Add, 32), (Stage::Leave, 20)];
                self.next = choose(random, &paths);
                Action::View { product: random.random_range(1..=PRODUCTS) }
            }
            Stage::Add => self.add(random),
            Stage::Initiate => {
                self.next = choose(random, &[(Stage::Pay, 92), (Stage::Leave, 8)]);
                Action::Initiate { cents: self.cart_cents }
            }
            // Who leaves is replaced before the next step.
            Stage::Pay | Stage::Leave => self.pay(random, trouble),
        }
    }

    fn add(&mut self, random: &mut StdRng) -> Action {
        let product = random.random_range(1..=PRODUCTS);
        // A product always has the same price: 4.90 to some 200 euros.
        let price = 490 + (product * 7_919 % 200) * (product * 104_729 % 100);
        self.cart_cents += price;
        self.items += 1;
        let full = self.items >= ITEMS_MAX;
        let more = if full { 0 } else { 18 };
        let paths = [
            (Stage::Initiate, 50),
            (Stage::Add, more),
            (Stage::View, more / 2),
            (Stage::Leave, 23),
        ];
        self.next = choose(random, &paths);
        Action::Add { product, cents: price }
    }

    fn pay(&mut self, random: &mut StdRng, trouble: bool) -> Action {
        let cents = self.cart_cents;
        let fail_percent = if trouble { 60 } else { 5 };
        if random.random_range(0..100) >= fail_percent {
            self.next = choose(random, &[(Stage::Leave, 80), (Stage::View, 20)]);
            self.cart_cents = 0;
            self.items = 0;
            return Action::Complete { cents };
        }
        let patience = if trouble { 25 } else { 60 };
        self.next = choose(random, &[(Stage::Initiate, patience), (Stage::Leave, 100 - patience)]);
        let reason = if trouble {
            REASONS[TROUBLE_REASON]
        } else {
            REASONS[random.random_range(0..TROUBLE_REASON)]
        };
        Action::Fail { cents, reason }
    }
}

/// One of the stages, by weight.
fn choose(random: &mut StdRng, paths: &[(Stage, u32)]) -> Stage {
    let total: u32 = paths.iter().map(|(_, weight)| weight).sum();
    let mut ticket = random.random_range(0..total.max(1));
    for (stage, weight) in paths {
        match ticket.checked_sub(*weight) {
            Some(rest) => ticket = rest,
            None => return *stage,
        }
    }
    Stage::Leave
}
