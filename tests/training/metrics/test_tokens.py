"""Token metrics by hand, against torch, and added over batches."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from autosing.training.metrics import CodebookUse, TokenCounts, change_rate, count_tokens, phone_purity

RNG = np.random.default_rng(0)
LOGITS = (4 * RNG.standard_normal((6, 20, 32))).astype(np.float32)
TARGETS = RNG.integers(0, 32, (6, 20))


def test_the_loss_and_the_accuracies_are_those_of_torch() -> None:
    found = count_tokens(LOGITS, TARGETS, top_k=5)
    logits, targets = torch.from_numpy(LOGITS).double().flatten(0, 1), torch.from_numpy(TARGETS).flatten()
    assert found.loss_nats == pytest.approx(float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum")))
    assert found.n_correct == int((logits.argmax(1) == targets).sum())
    assert found.n_top_k == int((logits.topk(5).indices == targets[:, None]).any(1).sum())
    assert 0 < found.token_accuracy < found.top_k_accuracy < 1


def test_equal_logits_cost_the_size_of_the_vocabulary_and_predict_nothing() -> None:
    found = count_tokens(np.zeros((7, 32)), np.arange(7))
    assert found.perplexity == pytest.approx(32)
    assert found.bits_per_token == pytest.approx(5)
    assert found.bits_per_second(Fraction(25, 2)) == pytest.approx(62.5)
    assert (found.token_accuracy, found.top_k_accuracy) == (0, 0)


def test_batches_of_any_size_add_up_to_the_whole() -> None:
    parts = [count_tokens(LOGITS[a:b], TARGETS[a:b]) for a, b in ((0, 1), (1, 4), (4, 6))]
    total, whole = sum(parts, start=TokenCounts()), count_tokens(LOGITS, TARGETS)
    assert (total.n_tokens, total.n_correct, total.n_top_k) == (whole.n_tokens, whole.n_correct, whole.n_top_k)
    assert total.perplexity == pytest.approx(whole.perplexity)


def test_padding_is_not_counted_whatever_it_holds() -> None:
    lengths = np.arange(20) < np.array([20, 3, 7, 1, 0, 12])[:, None]
    padded = np.where(lengths, TARGETS, -100)
    found = count_tokens(LOGITS, padded, lengths)
    assert found == count_tokens(LOGITS[lengths], TARGETS[lengths])
    assert found.n_tokens == 43


def test_logits_far_from_0_and_closed_off_ones_are_harmless() -> None:
    assert count_tokens(np.array([[1e4, 0.0]]), np.array([0])).perplexity == pytest.approx(1)
    assert count_tokens(np.array([[0.0, -np.inf]]), np.array([0])).loss_nats == 0
    assert count_tokens(np.array([[1e4, 0.0]]), np.array([1])).perplexity == math.inf


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ValueError, match=r"logits of shape \(6, 20, 32\) do not fit targets of shape \(6, 19\)"):
        count_tokens(LOGITS, TARGETS[:, 1:])
    with pytest.raises(ValueError, match="codes go from 0 to 32; they must be from 0 to 31"):
        count_tokens(np.zeros((2, 32)), np.array([0, 32]))
    with pytest.raises(ValueError, match="codes go from -1 to 3"):
        count_tokens(np.zeros((2, 32)), np.array([-1, 3]))
    with pytest.raises(ValueError, match="top 10 and the top 5"):
        TokenCounts(top_k=10) + TokenCounts(top_k=5)


def test_nothing_counted_has_no_ratio() -> None:
    empty = count_tokens(np.zeros((0, 32)), np.zeros(0, np.int64))
    assert empty == TokenCounts()
    for name in ("token_accuracy", "top_k_accuracy", "perplexity", "bits_per_token"):
        with pytest.raises(ValueError, match="no token was counted"):
            getattr(empty, name)


def test_the_use_of_a_codebook_by_hand() -> None:
    use = CodebookUse.of(np.array([0, 0, 1, 1, 2, 2, 3, 3], np.uint16), 8)
    assert use.share_used == 0.5
    assert use.dead_codes.tolist() == [4, 5, 6, 7]
    assert use.entropy_bits == pytest.approx(2)
    assert use.change_rate == pytest.approx(3 / 7)
    assert CodebookUse.of(np.array([0, 0, 0, 1]), 2).entropy_bits == pytest.approx(0.25 * 2 + 0.75 * math.log2(4 / 3))


def test_uses_of_sequences_add_up_without_a_change_between_them() -> None:
    use = CodebookUse.of(np.array([0, 0]), 4) + CodebookUse.of(np.array([1, 2, 2]), 4)
    assert use.counts.tolist() == [2, 1, 2, 0]
    assert use.change_rate == pytest.approx(1 / 3)


def test_the_change_rate_of_a_sequence() -> None:
    assert change_rate(np.array([5, 5, 6, 5])) == pytest.approx(2 / 3)
    assert change_rate(np.zeros(9, np.uint16)) == 0
    assert math.isnan(change_rate(np.array([5])))
    assert math.isnan(CodebookUse.of(np.array([1]), 4).change_rate)


def test_codebook_use_refuses_what_it_cannot_count() -> None:
    with pytest.raises(ValueError, match="codes go from 0 to 4"):
        CodebookUse.of(np.array([0, 4]), 4)
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        CodebookUse.of(np.zeros((2, 2), np.int64), 4)
    with pytest.raises(ValueError, match="uses of 4 and of 5 codes"):
        CodebookUse.of(np.array([0]), 4) + CodebookUse.of(np.array([0]), 5)
    unused = CodebookUse.of(np.zeros(0, np.int64), 4)
    assert len(unused.dead_codes) == 4
    with pytest.raises(ValueError, match="no code was counted"):
        _ = unused.entropy_bits


def test_purity_by_hand() -> None:
    codes = np.array([0, 0, 0, 1, 1, 2])
    phones = np.array(["a", "a", "b", "b", "b", "a"])
    purity = phone_purity(codes, phones)
    # Code 0 says a (2 of 3), 1 says b, 2 says a; a is mostly in 0 (2 of 3), b in 1 (2 of 3).
    assert purity.phone_purity == pytest.approx(5 / 6)
    assert purity.code_purity == pytest.approx(4 / 6)
    left = 0.5 * (-(2 / 3) * math.log(2 / 3) - (1 / 3) * math.log(1 / 3))
    assert purity.pnmi == pytest.approx((math.log(2) - left) / math.log(2))


def test_codes_that_say_the_phone_or_nothing() -> None:
    phones = np.array(["a", "b", "c", "b"])
    assert phone_purity(np.array([7, 3, 5, 3]), phones).pnmi == pytest.approx(1)
    assert phone_purity(np.zeros(4, int), phones).pnmi == pytest.approx(0)
    assert math.isnan(phone_purity(np.arange(2), np.array(["a", "a"])).pnmi)
    with pytest.raises(ValueError, match="do not fit phones"):
        phone_purity(np.zeros(3, int), phones)
