"""Sentences about the checks claim no more than each control supports."""

import re
from dataclasses import replace
from math import nan

import pytest

from attention_unet.explanation.checks import CaseChecks, DeletionCurves
from attention_unet.explanation.deletion_curve import SHARES
from attention_unet.explanation.findings import summarise_findings
from tests.explanation.build import checks


def sentences(found):
    return summarise_findings(found, "sha")["sentences"]


def about(found, start):
    (sentence,) = [sentence for sentence in sentences(found) if sentence.startswith(start)]
    return sentence


def test_a_network_whose_attention_follows_the_scan():
    found = checks()
    assert about(found, "Without").startswith(
        "Without its attention (features pass unchanged), mean Dice falls by 0.048 (99% interval 0.044 to 0.051, n = "
        "6): this network uses its attention, if only the mean of the weights; only another training can show whether "
        "a network without it is worse."
    )
    assert about(found, "With the same").endswith("n = 6): nothing shows that the differences between weights matter.")
    assert about(found, "Maps of two cases") == "Maps of two cases correlate by 0.30 at skip 1."
    assert about(found, "With the map of another").startswith(
        "With the map of another case instead of its own, mean Dice falls by 0.03"
    )
    assert about(found, "With the map of another").endswith("the map of the scan itself is better.")
    assert about(found, "Maps correlate").startswith(
        "Maps correlate with those of random weights by 0.10 at skip 1; those of two random networks by 0.80"
    )
    assert about(found, "Maps correlate").endswith("the training has changed the maps.")
    assert "lowers Dice by 0.150 more than random deletion, and by 0.099 more than deletion by distance" in about(
        found, "Deleting"
    )
    assert about(found, "Deleting").endswith("attention marks important voxels better than this distance does.")
    assert about(found, "For comparison").endswith("with an AUC of 0.900 (a).")


def test_a_network_that_does_not_use_its_attention():
    found = checks(removed=-0.0025, other=0.0)
    assert about(found, "Without").endswith("nothing shows that this network uses its attention.")
    for start in ("With the mean map", "With the map of another"):
        text = about(checks(other=-0.0025 if "mean" in start else 0.0025), start)
        assert text.endswith("this does not show that the maps depend on the scan.")
    assert about(checks(removed=0.02), "Without").endswith("the network is better this way.")


@pytest.mark.parametrize(
    ("untrained", "between", "expected"),
    [
        ({}, {}, "With random weights the maps are flat: there is"),
        ({"skip 1": 0.1}, {"skip 1": 0.1}, "does not show that anything was learned."),
        ({"skip 1": 0.9}, {"skip 1": 0.9}, "not the training."),
        ({"skip 1": -0.5}, {"skip 1": 0.9}, "partly show the image or the archi"),
        ({"skip 1": 0.2}, {"skip 1": 0.9}, "the training has changed the maps."),
    ],
)
def test_maps_of_random_weights_show_only_what_their_control_allows(untrained, between, expected):
    found = checks(pairs={"random weights": untrained, "two random networks": between})
    assert any(expected in sentence for sentence in sentences(found))


def test_the_control_has_the_places_of_the_trained_maps():
    """The trained map of skip 1 is flat; there, the random networks agree."""
    pairs = {"random weights": {"skip 2": 0.1}, "two random networks": {"skip 1": 0.9, "skip 2": 0.1}}
    text = about(checks(pairs=pairs), "Maps correlate")
    assert "those of two random networks by 0.10 at skip 2 (n = 6): any two random networks differ" in text


@pytest.mark.parametrize(
    ("rho", "expected"),
    [
        (0.9, "both trainings weigh the same positions."),
        (0.75, "both trainings weigh the same positions, but no more than any two scans do."),
        (0.5, "both trainings partly"),
        (0.1, "depends on the seed of the training"),
    ],
)
def test_maps_of_a_second_training_stand_beside_those_of_other_cases(rho, expected):
    text = about(
        checks(pairs={"second training": {"skip 1": rho}, "another case": {"skip 1": 0.8}}), "Maps of two trainings"
    )
    assert f"correlate by {rho:.2f} at skip 1, maps of two cases by 0.80 at skip 1" in text
    assert expected in text


