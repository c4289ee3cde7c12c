//! Keeps things under keys that are not used twice: an event may come for one that is gone.

/// Names a thing for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    index: u32,
    number: u32,
}

/// Things in the order of their places, so that a walk over them is the same each time.
pub(super) struct Arena<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Arena<T> {
    pub(super) const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, thing: T) -> Key {
        if let Some(index) = self.free.pop()
            && let Some(place) = self.places.get_mut(index as usize)
        {
            place.0 += 1;
            place.1 = Some(thing);
            return Key {
                index,
                number: place.0,
            };
        }
        self.places.push((0, Some(thing)));
        let index = u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX);
        Key { index, number: 0 }
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let (number, thing) = self.places.get(key.index as usize)?;
        thing.as_ref().filter(|_| *number == key.number)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (number, thing) = self.places.get_mut(key.index as usize)?;
        thing.as_mut().filter(|_| *number == key.number)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.free.push(key.index);
        self.places.get_mut(key.index as usize)?.1.take()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().zip(0..).filter_map(|(place, index)| {
            let number = place.0;
            Some((Key { index, number }, place.1.as_ref()?))
        })
    }
}
