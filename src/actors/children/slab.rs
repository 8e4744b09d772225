//! Where the children lie: a slab of cells that never move, so that millions of them grow
//! without being copied.

use super::Child;

/// Cells of one piece, as a power of two: 192 KiB.
const PIECE: u32 = 10;

/// Children by slot. A slot that was given back is used again.
pub struct Slab<M> {
    pieces: Vec<Vec<Option<Child<M>>>>,
    /// Slots that are free, each with what was armed for its last child.
    free: Vec<(u32, i64)>,
    slots: u32,
}

impl<M> Default for Slab<M> {
    fn default() -> Self {
        Slab { pieces: Vec::new(), free: Vec::new(), slots: 0 }
    }
}

impl<M> Slab<M> {
    /// The child in a slot, if one is there.
    #[inline]
    pub fn get(&self, slot: u32) -> Option<&Child<M>> {
        let (piece, place) = split(slot);
        self.pieces.get(piece)?.get(place)?.as_ref()
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Child<M>> {
        let (piece, place) = split(slot);
        self.pieces.get_mut(piece)?.get_mut(place)?.as_mut()
    }

    /// Puts a child into a free slot. Its timer is the one that is still armed for the slot, when
    /// that is to come yet (after `fired`): so a slot that is used again and again is not armed
    /// anew each time.
    pub fn insert(&mut self, mut child: Child<M>, fired: i64) -> u32 {
        if let Some((slot, armed)) = self.free.pop() {
            if armed > fired {
                child.armed = armed;
            }
            let (piece, place) = split(slot);
            self.pieces[piece][place] = Some(child);
            return slot;
        }
        let slot = self.slots;
        self.slots += 1;
        let (piece, _) = split(slot);
        if piece == self.pieces.len() {
            self.pieces.push(Vec::with_capacity(1 << PIECE));
        }
        self.pieces[piece].push(Some(child));
        slot
    }

    /// Lets a child go; false when none is there.
    pub fn remove(&mut self, slot: u32) -> bool {
        let (piece, place) = split(slot);
        let cell = self.pieces.get_mut(piece).and_then(|piece| piece.get_mut(place));
        let Some(cell) = cell else { return false };
        let Some(child) = cell else { return false };
        self.free.push((slot, child.armed));
        *cell = None;
        true
    }

    /// Every child with its slot.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Child<M>)> {
        let cells = self.pieces.iter().flatten();
        (0..).zip(cells).filter_map(|(slot, child)| Some((slot, child.as_ref()?)))
    }

    /// Slots there are, in use or not.
    pub fn slots(&self) -> usize {
        self.slots as usize
    }
}

#[inline]
fn split(slot: u32) -> (usize, usize) {
    ((slot >> PIECE) as usize, (slot & ((1 << PIECE) - 1)) as usize)
}