def test_only_cases_whose_maps_were_compared_are_counted():
    some = checks(number=6, pairs={"second training": {"skip 1": 0.9}})
    some[0] = replace(some[0], agreement={"second training": {}})  # its map is flat
    assert "(n = 5)" in about(some, "Maps of two trainings")


@pytest.mark.parametrize(
    ("by_distance", "expected"),
    [
        (0.1, "attention marks important voxels better than"),
        (0.2975, "this does not show that attention marks"),
        (0.4, "this distance marks important voxels better"),
    ],
)
def test_attention_must_beat_the_place_of_the_structure(by_distance, expected):
    sentence = about(checks(lost_by_distance=by_distance), "Deleting")
    assert expected in sentence.partition("): ")[2]
    low, high = map(float, re.search(r"99% interval (-?[\d.]+) to (-?[\d.]+)", sentence).groups())
    amount = float(re.search(r"and by ([\d.]+)", sentence)[1])  # more or less, as the interval
    assert low <= amount <= high


def test_deletions_count_at_one_place_and_where_they_have_a_dice():
    """A map can be flat in some cases. A false alarm in an empty case has Dice 0, and none once it is deleted."""
    good = checks()
    expected = about(good, "Deleting")
    without_dice = DeletionCurves("skip 1", *[[0.0, *[nan] * (len(SHARES) - 1)]] * 3)
    elsewhere = replace(good[0].deletion, place="skip 2", by_attention=good[0].deletion.by_chance)
    others = [replace(good[0], deletion=deletion) for deletion in (without_dice, elsewhere)]
    assert about([*others, *good], "Deleting") == expected


def test_a_network_that_has_learned_nothing_is_named_first():
    assert sentences(checks(trained=0.15))[0] == (
        "Mean Dice of these cases is 0.150, with random weights 0.020: this network has learned too little for the "
        "checks below to mean much."
    )
    assert not any("too little" in sentence for sentence in sentences(checks()))


def test_few_cases_give_no_verdict():
    too_few = "too few persons for a verdict, at least 6 are needed."
    assert about(checks(5), "Without").endswith(f"n = 5): {too_few}")
    assert about(checks(5), "Deleting").endswith(f"n = 5): {too_few}")
    maps = [replace(case, subject=f"p{i // 2}") for i, case in enumerate(checks(10))]
    maps = [replace(case, agreement={**case.agreement, "second training": {"skip 1": 0.1}}) for case in maps]
    for start in ("Maps correlate", "Maps of two trainings"):
        assert about(maps, start).endswith(f"(n = 10 cases of 5 persons): {too_few}")
    assert about(checks(1), "Without").endswith(f"mean Dice falls by 0.050 (n = 1): {too_few}")


def test_a_network_without_attention_has_nothing_to_check():
    plain = [CaseChecks("x", {"as trained": 0.9}, {}, None, {"a": nan, "b": nan})]
    assert sentences(plain) == ["This network has no attention that can be checked."]


def test_undefined_values_are_null_and_counted_nowhere():
    found = [
        *checks(3),
        CaseChecks("y", {"as trained": nan, "removed": nan}, {}, None, {"a": nan, "b": nan}),
    ]
    plain = summarise_findings(found, "sha")
    assert plain["cases"][3]["dice"]["removed"] is None
    assert plain["cases"][0]["agreement"]["two random networks"] == {"skip 1": 0.8}
    assert "n = 3" in about(found, "Without")


def test_what_a_channel_is_worth():
    found = [
        replace(each, dice={**each.dice, "without T1": 0.6 - 0.001 * i, "without T2": 0.9 + (-1) ** i / 1000})
        for i, each in enumerate(checks())
    ]
    assert about(found, "Without the channel T1").endswith("n = 6): this network uses the channel.")
    assert "mean Dice falls by 0.30" in about(found, "Without the channel T1")
    assert about(found, "Without the channel T2").endswith("nothing shows that this network uses the channel.")
    plain = [replace(each, dice={"as trained": 0.9, "without T1": 0.6}, agreement={}) for each in checks()]
    assert "This network has no attention that can be checked." in sentences(plain)
