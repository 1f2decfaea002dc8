from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerforge.budget import DEFAULT, FIXED, MOST_LAYERS, STEP, packages_share, total_budget, weights_share
from layerforge.errors import LayerforgeError
from layerforge.project import WEIGHT_BINS, group_weights


def test_the_default_is_shared_three_to_one() -> None:
    assert (DEFAULT, packages_share(DEFAULT), weights_share(DEFAULT, 48)) == (64, 48, 16)
    assert weights_share(DEFAULT, 0) == 64


@given(st.integers(8, 125), st.integers(0, MOST_LAYERS - FIXED - 2), st.data())
def test_no_image_has_too_many_layers(wanted: int, below: int, data: st.DataObject) -> None:
    total = total_budget(wanted, below)
    packages = data.draw(st.integers(0, packages_share(total)))
    weights = weights_share(total, packages)
    assert weights >= 1
    assert packages + weights <= total <= wanted
    assert below + FIXED + packages + weights <= MOST_LAYERS


@pytest.mark.parametrize("below", [MOST_LAYERS - FIXED - 1, MOST_LAYERS, 500])
def test_a_base_that_leaves_no_room_is_refused(below: int) -> None:
    with pytest.raises(LayerforgeError, match=f"has {below} layers") as caught:
        total_budget(0, below)
    assert "base with fewer" in caught.value.hint


def test_a_package_more_or_less_rarely_moves_a_weight() -> None:
    shares = [weights_share(DEFAULT, packages) for packages in range(1, packages_share(DEFAULT) + 1)]
    assert shares == [share for share in (56, 48, 40, 32, 24, 16) for _ in range(STEP)]


paths = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
weights = st.dictionaries(paths, st.integers(1, 10**12), max_size=60)


@given(weights, st.integers(1, 64))
def test_every_weight_has_one_layer_and_the_budget_is_kept(sizes: dict[str, int], layers: int) -> None:
    groups = group_weights(sizes, layers)
    assert len(groups) <= layers - 1  # one is for the small weights
    placed = [path for group in groups.values() for path in group]
    if layers >= 3:
        assert sorted(placed) == sorted(sizes)
    else:
        assert len(placed) == len(set(placed))
    alone = [path for name, group in groups.items() if name == group[0] for path in group]
    shared = set(placed) - set(alone)
    assert all(sizes[one] >= sizes[other] for one in alone for other in shared)


@given(weights, paths, st.integers(1, 10**12), st.integers(12, 30))
def test_one_weight_more_changes_its_own_layer_and_at_most_one_bin(
    sizes: dict[str, int], path: str, size: int, layers: int
) -> None:
    sizes.pop(path, None)
    before, after = group_weights(sizes, layers), group_weights({**sizes, path: size}, layers)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    bins = {name for name in changed if name.startswith("bin.")}
    assert len(bins) <= 1
    assert changed - bins <= {path, *(set(before) - set(after))}
    assert len(set(before) - set(after)) <= 1


def test_too_many_weights_share_few_bins() -> None:
    groups = group_weights({f"shard-{index:03}.safetensors": 5 << 30 for index in range(100)}, 40)
    assert len(groups) == 39
    assert list(groups)[-WEIGHT_BINS:] == [f"bin.{index}" for index in range(WEIGHT_BINS)]
    assert all(len(groups[f"bin.{index}"]) > 5 for index in range(WEIGHT_BINS))
