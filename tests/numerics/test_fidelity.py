import numpy as np
import pytest

from edgekit.numerics.fidelity import NO_SIGNAL_DB, accuracy, fidelity


def pair(reference, outputs):
    return {"y": np.array([reference], np.float32)}, {"y": np.array([outputs], np.float32)}


def test_sqnr_is_signal_by_noise_over_all_samples_together():
    # Signal 9 + 16 + 100 = 125, noise 1 + 0.25 = 1.25: 100 times, 20 dB. (Sample by sample: 25 and 400 times, 14 and 26 dB.)
    result = fidelity([pair([3, 4], [3, 5]), pair([10, 0], [10.5, 0])])

    assert result.sqnr_db == pytest.approx(20.0)
    assert result.samples == 2


def test_a_tenth_of_the_value_off_is_20_db():
    assert fidelity([pair([1, -2, 3], [1.1, -2.2, 3.3])]).sqnr_db == pytest.approx(20.0, abs=1e-4)


def test_equal_outputs_have_no_sqnr_since_there_is_no_noise():
    result = fidelity([pair([1, 2], [1, 2])])

    assert (result.sqnr_db, result.max_abs, result.top1_agreement) == (None, 0.0, 1.0)
    assert result.cosine == pytest.approx(1.0)


def test_cosine_is_that_of_all_outputs_laid_end_to_end():
    # (3, 4) and (4, 3): 24 / 25.
    assert fidelity([pair([3], [4]), pair([4], [3])]).cosine == pytest.approx(24 / 25)


def test_opposite_outputs_have_cosine_minus_one():
    assert fidelity([pair([1, 2], [-1, -2])]).cosine == pytest.approx(-1.0)


def test_the_largest_difference_is_found_in_any_output_of_any_sample():
    first = {"a": np.zeros((1, 2)), "b": np.zeros((1, 2))}
    second = {"a": np.zeros((1, 2)), "b": np.array([[0, -0.75]])}

    assert fidelity([(first, first), (first, second)]).max_abs == 0.75


def test_agreement_is_the_share_of_samples_whose_largest_class_stays():
    result = fidelity([pair([1, 5, 2], [1, 4, 2]), pair([1, 5, 2], [6, 5, 2]), pair([9, 5, 2], [9, 0, 0]), pair([0, 0, 1], [0, 1, 0])])

    assert result.top1_agreement == 0.5


def test_a_map_of_pixels_has_no_classes_to_agree_on():
    image = {"y": np.ones((1, 3, 4, 4), np.float32)}

    assert fidelity([(image, image)]).top1_agreement is None


@pytest.mark.parametrize("shape", [(1, 5), (1, 5, 1, 1), (1, 1, 1, 5)])
def test_classes_are_found_whatever_sizes_of_one_surround_them(shape):
    scores = {"y": np.arange(5, dtype=np.float32).reshape(shape)}

    assert fidelity([(scores, scores)]).top1_agreement == 1.0


def test_integers_do_not_overflow():
    assert fidelity([({"y": np.array([[-128, 127]], np.int8)}, {"y": np.array([[127, -128]], np.int8)})]).max_abs == 255


def test_outputs_that_are_not_numbers_leave_no_signal():
    result = fidelity([pair([1, 2], [np.nan, 2])])

    assert (result.sqnr_db, result.not_finite) == (NO_SIGNAL_DB, 1)


def test_infinities_that_both_have_are_no_difference():
    result = fidelity([pair([-np.inf, 2, 3], [-np.inf, 2, 3])])

    assert (result.sqnr_db, result.not_finite, result.max_abs) == (None, 0, 0.0)


def test_noise_on_a_reference_of_zeros_leaves_no_signal():
    assert fidelity([pair([0, 0], [0, 0.1])]).sqnr_db == NO_SIGNAL_DB


def test_a_stream_is_read_once_and_not_kept():
    def stream():
        for index in range(1000):
            yield pair([index, 1], [index, 1])

    assert fidelity(stream()).samples == 1000


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="nothing to compare"):
        fidelity([])


def test_other_outputs_than_the_reference_has_are_refused():
    with pytest.raises(ValueError, match="shape"):
        fidelity([pair([1, 2], [1])])
    with pytest.raises(ValueError, match="not those of the reference"):
        fidelity([({"y": np.ones(1)}, {"z": np.ones(1)})])


def scores(*values):
    return np.array([values], np.float32)


def test_accuracy_counts_the_largest_and_the_five_largest():
    outputs = [
        (scores(0, 1, 2, 3, 4, 5, 6), 6),  # first
        (scores(0, 1, 2, 3, 4, 5, 6), 2),  # fifth
        (scores(0, 1, 2, 3, 4, 5, 6), 1),  # sixth
        (scores(0, 1, 2, 3, 4, 5, 6), None),
        (scores(9, 1, 2, 3, 4, 5, 6), 0),  # first
    ]

    result = accuracy(outputs)

    assert (result.top1, result.top5, result.n) == (0.5, 0.75, 4)


def test_of_equal_outputs_the_first_counts_as_the_largest():
    result = accuracy([(scores(1, 1, 0), 0), (scores(1, 1, 0), 1)])

    assert result.top1 == 0.5


def test_top_5_of_five_classes_would_say_nothing():
    assert accuracy([(scores(1, 2, 3, 4, 5), 0)]).top5 is None


def test_outputs_that_are_not_numbers_are_never_right():
    assert accuracy([(scores(np.nan, 1, 0), 0)]).top1 == 0.0


def test_without_labels_there_is_no_accuracy():
    assert accuracy([(scores(1, 2), None)]) is None


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="label 7 is not one of 2 classes"):
        accuracy([(scores(1, 2), 7)])
