"""Masks cancel exactly, whoever drops out, and nothing is revealed that could uncover one update."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certify.core.errors import DataError, UsageError
from compress.federated import shamir
from compress.federated.masking import checked_keys
from compress.federated.masks import Member, PublicKeys, groups_of, stream, threshold_of, unmasked

CONTEXT, COUNT = b"run and nonce", 50


class Group:
    """Clients that have shared their secrets."""

    def __init__(self, size: int, sharing: int | None = None) -> None:
        names = [f"client-{number:02d}" for number in range(size)]
        self.needed = threshold_of(size)
        self.all = {name: Member(name, CONTEXT) for name in names}
        self.keys = {name: member.keys for name, member in self.all.items()}
        self.names = names[: size if sharing is None else sharing]
        boxes = {name: self.all[name].shares(self.keys, self.needed) for name in self.names}
        for name in self.names:
            self.all[name].take({other: boxes[other][name] for other in self.names if other != name})
        random = np.random.default_rng(size)
        self.integers = {name: random.integers(-127, 128, COUNT).astype(np.int8) for name in self.names}

    def masked(self, alive: list[str]) -> list[np.ndarray]:
        return [self.all[name].masked(self.integers[name]) for name in alive]

    def sum(self, alive: list[str], tell: list[str] | None = None) -> np.ndarray:
        rings = self.masked(alive)
        revealed = {name: self.all[name].reveal(alive, self.needed) for name in tell or alive}
        return unmasked(rings, alive, self.names, self.keys, revealed, self.needed, CONTEXT, COUNT)

    def expected(self, alive: list[str]) -> np.ndarray:
        return np.sum([self.integers[name].astype(np.int64) for name in alive], axis=0)


@pytest.mark.parametrize(("size", "gone"), [(3, 0), (10, 0), (10, 3), (12, 3)])
def test_sum_is_exact_when_clients_drop_out(size: int, gone: int) -> None:
    group = Group(size)
    alive = group.names[gone:]
    assert (group.sum(alive) == group.expected(alive)).all()


def test_sum_is_exact_when_some_never_shared_and_some_do_not_reveal() -> None:
    group = Group(10, sharing=9)
    alive = group.names[:8]
    assert (group.sum(alive, tell=alive[:7]) == group.expected(alive)).all()


def test_sum_is_lost_when_too_few_reveal() -> None:
    group = Group(10)
    alive = group.names
    with pytest.raises(DataError, match="shares must be at least 7 .* got 6"):
        group.sum(alive, tell=alive[:6])


def test_one_update_looks_like_noise_when_it_is_masked() -> None:
    group = Group(5)
    first, again = Group(5).masked(["client-00"])[0], group.masked(["client-00"])[0]
    assert (first != again).mean() > 0.9  # fresh secrets in each round
    assert abs(float(again.astype(float).mean()) - 32768) < 12_000


def test_client_reveals_once_and_never_both_secrets() -> None:
    group = Group(5)
    member, alive = group.all["client-00"], group.names[:4]
    shares = member.reveal(alive, group.needed)
    assert all(len(share) == shamir.SHARE_BYTES for share in shares.values()) and set(shares) == set(group.names)
    with pytest.raises(DataError, match="revealed before"):
        member.reveal(alive, group.needed)


@pytest.mark.parametrize(
    ("survivors", "sentence"),
    [
        (["client-00", "client-01"], "Too few"),
        (["client-01", "client-02", "client-03", "client-04"], "Too few"),
        (["client-00", "client-01", "client-02", "stranger"], "strangers"),
    ],
)
def test_nothing_is_revealed_when_the_server_names_too_few_or_strangers(survivors: list[str], sentence: str) -> None:
    group = Group(5)
    with pytest.raises(DataError, match=sentence):
        group.all["client-00"].reveal(survivors, group.needed)


def test_altered_shares_are_noticed() -> None:
    members = {name: Member(name, CONTEXT) for name in "abc"}
    keys = {name: member.keys for name, member in members.items()}
    box = members["b"].shares(keys, 3)["a"]
    members["a"].shares(keys, 3)
    with pytest.raises(DataError, match="altered in transit"):
        members["a"].take({"b": box[:-1] + bytes([box[-1] ^ 1])})


def test_shares_for_another_round_cannot_be_opened() -> None:
    members = {name: Member(name, CONTEXT) for name in "abc"}
    keys = {name: member.keys for name, member in members.items()}
    other = Member("b", b"another nonce")
    other.shares({**keys, "b": other.keys}, 3)
    members["a"].shares({**keys, "b": other.keys}, 3)
    with pytest.raises(DataError, match="altered"):
        members["a"].take({"b": other.shares({**keys, "b": other.keys}, 3)["a"]})


def test_wrong_share_of_a_key_is_noticed() -> None:
    group = Group(5)
    alive = group.names[:4]
    rings = group.masked(alive)
    revealed = {name: dict(group.all[name].reveal(alive, group.needed)) for name in alive}
    revealed[alive[0]]["client-04"] = bytes(shamir.SHARE_BYTES)
    with pytest.raises(DataError, match="wrong one"):
        unmasked(rings, alive, group.names, group.keys, revealed, group.needed, CONTEXT, COUNT)


@pytest.mark.parametrize("needed", [1, 2, 6])
def test_half_of_a_group_is_not_enough_to_recover(needed: int) -> None:
    members = {name: Member(name, CONTEXT) for name in "abcde"}
    keys = {name: member.keys for name, member in members.items()}
    with pytest.raises(DataError, match="must be more than half"):
        members["a"].shares(keys, needed)


def test_same_keys_twice_are_refused() -> None:
    members = {name: Member(name, CONTEXT) for name in "abc"}
    keys = {name: member.keys for name, member in members.items()}
    with pytest.raises(DataError, match="three clients including this one"):
        members["a"].shares({**keys, "c": keys["b"]}, 3)


def test_masks_need_others_whose_shares_came() -> None:
    member = Member("a", CONTEXT)
    others = {name: Member(name, CONTEXT) for name in "bc"}
    member.shares({"a": member.keys, **{name: one.keys for name, one in others.items()}}, 3)
    with pytest.raises(DataError, match="hide nothing"):
        member.masked(np.zeros(3, dtype=np.int8))


def test_streams_differ_by_context() -> None:
    assert (stream(b"s" * 32, b"a", 100) != stream(b"s" * 32, b"b", 100)).mean() > 0.9
    assert (stream(b"s" * 32, b"a", 100) == stream(b"s" * 32, b"a", 100)).all()


@pytest.mark.parametrize("text", ["zz", "ab" * 63])
def test_malformed_keys_are_refused(text: str) -> None:
    with pytest.raises(DataError):
        PublicKeys.from_hex(text)


@pytest.mark.parametrize(
    ("field", "text"), [("public", "ab" * 31), ("public", "zz"), ("signature", "zz"), ("keys", "ab" * 63)]
)
def test_stated_keys_are_refused_when_a_part_is_malformed(field: str, text: str) -> None:
    stated = {"keys": "ab" * 64, "public": "ab" * 32, "signature": "ab" * 64, field: text}
    with pytest.raises(DataError):
        checked_keys(None, "client", stated)  # type: ignore[arg-type]  # nothing was signed yet


def test_each_client_is_in_one_group_of_at_most_100() -> None:
    for count in (3, 100, 101, 199, 250, 1000):
        names = [str(number) for number in range(count)]
        groups = groups_of(names)
        assert [name for group in groups for name in group] == names
        assert max(map(len, groups)) <= 100 and max(map(len, groups)) - min(map(len, groups)) <= 1


def test_too_few_clients_cannot_be_masked() -> None:
    with pytest.raises(UsageError, match="3 clients in a group and 2 were selected"):
        groups_of(["a", "b"])


@given(secret=st.binary(min_size=32, max_size=32), holders=st.integers(1, 12), data=st.data())
@settings(max_examples=50, deadline=None)
def test_any_enough_shares_give_the_secret_back(secret: bytes, holders: int, data: st.DataObject) -> None:
    needed = data.draw(st.integers(1, holders))
    shares = shamir.split(secret, holders, needed)
    places = data.draw(st.permutations(range(1, holders + 1)))[: data.draw(st.integers(needed, holders))]
    assert shamir.joined({place: shares[place - 1] for place in places}, needed) == secret


def test_fewer_shares_than_the_threshold_reveal_nothing() -> None:
    shares = shamir.split(b"s" * 32, 5, 3)
    with pytest.raises(DataError, match="shares must be at least 3 .* got 2"):
        shamir.joined({1: shares[0], 2: shares[1]}, 3)
    first, second = (int.from_bytes(share, "big") for share in shares[:2])
    line_at_zero = (2 * first - second) % shamir.PRIME  # the secret if the polynomial had a degree of 1 only
    assert line_at_zero != int.from_bytes(b"s" * 32, "big")
    assert shamir.split(b"s" * 32, 5, 3)[:2] != shares[:2]


@pytest.mark.parametrize(("holders", "needed"), [(3, 0), (3, 4)])
def test_impossible_thresholds_are_refused(holders: int, needed: int) -> None:
    with pytest.raises(UsageError, match="must be in 1 to 3"):
        shamir.split(b"s" * 32, holders, needed)
