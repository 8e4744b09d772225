//! What a visitor who is signed in has told the shop: an address, and whether it may write there. And
//! what its products are called. Only a shop that is to send mail puts them into its events.

use crate::domain::hash;

/// Percent of the visitors who are signed in.
const SIGNED_IN: u64 = 70;

/// Percent of those who agreed to be written to.
const AGREED: u64 = 80;

/// Sets the draws of accounts apart from others of the same seed.
const SALT: &[u8; 4] = b"mail";

const KINDS: [&str; 20] = [
    "Blue",
    "Green",
    "Striped",
    "Light",
    "Warm",
    "Woollen",
    "Waterproof",
    "Folding",
    "Small",
    "Large",
    "Red",
    "Quiet",
    "Sturdy",
    "Soft",
    "Grey",
    "Oak",
    "Steel",
    "Linen",
    "Round",
    "Plain",
];

const THINGS: [&str; 25] = [
    "rain jacket",
    "socks",
    "rucksack",
    "tent",
    "lamp",
    "kettle",
    "blanket",
    "chair",
    "hat",
    "gloves",
    "notebook",
    "mug",
    "scarf",
    "knife",
    "bowl",
    "basket",
    "towel",
    "clock",
    "cushion",
    "bottle",
    "belt",
    "shelf",
    "rug",
    "teapot",
    "wallet",
];

/// A visitor's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Whether the shop may write to them.
    pub agreed: bool,
}

impl Account {
    /// That of a visitor, if they are signed in: the same for the same seed and number.
    pub fn of(seed: u64, user: u64) -> Option<Account> {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&user.to_le_bytes());
        bytes[8..].copy_from_slice(SALT);
        let chance = hash::key_hash(seed, &bytes);
        let agreed = chance / 100 % 100 < AGREED;
        (chance % 100 < SIGNED_IN).then_some(Account { agreed })
    }
}

/// What a product is called, from its number, 1 for the first one.
pub fn product_name(product: u32) -> String {
    let at = product.saturating_sub(1) as usize;
    format!("{} {}", KINDS[at / THINGS.len() % KINDS.len()], THINGS[at % THINGS.len()])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_share_is_signed_in_and_most_of_those_agree() {
        for seed in 0..5 {
            let accounts: Vec<Account> =
                (1..=10_000).filter_map(|user| Account::of(seed, user)).collect();
            assert!((6_800..7_200).contains(&accounts.len()), "seed {seed}: {}", accounts.len());
            let agreed = accounts.iter().filter(|account| account.agreed).count() as f64;
            let share = agreed / accounts.len() as f64;
            assert!((0.78..0.82).contains(&share), "seed {seed}: {share}");
        }
    }

    #[test]
    fn every_product_has_a_name_of_its_own() {
        let names: HashSet<String> = (1..=500).map(product_name).collect();
        assert_eq!((names.len(), product_name(1).as_str()), (500, "Blue rain jacket"));
    }
}
