"""Names of files in the folder of a run that several rooms read; the others are named where they are written."""

CONFIG = "config.yaml"  # whole: what was left open is filled in
PLAN = "plan.json"
SPLIT = "splits.json"
HISTORY = "history.csv"  # a row a validation
HELD_OUT = "held-out"  # the evaluation of the cases held out, in which
REPORT = "report.html"
EXPLANATION = "explanation.json"  # what explain found
