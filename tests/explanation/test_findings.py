import json
from math import nan

from attention_unet.explanation.checks import CaseChecks
from attention_unet.explanation.findings import tell_findings
from tests.explanation.build import checks


def sentences(found):
    return tell_findings(found, "sha")["sentences"]


def test_what_a_network_relies_on_is_told():
    removed, constant, random, deleted, cam = sentences(checks())
    assert removed.startswith(
        "Without its attention (every weight 1), mean Dice falls by 0.048 (95% interval 0.046 to 0.049, n"
    )
    assert removed.endswith("n = 6): the network relies on its attention.")
    assert constant.endswith("no clear change.")
    assert "in all layers, maps correlate with the trained ones by 0.10 at level 1, 0.05 at level 2 (n = 6): " in random
    assert random.endswith("the maps follow from the trained weights.")
    assert "costs 0.150 of Dice more than deleting as much at random" in deleted
    assert "n = 6): what attention lies on matters for the result. Where attention lies on the structures" in deleted
    assert cam.endswith("AUC of 0.900 (a).")


def test_what_does_not_pass_is_told_as_plainly():
    removed, _, random, deleted, _ = sentences(checks(removed=0.02, rho=0.9, lost=-0.3))
    assert "mean Dice rises by 0.02" in removed
    assert removed.endswith("the network does better so.")
    assert random.endswith("not to the weights.")
    assert "matters less than other parts of the scan." in deleted
    assert sentences(checks(rho=-0.5))[2].endswith("partly due to the image or the architecture.")
    assert "no better a guide to what matters than chance." in sentences(checks(lost=0.0))[3]


def test_few_cases_give_no_verdict():
    removed, _, _, deleted, _ = sentences(checks(5))
    assert removed.endswith("n = 5): too few cases to say, expected 6 or more.")
    assert "n = 5): too few cases to say, expected 6 or more. Where" in deleted
    assert sentences(checks(1))[0].endswith(
        "mean Dice falls by 0.050 (n = 1): too few cases to say, expected 6 or more."
    )


def test_a_network_without_attention_has_nothing_to_check():
    plain = [CaseChecks("x", {"as trained": 0.9}, {"all": {}}, None, {"a": nan, "b": nan})]
    assert sentences(plain) == [
        "This network has no attention on its skips or at its bottleneck: there is nothing to check."
    ]


def test_undefined_values_are_null_and_counted_nowhere():
    found = [
        *checks(3),
        CaseChecks("y", {"as trained": nan, "removed": nan}, {"all": {1: 0.1, 2: 0}}, None, {"a": nan, "b": nan}),
    ]
    told = tell_findings(found, "sha")
    assert told["cases"][3]["dice"]["removed"] is None
    assert told["cases"][0]["similarity"]["all"] == {"1": 0.1, "2": 0.05}
    assert "n = 3" in told["sentences"][0]
    json.dumps(told, allow_nan=False)
