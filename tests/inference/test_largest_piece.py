import numpy as np

from attention_unet.inference.largest_piece import where_it_helps, without_smaller_pieces

NAN = float("nan")


def test_each_value_keeps_its_largest_piece():
    label_map = np.zeros((9, 9, 9), dtype=np.uint8)
    label_map[0:3, 0:3, 0:3] = 1
    label_map[3, 3, 3] = 1  # shares a corner
    label_map[7:9, 7:9, 7:9] = 1
    label_map[0, 8, 0], label_map[8, 0, 0:2] = 4, 4
    label_map[4, 4, 8] = 2
    expected = label_map.copy()
    expected[7:9, 7:9, 7:9] = 0
    np.testing.assert_array_equal(without_smaller_pieces(label_map, [1, 2]), expected)
    expected[0, 8, 0] = 0
    np.testing.assert_array_equal(without_smaller_pieces(label_map, [1, 2, 4, 9]), expected)
    assert label_map[8, 8, 8] == 1  # of what was given nothing changed


def test_it_helps_where_dice_rises_by_more_than_its_standard_error():
    dice = {"a": [0.8, 0.8, 0.5, 0.7, NAN], "b": [0.7, 0.8, 0.5, 0.7, 0.5], "c": [0.6, 0.8, 0.5, 0.7, NAN]}
    cleaned = {"a": [0.82, 0.8, 0.4, 0.9, NAN], "b": [0.73, 0.8, 0.6, 0.6, 0.9], "c": [0.61, 0.8, 0.5, 0.7, NAN]}
    assert where_it_helps(dice, cleaned, ["gains", "same", "loses", "unsure", "once"]) == ["gains"]
    assert where_it_helps({}, {}, ["none"]) == []
