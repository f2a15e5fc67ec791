//! `std::sort` of libstdc++, equal elements included: introsort (Musser, "Introspective Sorting and Selection Algorithms",
//! 1997) with a final insertion sort, as in bits/stl_algo.h and bits/stl_heap.h of GCC.

/// Slices up to this length are left to the insertion sort.
const THRESHOLD: usize = 16;

/// Sorts `items` in ascending order.
pub(super) fn std_sort<T: Copy>(items: &mut [T], less: impl Fn(&T, &T) -> bool + Copy) {
    if items.len() < 2 {
        return;
    }
    introsort(items, 2 * items.len().ilog2(), less);
    for end in 1..items.len() {
        let mut place = end;
        while place > 0 && less(&items[place], &items[place - 1]) {
            items.swap(place, place - 1);
            place -= 1;
        }
    }
}

/// Quicksort down to slices of the threshold, and heap sort where it goes too deep.
fn introsort<T: Copy>(mut items: &mut [T], mut depth_left: u32, less: impl Fn(&T, &T) -> bool + Copy) {
    while items.len() > THRESHOLD {
        if depth_left == 0 {
            heap_sort(items, less);
            return;
        }
        depth_left -= 1;
        move_median_to_first(items, less);
        let cut = partition(items, less);
        let (left, right) = items.split_at_mut(cut);
        introsort(right, depth_left, less);
        items = left;
    }
}

/// Swaps the first element with the median of the second, the middle and the last one.
fn move_median_to_first<T: Copy>(items: &mut [T], less: impl Fn(&T, &T) -> bool) {
    let (a, b, c) = (1, items.len() / 2, items.len() - 1);
    let less = |x: usize, y: usize| less(&items[x], &items[y]);
    let median = match (less(a, b), less(b, c), less(a, c)) {
        (true, true, _) | (false, false, false) => b,
        (true, false, true) | (false, true, false) => c,
        (true, false, false) | (false, _, true) => a,
    };
    items.swap(0, median);
}

/// Partitions around the first element; returns where the right part begins.
fn partition<T: Copy>(items: &mut [T], less: impl Fn(&T, &T) -> bool) -> usize {
    let pivot = items[0];
    let (mut left, mut right) = (1, items.len());
    loop {
        while less(&items[left], &pivot) {
            left += 1;
        }
        right -= 1;
        while less(&pivot, &items[right]) {
            right -= 1;
        }
        if left >= right {
            return left;
        }
        items.swap(left, right);
        left += 1;
    }
}

fn heap_sort<T: Copy>(items: &mut [T], less: impl Fn(&T, &T) -> bool + Copy) {
    for parent in (0..items.len() / 2).rev() {
        let value = items[parent];
        adjust_heap(items, parent, value, less);
    }
    for last in (1..items.len()).rev() {
        let value = items[last];
        items[last] = items[0];
        adjust_heap(&mut items[..last], 0, value, less);
    }
}

/// Fills the hole at `top` with its larger children down to a leaf, then lets `value` rise from there.
fn adjust_heap<T: Copy>(items: &mut [T], top: usize, value: T, less: impl Fn(&T, &T) -> bool) {
    let len = items.len();
    let mut hole = top;
    let mut child = top;
    while child < (len - 1) / 2 {
        child = 2 * (child + 1);
        if less(&items[child], &items[child - 1]) {
            child -= 1;
        }
        items[hole] = items[child];
        hole = child;
    }
    if len.is_multiple_of(2) && child == (len - 2) / 2 {
        child = 2 * (child + 1);
        items[hole] = items[child - 1];
        hole = child - 1;
    }
    while hole > top {
        let parent = (hole - 1) / 2;
        if !less(&items[parent], &value) {
            break;
        }
        items[hole] = items[parent];
        hole = parent;
    }
    items[hole] = value;
}
#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a over the orders of 400 arrays, which `std::sort` and `std::partial_sort` of GCC 12 give too.
    #[test]
    fn equal_elements_end_where_gcc_puts_them() {
        let (mut hash, mut state) = (0xcbf2_9ce4_8422_2325_u64, 7_u32);
        let mut draw = |count: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % count
        };
        for array in 0..400 {
            let len = 2 + draw(700);
            let distinct = 1 + draw(if array % 2 == 1 { 5 } else { 1000 });
            let mut keys: Vec<u32> = (0..len).map(|_| draw(distinct)).collect();
            if array % 3 == 0 {
                keys = (0..len).map(|place| place.min(len - place)).collect();
            }
            let mut sorted: Vec<usize> = (0..keys.len()).collect();
            let mut heap_sorted = sorted.clone();
            std_sort(&mut sorted, |&a, &b| keys[a] < keys[b]);
            heap_sort(&mut heap_sorted, |&a, &b| keys[a] < keys[b]);
            for place in sorted.into_iter().chain(heap_sorted) {
                hash = (hash ^ place as u64).wrapping_mul(0x0100_0000_01b3);
            }
        }
        assert_eq!(hash, 0x374e_384b_2d50_43fb);
    }
}
