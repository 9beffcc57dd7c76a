//! How a stream divides what it offers over the pools of a tier.

use super::part_of;

/// Divides an amount over pools with that much room, and adds what each is offered to its part: by weights if there are
/// any, else by room. All of it is offered, though there be less room, unless there is none at all.
///
/// By weight no pool is offered more than it has room for. Else one with next to no room would draw the offers of who
/// weighs it heavily away from the others, and they would come back the moment it has none: a small change would move
/// much. What the pools with a weight have no room for goes to the others by their room, and what nobody has room for
/// is offered to all by their room, so that in a full pool offers count as they are.
pub(super) fn divide(amount: u64, room: &[u64], weights: &[u64], parts: &mut [u64]) {
    let rest = if weights.is_empty() { amount } else { by_weight(amount, room, weights, parts) };
    let total = room.iter().copied().fold(0, u64::saturating_add);
    let mut rounded = rest;
    for (part, room) in parts.iter_mut().zip(room) {
        let more = part_of(rest, *room, total);
        rounded -= more;
        *part += more;
    }
    if let Some(first) = room.iter().position(|room| *room > 0) {
        parts[first] += rounded;
    }
}

/// Within the room of each. What remains.
fn by_weight(amount: u64, room: &[u64], weights: &[u64], parts: &mut [u64]) -> u64 {
    let mut rest = amount;
    // Each time but the last fills a pool.
    for _ in 0..=room.len() {
        let open = |place: &usize, parts: &[u64]| parts[*place] < room[*place];
        let weighed = (0..room.len()).filter(|place| open(place, parts)).map(|place| weights[place]);
        let (whole, total) = (rest, weighed.fold(0, u64::saturating_add));
        if whole == 0 || total == 0 {
            break;
        }
        let mut filled = false;
        for place in 0..room.len() {
            let (free, part) = (room[place] - parts[place], part_of(whole, weights[place], total));
            filled |= free > 0 && part >= free;
            // Where the sum of the weights is too large for its type, parts of it would be more than there is.
            let part = part.min(free).min(rest);
            parts[place] += part;
            rest -= part;
        }
        if !filled {
            break;
        }
    }
    let others = || room.iter().zip(weights).map(|(room, weight)| if *weight == 0 { *room } else { 0 });
    let total = others().fold(0, u64::saturating_add);
    let whole = rest.min(total);
    for (part, room) in parts.iter_mut().zip(others()) {
        let more = part_of(whole, room, total);
        *part += more;
        rest -= more;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(amount: u64, room: &[u64], weights: &[u64]) -> Vec<u64> {
        let mut parts = vec![0; room.len()];
        divide(amount, room, weights, &mut parts);
        parts
    }

    #[test]
    fn without_weights_room_decides_and_all_is_offered() {
        assert_eq!(divided(100, &[10, 30, 0], &[]), [25, 75, 0]);
        assert_eq!(divided(100, &[0, 0], &[]), [0, 0], "to nobody");
        assert_eq!(divided(2, &[0, 5, 5, 5], &[]), [0, 2, 0, 0], "the first gets what rounding leaves");
    }

    #[test]
    fn by_weight_nobody_is_offered_more_than_it_has_room_for() {
        assert_eq!(divided(100, &[1000, 1000], &[1, 3]), [25, 75]);
        assert_eq!(divided(100, &[1000, 30, 1000], &[1, 8, 1]), [35, 30, 35]);
        assert_eq!(divided(100, &[0, 1000], &[1, 0]), [0, 100], "whose weight is nothing comes next");
        assert_eq!(divided(100, &[1, 1000], &[1, 0]), [1, 99], "and a little room there changes little");
        assert_eq!(
            divided(100, &[10, 20, 10], &[5, 1, 0]),
            [25, 50, 25],
            "more than there is room for: by room"
        );
        assert_eq!(divided(100, &[200, 0, 200], &[u64::MAX, 7, u64::MAX]), [100, 0, 0], "rounding");
    }
}
