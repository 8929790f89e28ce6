//! PURE. From damaged rectangles to the few rectangles that are worth a request each.

use crate::frame::{Rect, Size};

/// Most requests for one grab.
pub const MAX_RECTS: usize = 16;
/// A further request costs about as much as grabbing and converting this many pixels more.
const REQUEST_COST: u32 = 16_000;

/// Clips `damaged` to the screen, grows it to even edges and merges what is near.
///
/// The rectangles that come back start at even columns and rows and end at even ones, or at the screen's edge.
/// They may overlap, but together cover at most the area of the screen: past that the whole screen is returned.
pub fn grab_list(damaged: impl IntoIterator<Item = Rect>, screen: Size) -> Vec<Rect> {
    let mut list: Vec<Rect> = Vec::new();
    for rect in damaged.into_iter().filter_map(|rect| clip_even(rect, screen)) {
        match list
            .iter_mut()
            .find(|held| area(union(**held, rect)) <= area(**held) + area(rect) + REQUEST_COST)
        {
            Some(held) => *held = union(*held, rect),
            None => list.push(rect),
        }
    }
    let total: u32 = list.iter().copied().map(area).fold(0, u32::saturating_add);
    if list.len() > MAX_RECTS || total > area(whole(screen)) {
        list = list.into_iter().reduce(union).into_iter().collect();
    }
    list
}

/// The screen as one rectangle.
pub fn whole(screen: Size) -> Rect {
    Rect { x: 0, y: 0, width: screen.width, height: screen.height }
}

fn clip_even(rect: Rect, screen: Size) -> Option<Rect> {
    let right = rect.x.saturating_add(rect.width);
    let bottom = rect.y.saturating_add(rect.height);
    let (left, right) = even_span(rect.x, right, screen.width)?;
    let (top, bottom) = even_span(rect.y, bottom, screen.height)?;
    Some(Rect { x: left, y: top, width: right - left, height: bottom - top })
}

fn even_span(from: u16, to: u16, limit: u16) -> Option<(u16, u16)> {
    let (from, to) = (from & !1, to.saturating_add(to & 1).min(limit));
    (from < to).then_some((from, to))
}

fn area(rect: Rect) -> u32 {
    u32::from(rect.width) * u32::from(rect.height)
}

fn union(a: Rect, b: Rect) -> Rect {
    let (x, y) = (a.x.min(b.x), a.y.min(b.y));
    let right = (a.x + a.width).max(b.x + b.width);
    let bottom = (a.y + a.height).max(b.y + b.height);
    Rect { x, y, width: right - x, height: bottom - y }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rect(x: u16, y: u16, width: u16, height: u16) -> Rect {
        Rect { x, y, width, height }
    }

    const HD: Size = Size { width: 1280, height: 720 };

    #[test]
    fn edges_become_even_but_stay_on_an_odd_screen() {
        assert_eq!(grab_list([rect(3, 5, 4, 2)], HD), [rect(2, 4, 6, 4)]);
        let odd = Size { width: 101, height: 51 };
        assert_eq!(grab_list([rect(99, 49, 40, 40)], odd), [rect(98, 48, 3, 3)]);
    }

    #[test]
    fn near_rectangles_share_a_request_and_far_ones_do_not() {
        assert_eq!(grab_list([rect(0, 0, 10, 10), rect(20, 0, 10, 10)], HD), [rect(0, 0, 30, 10)]);
        assert_eq!(grab_list([rect(0, 0, 100, 100), rect(1000, 600, 100, 100)], HD).len(), 2);
    }

    #[test]
    fn nothing_on_the_screen_is_nothing_to_grab() {
        assert!(grab_list([rect(2000, 0, 10, 10), rect(0, 0, 0, 5)], HD).is_empty());
    }

    proptest! {
        #[test]
        fn every_damaged_pixel_is_grabbed_within_bounds(
            raw in prop::collection::vec((0u16..1400, 0u16..800, 0u16..300, 0u16..300), 0..120),
            width in 1u16..1300, height in 1u16..800,
        ) {
            let screen = Size { width, height };
            let damaged: Vec<Rect> = raw.into_iter().map(|(x, y, w, h)| rect(x, y, w, h)).collect();
            let list = grab_list(damaged.iter().copied(), screen);
            prop_assert!(list.len() <= MAX_RECTS);
            prop_assert!(list.iter().copied().map(area).sum::<u32>() <= area(whole(screen)));
            for r in &list {
                prop_assert!(r.x % 2 == 0 && r.y % 2 == 0 && r.width > 0 && r.height > 0);
                prop_assert!(r.x + r.width <= width && r.y + r.height <= height);
                prop_assert!(r.width % 2 == 0 || r.x + r.width == width);
                prop_assert!(r.height % 2 == 0 || r.y + r.height == height);
            }
            for d in damaged {
                let corners = [(d.x, d.y), (d.x + d.width.max(1) - 1, d.y + d.height.max(1) - 1)];
                for (x, y) in corners {
                    if d.width > 0 && d.height > 0 && x < width && y < height {
                        let holds = |r: &Rect| {
                            (r.x..r.x + r.width).contains(&x) && (r.y..r.y + r.height).contains(&y)
                        };
                        prop_assert!(list.iter().any(holds));
                    }
                }
            }
        }
    }
}
